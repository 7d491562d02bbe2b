"""The certificate and private key of a server, as PEM files."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from gapless.errors import UsageError


@dataclass(frozen=True, slots=True)
class Identity:
    """What a server proves itself with: both as PEM text."""

    certificate: bytes
    key: bytes


def read_identity(certificate: Path, key: Path | None = None) -> Identity:
    """Return the certificate chain and the private key of these files; ``key`` None: both are in the first.

    Raises UsageError for a file that cannot be read, a key that is encrypted, or two that do not belong together.
    """
    key = key or certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        identity = Identity(certificate.read_bytes(), key.read_bytes())
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        raise UsageError(
            "certificate and key cannot be used",
            found=f"{certificate}, {key}: {error.reason or error}",
            expected="a certificate chain and its private key, in PEM",
            field="--tls-cert",
        ) from error
    except OSError as error:
        raise UsageError(
            "a file of TLS cannot be read", found=f"{error.filename}: {error.strerror}", field="--tls-cert"
        ) from error
    return identity


def _no_password() -> str:
    raise UsageError(
        "the private key is encrypted",
        field="--tls-key",
        next_step="`openssl pkey -in KEY -out PLAIN` decrypts it",
    )
