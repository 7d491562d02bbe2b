"""The spool: whole lines, one file for each run, whoever writes."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.cli.conftest import environment

from gapless.bluesky.backup_files import TornLine, read_backup
from gapless.bluesky.spool import Spool
from gapless.errors import BackupFailed
from gapless.store.platform import Platform


class CountingPlatform(Platform):
    """Counts what is synced."""

    def __init__(self) -> None:
        self.synced = 0

    def data_sync(self, fd: int) -> None:
        """Count, and sync."""
        self.synced += 1
        super().data_sync(fd)


class FullDisk(Platform):
    """Takes ``room_bytes`` and no more."""

    def __init__(self, room_bytes: int) -> None:
        self.room_bytes = room_bytes

    def write(self, fd: int, buffers: Sequence[bytes | bytearray | memoryview]) -> int:
        """Write what there is room for."""
        data = b"".join(map(bytes, buffers))
        fits = data[: self.room_bytes]
        self.room_bytes -= len(fits)
        written = os.write(fd, fits)
        if len(fits) < len(data):
            raise OSError(errno.ENOSPC, "no space left on device")
        return written


def documents(path: Path) -> list[tuple[str, dict[str, object]]]:
    """Return the whole documents of a file."""
    return [(found[0], dict(found[1])) for found in read_backup(path) if not isinstance(found, TornLine)]


def test_documents_come_back_as_they_were(tmp_path: Path) -> None:
    """Documents come back as they were."""
    spool = Spool(tmp_path / "spool")
    event = {"uid": "e", "data": {"x": np.float32(2.5), "n": float("inf"), "b": b"\0", "k": 2**70}}
    spool.keep("run-a", "start", {"uid": "run-a"}, reason="why")
    spool.keep("run-a", "event", event, reason="why")
    spool.keep("run-b", "start", {"uid": "run-b"}, reason="why")
    assert [path.name for path in spool.files()] == ["run-a.jsonl", "run-b.jsonl"]
    assert documents(spool.path("run-a")) == [("start", {"uid": "run-a"}), ("event", event)]


def test_start_and_stop_are_synced_at_once_and_others_in_groups(tmp_path: Path) -> None:
    """Start and stop are synced at once and others in groups."""
    platform = CountingPlatform()
    spool = Spool(tmp_path, platform=platform)
    spool.keep("a", "start", {"uid": "a"}, reason="")
    assert platform.synced == 1
    spool.keep_all("a", [("event", {"uid": str(n)}) for n in range(100)], reason="")
    assert platform.synced == 1
    spool.keep("a", "stop", {"uid": "s"}, reason="")
    assert platform.synced == 2
    spool.keep("a", "event", {"uid": "late"}, reason="")
    spool.flush()
    spool.flush()
    assert platform.synced == 3


@pytest.mark.parametrize("uid", ["../../escape", "/etc/x", "a/b", "..", "con", "", "x" * 300, "a\nb"])
def test_no_uid_leaves_the_folder(tmp_path: Path, uid: str) -> None:
    """No uid leaves the folder."""
    spool = Spool(tmp_path / "spool")
    spool.keep(uid, "start", {"uid": uid}, reason="")
    assert [path.parent for path in spool.files()] == [tmp_path / "spool"]
    assert documents(spool.files()[0]) == [("start", {"uid": uid})]
    assert [path.name for path in tmp_path.iterdir()] == ["spool"]


def test_a_torn_last_line_stays_a_line_of_its_own(tmp_path: Path) -> None:
    """A torn last line stays a line of its own."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"name": "event", "doc": {"uid": "t')
    Spool(tmp_path).keep("a", "event", {"uid": "whole"}, reason="")
    torn, whole = read_backup(path)
    assert isinstance(torn, TornLine)
    assert torn.line == 1
    assert not isinstance(whole, TornLine)
    assert whole[1] == {"uid": "whole"}


def test_a_full_disk_is_told_and_what_follows_is_whole(tmp_path: Path) -> None:
    """A full disk is told and what follows is whole."""
    platform = FullDisk(20)
    spool = Spool(tmp_path, platform=platform)
    with pytest.raises(BackupFailed, match="no space"):
        spool.keep("a", "event", {"uid": "lost"}, reason="")
    platform.room_bytes = 10_000
    spool.keep("a", "event", {"uid": "kept"}, reason="")
    assert documents(spool.path("a")) == [("event", {"uid": "kept"})]


def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    """A file that was moved away is made anew."""
    spool = Spool(tmp_path)
    spool.keep("a", "event", {"uid": "1"}, reason="")
    spool.path("a").rename(tmp_path / "moved")
    spool.keep("a", "event", {"uid": "2"}, reason="")
    assert documents(spool.path("a")) == [("event", {"uid": "2"})]


def test_many_runs_share_a_bounded_number_of_open_files(tmp_path: Path) -> None:
    """Many runs share a bounded number of open files."""
    spool = Spool(tmp_path)
    for number in range(200):
        spool.keep(f"run-{number}", "start", {"uid": f"run-{number}"}, reason="")
    opened = sum(str(tmp_path) in _target(fd) for fd in os.listdir("/proc/self/fd"))
    assert opened <= 64
    assert len(spool.files()) == 200


def _target(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:
        return ""


def test_two_processes_do_not_tear_each_others_lines(tmp_path: Path) -> None:
    """Two processes do not tear each others lines."""
    program = (
        "import sys; from pathlib import Path; from gapless.bluesky.spool import Spool\n"
        "spool = Spool(Path(sys.argv[1]))\n"
        "for n in range(200): spool.keep('run', 'event', {'uid': f'{sys.argv[2]}-{n}', 'pad': 'x' * 5000}, reason='')\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path), who], env=environment())
        for who in ("a", "b")
    ]
    assert [writer.wait(100) for writer in writers] == [0, 0]
    found = documents(tmp_path / "run.jsonl")
    assert sorted(str(doc["uid"]) for _, doc in found) == sorted(f"{w}-{n}" for w in "ab" for n in range(200))


def test_a_file_that_is_needed_no_more_is_removed(tmp_path: Path) -> None:
    """The next document makes it anew."""
    spool = Spool(tmp_path)
    spool.keep("a", "event", {"uid": "1"}, reason="r")
    spool.discard("a")
    spool.discard("b")
    assert spool.files() == []
    spool.keep("a", "event", {"uid": "2"}, reason="r")
    spool.close()
    assert len(spool.path("a").read_bytes().splitlines()) == 1
    assert spool.kept == 2


def test_a_document_that_cannot_be_written_is_kept_as_text(tmp_path: Path) -> None:
    """One that is nested without end costs none beside it."""
    deep: dict[str, Any] = {}
    deep["self"] = deep
    spool = Spool(tmp_path / "spool")
    spool.keep_all("a", [("event", {"uid": "1"}), ("event", deep), ("event", {"uid": "3"})], reason="full")
    spool.close()
    lines = [json.loads(line) for line in spool.path("a").read_text().splitlines()]
    assert [list(line["doc"]) for line in lines] == [["uid"], ["repr"], ["uid"]]
    assert "RecursionError" in lines[1]["reason"]


def test_whatever_keeps_documents_from_the_spool_is_told_as_that(tmp_path: Path) -> None:
    """Who hands documents over needs to know one error."""

    def broken() -> Iterator[tuple[str, dict[str, Any]]]:
        yield "event", {"uid": "1"}
        raise RuntimeError("no more")

    with pytest.raises(BackupFailed, match="no more"):
        Spool(tmp_path / "spool").keep_all("a", broken(), reason="full")
