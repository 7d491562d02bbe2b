"""Where control sockets lie, who may use them, and how a run's socket is found from its sequence."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import gapless
from gapless.acquire.control.client import ControlClient
from gapless.acquire.control.server import ControlServer
from gapless.acquire.control.socket_place import MAX_PATH_BYTES, new_socket_path, release
from gapless.errors import ControlFailed, NotFound
from gapless.store.layout import Bundle

from .small_run import SmallRun


def mode_of(path: Path) -> int:
    """Return the permission bits."""
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a short temporary folder that sockets go to; those of pytest are too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="gl-", dir="/tmp") as folder:
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def test_socket_and_folder_are_private(short: Path) -> None:
    """Whatever the umask, nobody else can enter the folder or open the socket."""
    former = os.umask(0)
    try:
        server = ControlServer(SmallRun())
        server.start()
    finally:
        os.umask(former)
    assert mode_of(server.path) == 0o600
    assert stat.S_ISSOCK(server.path.lstat().st_mode)
    assert mode_of(server.path.parent) == 0o700
    assert server.path.parent == short / f"gapless-{os.getuid()}"
    server.close()


def test_a_folder_that_others_could_enter_is_closed_to_them(short: Path) -> None:
    """A folder of ours with open permissions gets closed ones before it is used."""
    folder = short / f"gapless-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    assert new_socket_path().parent == folder
    assert mode_of(folder) == 0o700


def test_the_runtime_folder_comes_first(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_RUNTIME_DIR is used when it is there and short enough."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short / "run"))
    assert new_socket_path().parent == short / f"gapless-{os.getuid()}"
    (short / "run").mkdir()
    assert new_socket_path().parent == short / "run" / "gapless"
    long = short / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    assert new_socket_path().parent == short / f"gapless-{os.getuid()}"


def test_a_link_in_place_of_the_folder_is_not_followed(short: Path) -> None:
    """Somebody who got there first with a link gets nothing: the socket has a folder of its own."""
    elsewhere = short / "elsewhere"
    elsewhere.mkdir()
    (short / f"gapless-{os.getuid()}").symlink_to(elsewhere)
    path = new_socket_path()
    assert path.parent.parent == short
    assert mode_of(path.parent) == 0o700
    assert list(elsewhere.iterdir()) == []
    server = ControlServer(SmallRun(), path)
    server.start()
    server.close()
    assert not path.parent.exists()


def test_a_path_that_no_socket_can_have_is_refused(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a short folder there is a typed error that says what to set, and nothing is left behind."""
    long = short / ("y" * MAX_PATH_BYTES)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(ControlFailed, match="XDG_RUNTIME_DIR"):
        ControlServer(SmallRun()).start()
    assert [path for path in long.iterdir() if path.name != f"gapless-{os.getuid()}"] == []


def test_sockets_of_dead_runs_are_taken_away(short: Path) -> None:
    """A socket that nobody listens on goes; one that lives or is just being made stays."""
    folder = new_socket_path().parent
    dead, new, live = folder / "1-dead.sock", folder / "2-new.sock", folder / "3-live.sock"
    for path in (dead, new):
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(str(path))
    os.utime(dead, (0, 0))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(live))
        listener.listen()
        os.utime(live, (0, 0))
        new_socket_path()
    assert (dead.exists(), new.exists(), live.exists()) == (False, True, True)


def test_a_socket_that_cannot_be_made_is_told(short: Path) -> None:
    """A path that is taken by something else raises at the start, in the caller."""
    (short / "file").write_text("x")
    with pytest.raises(ControlFailed, match="cannot be opened"):
        ControlServer(SmallRun(), short / "file" / "control").start()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.skipif(shutil.which("socat") is None, reason="needs socat, which another user can start")
def test_another_user_is_refused(short: Path) -> None:
    """Even where the permissions are open, the server asks the system who is there."""
    short.chmod(0o755)
    server = ControlServer(SmallRun(), short / "s.sock")
    server.start()
    server.path.chmod(0o666)
    done = subprocess.run(
        ["socat", "-u", f"UNIX-CONNECT:{server.path}", "-"],
        user=65534,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
    )
    assert "another user" in done.stdout, done.stderr
    assert "hello" not in done.stdout
    server.close()


def test_a_run_is_found_by_its_sequence(tmp_path: Path) -> None:
    """The lock file of an open sequence names the socket; before, after and without one there are errors."""
    run = SmallRun("s")
    with gapless.connect(str(tmp_path)) as store:
        with store.sequence_create("s") as sequence:
            assert sequence.path is not None
            bundle = Bundle(sequence.path)
            with pytest.raises(ControlFailed, match="takes no requests"):
                ControlClient.connect(bundle)
            server = ControlServer(run)
            server.start()
            sequence.announce({"pid": os.getpid(), "control": str(server.path)})
            with ControlClient.connect(bundle) as client:
                assert client.hello["sequence"] == "s"
            server.close()
            with pytest.raises(ControlFailed, match="does not answer"):
                ControlClient.connect(bundle)
        with pytest.raises(NotFound, match="s is not being recorded now"):
            ControlClient.connect(bundle)


@pytest.mark.parametrize(
    ("greeting", "words"),
    [
        (b'{"hello": {"protocol": 99, "version": "9.9"}}\n', "another version"),
        (b'{"error": {"error": "ControlFailed", "message": "go away"}}\n', "go away"),
        (b"", "does not answer"),
    ],
)
def test_a_client_checks_whom_it_talks_to(short: Path, greeting: bytes, words: str) -> None:
    """Another protocol, a refusal and a dead end are typed errors."""
    path = short / "s.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def greet() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(greeting)

        greeter = threading.Thread(target=greet, daemon=True)
        greeter.start()
        with pytest.raises(ControlFailed, match=words):
            ControlClient(path)
        greeter.join(30)
    release(path)
