"""Files that another program writes into a bundle: sealed with what they held, whoever died meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from hashlib import sha256
from pathlib import Path

import pytest

from gapless.client.client import Client, connect
from gapless.client.sequence_writer import SequenceWriter
from gapless.errors import NameTaken, NotFound
from gapless.model.outcome import OnErrorPolicy
from gapless.store import growing

SOURCE = str(Path(__file__).resolve().parents[2] / "src")


def codes(client: Client, name: str) -> list[str]:
    """Return the codes of what verification finds."""
    return [finding.code for finding in client.verify(name, deep=True)]


def grow(seq: SequenceWriter, name: str, *pieces: bytes) -> Path:
    """Announce a file and write it piece by piece, as a device does."""
    path = seq.growing_artifact(name, "video/x-matroska")
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
            file.flush()
    return path


def break_off(client: Client, on_error: OnErrorPolicy) -> None:
    """Record a file into ``s`` and fail."""
    with client.sequence_create("s", on_error=on_error) as seq:
        grow(seq, "video.mkv", b"abc")
        raise ZeroDivisionError


def test_a_file_written_by_a_device_is_sealed_with_its_digest(tmp_path: Path) -> None:
    """The manifest has size and digest of what the file held at the end; verify and sha256sum cover it."""
    with connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            path = grow(seq, "cam/video.mkv", b"one", b"two")
            seq.log("x", 1.0)
        handler = client.sequence_handler("s")
        entry = handler.artifacts["cam/video.mkv"]
        assert handler.artifact_path("cam/video.mkv") == path
        assert path.parent == handler.path / "artifacts"
        assert codes(client, "s") == []
        path.write_bytes(b"onetwO")
        assert codes(client, "s") == ["V005"]
    assert entry == {
        "media_type": "video/x-matroska",
        "path": path.relative_to(handler.path).as_posix(),
        "bytes": 6,
        "sha256": sha256(b"onetwo").hexdigest(),
    }


def test_a_file_that_was_never_made_is_named(tmp_path: Path) -> None:
    """The seal goes through; the manifest, verify and the reader say that the file was not there."""
    with connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            missing = seq.growing_artifact("cam/video.mkv")
            seq.log("x", 1.0)
        handler = client.sequence_handler("s")
        assert handler.outcome == "completed"
        assert handler.artifacts["cam/video.mkv"]["missing"] == missing.relative_to(handler.path).as_posix()
        assert codes(client, "s") == ["V017"]
        with pytest.raises(NotFound, match="was not there"):
            handler.artifact_path("cam/video.mkv")


def test_a_link_is_not_taken_for_a_file(tmp_path: Path) -> None:
    """Bytes that lie outside of the bundle are not sealed with it."""
    (tmp_path / "elsewhere").write_bytes(b"secret")
    with connect(tmp_path / "store") as client:
        with client.sequence_create("s") as seq:
            seq.growing_artifact("cam/video.mkv").symlink_to(tmp_path / "elsewhere")
        assert "missing" in client.sequence_handler("s").artifacts["cam/video.mkv"]


def test_a_name_belongs_to_one_file(tmp_path: Path) -> None:
    """An announced name is taken before the file exists, also when only the case differs."""
    (tmp_path / "video.mkv").write_bytes(b"x")
    with connect(tmp_path / "store") as client:
        with client.sequence_create("s") as seq:
            seq.growing_artifact("video.mkv")
            with pytest.raises(NameTaken):
                seq.growing_artifact("Video.mkv")
            with pytest.raises(NameTaken):
                seq.add_artifact(tmp_path / "video.mkv")
            seq.add_artifact(tmp_path / "video.mkv", "other.mkv")
            with pytest.raises(NameTaken):
                seq.growing_artifact("other.mkv")
        assert set(client.sequence_handler("s").artifacts) == {"video.mkv", "other.mkv"}


def test_discarding_takes_the_file_along(tmp_path: Path) -> None:
    """A recording that its policy deletes leaves no file behind in the store's sequences."""
    with connect(tmp_path) as client:
        with pytest.raises(ZeroDivisionError):
            break_off(client, OnErrorPolicy.Delete)
        assert list((tmp_path / "sequences").rglob("video.mkv")) == []
        assert [p.read_bytes() for p in (tmp_path / "trash").rglob("video.mkv")] == [b"abc"]


