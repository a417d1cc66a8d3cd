"""A connection between the pair lets in the paired one, and nobody else."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from appliance.errors import Unavailable
from appliance.security import identity
from appliance.security.identity import identity_in
from appliance.security.sibling import Sibling, keep_sibling
from appliance.security.tls import context_of


def paired(a: Path, b: Path) -> None:
    """Both ways."""
    a_and_b = {each: identity_in(each).certificate for each in (a, b)}
    for here, there in ((a, b), (b, a)):
        keep_sibling(here, Sibling(there.name, a_and_b[there], "192.0.2.1", 3242))


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """In memory, until both are content and each has read one byte of the other."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True))
    for step in (ssl.SSLObject.do_handshake, write_one, read_one):
        waiting = list(ends)
        while waiting:
            waiting = [end for end in waiting if not done(step, end)]
    return ends


def write_one(end: ssl.SSLObject) -> None:
    end.write(b"x")


def read_one(end: ssl.SSLObject) -> None:
    assert end.read(1) == b"x"


def done(step: Callable[[ssl.SSLObject], object], end: ssl.SSLObject) -> bool:
    try:
        step(end)
    except ssl.SSLWantReadError:
        return False
    return True


def test_the_pair_speaks_tls_1_3(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    paired(a, b)
    client, server = shake_hands(context_of(a, False), context_of(b, True))
    assert (client.version(), server.version()) == ("TLSv1.3", "TLSv1.3")


def test_no_ticket_goes_out(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    paired(a, b)
    assert context_of(b, True).num_tickets == 0


@pytest.mark.parametrize("stranger_is_server", [False, True])
def test_a_stranger_is_refused(tmp_path: Path, stranger_is_server: bool) -> None:
    a, b, stranger = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    paired(stranger, b)
    paired(a, b)
    ours, theirs = context_of(b, not stranger_is_server), context_of(stranger, stranger_is_server)
    client, server = (ours, theirs) if stranger_is_server else (theirs, ours)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(client, server)


def test_the_sibling_cannot_vouch_for_another(tmp_path: Path) -> None:
    a, b, other = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    paired(other, b)
    paired(a, b)
    (other / identity.FILE).write_text(issued_by(a))
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(context_of(other, False), context_of(b, True))


def issued_by(directory: Path) -> str:
    """A key, and a certificate for it that the identity in `directory` signed as if it were an authority."""
    pem = (directory / identity.FILE).read_bytes()
    issuer = x509.load_pem_x509_certificate(pem)
    authority = serialization.load_pem_private_key(pem, None)
    assert isinstance(authority, Ed25519PrivateKey)
    key = Ed25519PrivateKey.generate()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(issuer.not_valid_before_utc)
        .not_valid_after(issuer.not_valid_after_utc)
        .sign(authority, None)
    )
    plain = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return (plain + certificate.public_bytes(serialization.Encoding.PEM)).decode()


def test_without_a_sibling_there_is_no_connection(tmp_path: Path) -> None:
    identity_in(tmp_path)
    with pytest.raises(Unavailable, match="twinhub pair"):
        context_of(tmp_path, True)


def test_damaged_keys_are_told_with_what_to_do(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    paired(a, b)
    (a / identity.FILE).write_text("rust")
    with pytest.raises(Unavailable, match="pair the appliances again"):
        context_of(a, True)
