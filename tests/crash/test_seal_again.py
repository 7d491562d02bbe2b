"""A seal that is killed at any step and done again, and killed again, counts what is missing once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gapless.store import journal
from gapless.store.declaration import TopicDeclaration
from gapless.store.durability import Durability
from gapless.store.frame import Frame, Kind, scan
from gapless.store.journal_view import JournalView
from gapless.store.layout import Bundle
from gapless.store.platform import PLATFORM, Platform
from gapless.store.reader import open_bundle
from gapless.store.recover import recover
from gapless.store.verify import verify
from gapless.store.writer import BundleWriter
from gapless.testing.sample import MOTION

LEDGER = {"produced": 15, "written": 7, "dropped": 4, "gapped": 4}
GAPS = [(7, 2, "damaged"), (9, 4, "ignore"), (13, 2, "damaged")]


class Killed(BaseException):
    """The process dies here."""


class Killer(Platform):
    """Dies before its n-th operation that changes the disk."""

    def __init__(self, nth: int) -> None:
        self.left = nth

    def _step(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


def _dying(name: str) -> Callable[..., Any]:
    whole = getattr(Platform, name)

    def step(self: Killer, *arguments: Any) -> Any:
        self._step()
        return whole(self, *arguments)

    return step


for _name in (
    "create",
    "write",
    "data_sync",
    "sync_file",
    "sync_directory",
    "replace",
    "remove",
    "remove_tree",
):
    setattr(Killer, _name, _dying(_name))


def record(path: Path) -> None:
    """Leave a closed journal whose last rows were lost, given up, and lost again."""
    path.mkdir()
    bundle = Bundle(path)
    header = journal.make_header("s", platform=PLATFORM)
    writer = BundleWriter(bundle, header, durability=Durability(flush_ms=60_000))
    described = {"tag": None, "version": 1, "fingerprint": ""}
    lane = writer.lane(writer.declare(TopicDeclaration(16, "t", MOTION.schema, described)))
    for rows in (7, 2):
        for k in range(rows):
            lane.push_row(*MOTION.row(k))
        writer.flush()
    lane.drop(4, "ignore")
    writer.flush()
    for k in range(2):
        lane.push_row(*MOTION.row(k))
    writer.close({"outcome": "completed", "cause": None})
    writer.release()
    segment = bundle.journal / "00000001.seg"
    frames = [item for item in scan(segment, header["nonce"]) if isinstance(item, Frame)]
    raw = bytearray(segment.read_bytes())
    for frame in [f for f in frames if f.header.kind == Kind.PACKED][1:]:
        raw[frame.payload_offset] ^= 1
    segment.write_bytes(raw)


def found(path: Path) -> list[tuple[int, int, str]]:
    """Return the gap rows of a sealed bundle."""
    rows = open_bundle(path).topic("_gaps").to_arrow().to_pylist()
    return [(row["first_seq"], row["count"], row["cause"]) for row in rows]


@pytest.mark.crash
@pytest.mark.timeout(600)
def test_a_seal_killed_twice_at_any_step_counts_what_is_missing_once(ram_path: Path) -> None:
    """Drops and losses behind the last row: one gap row each, and a ledger that says what was offered."""
    record(ram_path / "journal")
    nth, killed = 1, True
    while killed:
        path = ram_path / f"copy{nth}"
        shutil.copytree(ram_path / "journal", path)
        killed = False
        for _ in range(2):
            try:
                recover(path, Killer(nth))
            except Killed:
                killed = True
            if not (path / "manifest.json").exists():
                seen = JournalView.open(path / "journal").ledger["t"]
                assert (seen.written, seen.dropped) == (7, 4), f"a look behind step {nth}"
        manifest = recover(path)
        assert manifest["content"]["topics"]["t"]["ledger"] == LEDGER, f"killed at step {nth}"
        assert found(path) == GAPS, f"killed at step {nth}"
        assert not [f for f in verify(path, deep=True) if f.severity == "error"]
        shutil.rmtree(path)
        nth += 1
    assert nth > 20
