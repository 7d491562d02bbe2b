"""A flush that comes while another thread ends the recording is told that it came too late."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

import gapless
from gapless.errors import WriterClosed
from gapless.store.platform import Platform
from gapless.store.writer import BundleWriter

DEADLINE_S = 30


class HeldDisk(Platform):
    """A disk that finishes no sync while ``held`` is set, and says when it was asked for one."""

    def __init__(self) -> None:
        super().__init__()
        self.held = threading.Event()
        self.asked, self.goes_on = threading.Event(), threading.Event()

    def data_sync(self, fd: int) -> None:
        """Sync, once the disk goes on."""
        if self.held.is_set():
            self.asked.set()
            assert self.goes_on.wait(DEADLINE_S)
        super().data_sync(fd)


def test_a_flush_behind_the_last_sync_is_refused_as_closed(tmp_path: Path) -> None:
    """The thread is ended, not dead: what was pushed before is durable, and the caller hears that it is over."""
    disk = HeldDisk()
    with gapless.connect(tmp_path) as client:
        client._store.platform = disk
        with client.sequence_create("run") as sequence:
            sequence.log("x", 1.0)
            sequence.flush()
            writer = sequence._writer
            assert isinstance(writer, BundleWriter)
            disk.held.set()
            closing = threading.Thread(target=writer.close, args=({"outcome": "completed", "cause": None},))
            closing.start()
            assert disk.asked.wait(DEADLINE_S)
            found: list[BaseException] = []
            flushing = threading.Thread(target=lambda: found.append(_refusal_of(writer)))
            flushing.start()
            give_up = time.monotonic() + DEADLINE_S
            while not writer.hand_over.queue.qsize():
                assert time.monotonic() < give_up, "the flush never asked"
                time.sleep(0.005)
            disk.held.clear()
            disk.goes_on.set()
            for thread in (closing, flushing):
                thread.join(DEADLINE_S)
            assert [type(error) for error in found] == [WriterClosed]


def _refusal_of(writer: BundleWriter) -> BaseException:
    with pytest.raises(gapless.errors.GaplessError) as refused:
        writer.flush()
    return refused.value
