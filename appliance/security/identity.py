"""Who this appliance is: a key and a self-signed certificate of its own, made once.

Nobody else signs it: two appliances trust the very certificate that they exchanged
when they were paired. It is valid at any time, because an appliance without a battery wakes up in 1970.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

from appliance.errors import Unavailable, UsageError

FILE: Final = "identity.pem"
"""The key and its certificate, in one file so that there is never one without the other."""
SHORT: Final = 12
"""Hexadecimal digits of a fingerprint that name an appliance; whom to trust is decided by all of it."""


@dataclass(frozen=True, slots=True)
class Identity:
    directory: Path
    """Where it is kept, and the sibling's certificate with it."""
    certificate: str
    """PEM."""
    node: str


def node_of(certificate: str) -> str:
    """The id of the appliance whose PEM certificate this is. UsageError if it is none."""
    return sha256(der_of(certificate)).hexdigest()[:SHORT]


def der_of(certificate: str) -> bytes:
    """UsageError unless this is one certificate in PEM."""
    store = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        der = ssl.PEM_cert_to_DER_cert(certificate)
        store.load_verify_locations(cadata=der)
    except (ValueError, ssl.SSLError):
        raise UsageError("this is no certificate in PEM") from None
    if store.cert_store_stats()["x509"] != 1:
        raise UsageError("there has to be one certificate, and no more")
    return der


def identity_in(directory: Path) -> Identity:
    """The one kept in `directory`, made now if there is none. Unavailable where that cannot be done."""
    path = directory / FILE
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            write_private(path, fresh())
        _, mark, rest = path.read_text().partition("-----BEGIN CERTIFICATE-----")
        certificate = mark + rest
        return Identity(directory, certificate, node_of(certificate))
    except (OSError, UnicodeDecodeError, UsageError) as error:
        raise Unavailable(
            f"cannot use this appliance's key in {path}: {error}; its directory must be the daemon's own and"
            " writable. If the file is damaged, remove it and pair the appliances again"
        ) from error


def write_private(path: Path, text: str) -> None:
    """Whole or not at all, over a loss of power too; for nobody else to read."""
    beside = path.with_suffix(".new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def fresh() -> str:
    """A new Ed25519 key and its certificate, as PEM."""
    from cryptography import x509  # only an appliance that is new needs all this
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.x509.oid import NameOID

    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "twinhub")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(1970, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, None)
    )
    plain = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return (plain + certificate.public_bytes(serialization.Encoding.PEM)).decode()
