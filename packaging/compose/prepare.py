"""Makes, once, what a cluster in containers needs before its first server: run as `prepare.py FOLDER NAME...`.

Into FOLDER: the key for stored secrets, a certificate for servers of these names with the authority that signed it
(whose own key is thrown away), the administrator's token and a token for workers to join. What is there is left as it
is. The database is that of ROTA_DATABASE.
"""

import base64
import os
import secrets
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

YEARS = timedelta(days=3 * 365)
WORKERS = 10


def main() -> None:
    """Make what is missing."""
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    if not (folder / "secret-key").exists():
        write(folder / "secret-key", base64.b64encode(secrets.token_bytes(32)) + b"\n")
    if not (folder / "server.pem").exists():
        make_certificates(folder, names)
    if not (folder / "admin-token").exists():
        write(folder / "admin-token", token("--scope", "admin", "--name", "compose"))
    if not (folder / "join-token").exists():
        write(folder / "join-token", token("--join", "--uses", str(WORKERS), "--expires", "24h"))


def token(*arguments: str) -> bytes:
    """A token made straight in the database, which is prepared by it."""
    rota = Path(sys.executable).with_name("rota")
    command = [rota, "token", "create", "--database", os.environ["ROTA_DATABASE"], *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def make_certificates(folder: Path, names: list[str]) -> None:
    """An authority, and one certificate by it for all servers."""
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer, subject = named("Rota's own authority"), named("Rota servers")
    own = builder(issuer, issuer, authority.public_key(), is_authority=True).sign(authority, hashes.SHA256())
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    issued = builder(issuer, subject, key.public_key(), is_authority=False).add_extension(alternatives, critical=False)
    write(folder / "ca.pem", own.public_bytes(serialization.Encoding.PEM))
    write(folder / "server.key", private(key))
    write(folder / "server.pem", issued.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def builder(
    issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, is_authority: bool
) -> x509.CertificateBuilder:
    """A certificate, not yet signed."""
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + YEARS)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )


def named(name: str) -> x509.Name:
    """A name of a certificate."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def private(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A key as a server reads it."""
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def write(path: Path, content: bytes) -> None:
    """A file that nobody else reads, there whole or not at all."""
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    fresh.replace(path)


if __name__ == "__main__":
    main()
