"""Certificates of a test's own: authorities, and what they sign for servers and clients."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = timedelta(days=1)


class Holder:
    """Someone with a key and a certificate, both as PEM files in a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.certificate_file = folder / f"{name}.pem"
        self.key_file = folder / f"{name}-key.pem"
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def save(self, certificate: x509.Certificate, password: str | None = None) -> None:
        """Write both files; with a password the key is encrypted."""
        self.certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        locked: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password is not None:
            locked = serialization.BestAvailableEncryption(password.encode())
        self.key_file.write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, locked
            )
        )


class Authority(Holder):
    """Signs certificates that are valid today."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder, name)
        self._folder = folder
        constraint = x509.BasicConstraints(ca=True, path_length=None)
        built = self._begun(self).add_extension(constraint, critical=True)
        built = built.add_extension(_usage(signs_certificates=True), critical=True)
        self.save(built.sign(self.key, hashes.SHA256()))

    def issue(
        self, name: str, *names: x509.GeneralName, host: str = "127.0.0.1", password: str | None = None
    ) -> Holder:
        """Return a holder whose certificate is good for an address and whatever other names are given."""
        holder = Holder(self._folder, name)
        alternatives = [x509.IPAddress(ipaddress.ip_address(host)), *names]
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        built = (
            self._begun(holder)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        )
        holder.save(built.sign(self.key, hashes.SHA256()), password)
        return holder

    def _begun(self, holder: Holder) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(holder.name)
            .issuer_name(self.name)
            .public_key(holder.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + _DAY)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(holder.key.public_key()), critical=False)
        )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=not signs_certificates,
        key_encipherment=not signs_certificates,
        data_encipherment=not signs_certificates,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