def test_a_pending_recording_seals_its_files_later(tmp_path: Path) -> None:
    """What an error kept as pending has its file when it is sealed by hand."""
    with connect(tmp_path) as client:
        with pytest.raises(ZeroDivisionError):
            break_off(client, OnErrorPolicy.Report)
        client.seal("s")
        assert client.sequence_handler("s").artifacts["video.mkv"]["bytes"] == 3
        assert codes(client, "s") == []


def test_a_writer_that_does_not_let_go_cannot_change_what_was_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that still grows at recovery is sealed as a copy; its writer goes on in a file without a name."""
    monkeypatch.setattr(growing, "_WAIT_S", 1.0)
    path = _killed_recorder(tmp_path)
    ended = threading.Event()
    with connect(tmp_path) as client:
        writer = threading.Thread(target=_write_until, args=(path, ended), daemon=True)
        writer.start()
        try:
            client.recover("run")
            entry = client.sequence_handler("run").artifacts["cam/video.mkv"]
            assert entry["bytes"] >= len(PIECE)
            assert codes(client, "run") == []
        finally:
            ended.set()
            writer.join(30)
        assert not writer.is_alive()
        assert codes(client, "run") == []
        assert path.stat().st_size == entry["bytes"]


@pytest.mark.crash
def test_a_killed_recording_seals_what_the_file_holds(tmp_path: Path) -> None:
    """After SIGKILL of the recorder and a device that wrote to the end, recovery has every byte."""
    path = _killed_recorder(tmp_path)
    with path.open("ab") as file:
        file.write(b"the device's last words")
    with connect(tmp_path) as client:
        client.recover("run")
        handler = client.sequence_handler("run")
        assert handler.outcome == "interrupted"
        assert handler.artifacts["cam/video.mkv"]["sha256"] == sha256(path.read_bytes()).hexdigest()
        assert codes(client, "run") == []
        client.recover("run")
        assert path.read_bytes() == PIECE + b"the device's last words"


PIECE = b"a picture" * 100


def _killed_recorder(store: Path) -> Path:
    """Return the file that a recorder announced and wrote one piece of before it was killed."""
    environment = os.environ | {"PYTHONPATH": SOURCE}
    with subprocess.Popen(
        [sys.executable, __file__, str(store)], stdout=subprocess.PIPE, env=environment, text=True
    ) as child:
        assert child.stdout is not None
        path = Path(child.stdout.readline().strip())
        child.kill()
    assert path.read_bytes() == PIECE
    return path


def _write_until(path: Path, ended: threading.Event) -> None:
    """Keep a file open and append to it, as a camera program does that nobody told of the end."""
    with path.open("ab", buffering=0) as file:
        while not ended.is_set():
            file.write(b"more")
            time.sleep(0.01)


def _record_until_killed(store: str) -> None:
    with connect(store) as client, client.sequence_create("run") as seq:
        seq.log("x", 1.0)
        path = grow(seq, "cam/video.mkv", PIECE)
        os.write(1, f"{path}\n".encode())
        threading.Event().wait(60)


if __name__ == "__main__":
    _record_until_killed(sys.argv[1])


@pytest.mark.parametrize("first", ["https://one/x.bin", "file", "growing"])
@pytest.mark.parametrize("second", ["https://two/X.bin", "file", "growing"])
def test_no_artifact_takes_the_name_of_another(tmp_path: Path, first: str, second: str) -> None:
    """Whether a name stands for a copy, an address or a file that grows, and in whatever case it is written."""
    source = tmp_path / "x.bin"
    source.write_bytes(b"abc")

    def add(seq: SequenceWriter, what: str) -> None:
        if what == "growing":
            seq.growing_artifact("x.bin").write_bytes(b"def")
        else:
            seq.add_artifact(source if what == "file" else what)

    with connect(tmp_path / "store") as client:
        with client.sequence_create("s") as seq:
            add(seq, first)
            with pytest.raises(NameTaken):
                add(seq, second)
            seq.log("v", 1.0)
        assert list(client.sequence_handler("s").artifacts) == ["x.bin"]
        assert client.verify("s", deep=True) == []
