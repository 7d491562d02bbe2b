"""TLS with an MQTT broker: the broker proves who it is, and what goes wrong says what to do."""

from __future__ import annotations

import ssl

_OTHER_AUTHORITY = (
    "let ca_file name the authority that signed the broker's certificate, and host a name that it has"
)


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return a context that believes the authorities in a PEM file; None: those of this machine.

    Raises OSError for a file that cannot be read or has no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and host name
    context.sslsocket_class = _ClosingSocket
    if ca_file is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(ca_file)
    return context


class _ClosingSocket(ssl.SSLSocket):
    """Closes itself where nobody else would: after a handshake that failed."""

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands."""
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def tls_advice(cause: BaseException | None, port: int) -> str | None:
    """Return what to do about what the socket said; None where TLS has no part in it."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _OTHER_AUTHORITY
    if isinstance(cause, ssl.SSLError | ConnectionResetError):
        return f"check that the broker speaks TLS at port {port}, not at another one"
    return None


__all__ = ["tls_advice", "tls_context"]
