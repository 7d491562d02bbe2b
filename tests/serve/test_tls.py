"""TLS: who checks the certificate gets in, who does not speak TLS or trusts another does not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import flight

from gapless.client.remote import protocol
from gapless.errors import UsageError
from gapless.serve.rights import Right
from gapless.serve.tls import Identity, read_identity

from .conftest import Serve
from .trial_door import caller, new_key


def self_signed(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a certificate for localhost and 127.0.0.1, and its key."""
    folder.mkdir(exist_ok=True)
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return certificate, key


@pytest.fixture(scope="session")
def pem(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return certificate and key."""
    return self_signed(tmp_path_factory.mktemp("tls"), "server")


def test_a_client_that_trusts_it_gets_in(serve: Serve, root: Path, pem: tuple[Path, Path]) -> None:
    """Requests, streams and keys work as they do without TLS."""
    server, _ = serve(tls=read_identity(*pem))
    assert server.url.startswith("grpc+tls://127.0.0.1:")
    token = new_key(root, Right.READ)
    client = caller(server.url, token, tls_root_certs=pem[0].read_bytes())
    assert client.action("trial.echo", b"x")[0] == b"x"
    assert client.get(batches=2).read_all().num_rows == 200_000


def test_others_do_not(serve: Serve, pem: tuple[Path, Path], tmp_path: Path) -> None:
    """One that trusts another certificate and one without TLS are cut off, and the server goes on."""
    server, _ = serve(tls=read_identity(*pem))
    strange = self_signed(tmp_path, "other")[0].read_bytes()
    with pytest.raises((flight.FlightError, pa.ArrowException)):
        caller(server.url, tls_root_certs=strange).action("trial.echo")
    with pytest.raises((flight.FlightError, pa.ArrowException)):
        caller(server.url.replace("+tls", "")).action("trial.echo")
    assert caller(server.url, tls_root_certs=pem[0].read_bytes()).action(protocol.INFO)


def test_certificate_and_key_may_be_in_one_file(pem: tuple[Path, Path], tmp_path: Path) -> None:
    """As many programs write them."""
    both = tmp_path / "both.pem"
    both.write_bytes(pem[0].read_bytes() + pem[1].read_bytes())
    assert read_identity(both) == Identity(both.read_bytes(), both.read_bytes())


def test_what_cannot_be_used_is_said(pem: tuple[Path, Path], tmp_path: Path) -> None:
    """An absent file, no PEM, the key of another certificate, an encrypted key: typed, before anything listens."""
    other = self_signed(tmp_path, "other")[1]
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("no certificate")
    locked = tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "pkey", "-in", str(pem[1]), "-aes256", "-passout", "pass:sesame", "-out", str(locked)],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    for certificate, key, text in (
        (tmp_path / "absent.pem", None, "cannot be read"),
        (nonsense, None, "cannot be used"),
        (pem[0], other, "cannot be used"),
        (pem[0], None, "cannot be used"),
        (pem[0], locked, "encrypted"),
    ):
        with pytest.raises(UsageError, match=text):
            read_identity(certificate, key)
