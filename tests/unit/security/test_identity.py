"""An appliance has one identity, made once, and its key is nobody else's to read."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509

from appliance.errors import Unavailable, UsageError
from appliance.security.identity import FILE, SHORT, identity_in, node_of


def test_an_identity_is_made_once_and_then_kept(tmp_path: Path) -> None:
    first = identity_in(tmp_path / "pair")
    assert identity_in(tmp_path / "pair") == first
    assert first.node == node_of(first.certificate)
    assert len(first.node) == SHORT


def test_two_appliances_have_two_identities(tmp_path: Path) -> None:
    assert identity_in(tmp_path / "a").node != identity_in(tmp_path / "b").node


def test_the_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    identity_in(tmp_path / "pair")
    assert (tmp_path / "pair").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "pair" / FILE).stat().st_mode & 0o777 == 0o600


def test_what_a_loss_of_power_left_half_written_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "identity.new").write_text("-----BEGIN PRIV")
    identity_in(tmp_path)
    assert not (tmp_path / "identity.new").exists()


def test_a_certificate_goes_out_without_the_key(tmp_path: Path) -> None:
    assert "PRIVATE" not in identity_in(tmp_path).certificate


def test_a_certificate_is_valid_whatever_the_clock_says(tmp_path: Path) -> None:
    about = x509.load_pem_x509_certificate(identity_in(tmp_path).certificate.encode())
    assert (about.not_valid_before_utc.year, about.not_valid_after_utc.year) == (1970, 9999)


def test_a_damaged_identity_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("rust")
    with pytest.raises(Unavailable, match="remove it and pair the appliances again"):
        identity_in(tmp_path)


def test_two_certificates_are_no_identity(tmp_path: Path) -> None:
    both = identity_in(tmp_path / "a").certificate + identity_in(tmp_path / "b").certificate
    with pytest.raises(UsageError):
        node_of(both)


@pytest.mark.parametrize("text", ["", "rust", "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n"])
def test_only_a_certificate_has_a_node(text: str) -> None:
    with pytest.raises(UsageError):
        node_of(text)
