"""The sealing thread: jobs in order, and on the calling thread where none can start."""

from __future__ import annotations

import threading

import pytest

from gapless.bluesky.sealer import Sealer


def test_jobs_are_done_in_order_on_another_thread() -> None:
    """An error of a job is told and the next is done."""
    told: list[BaseException] = []
    done: list[int] = []
    sealer = Sealer(told.append)
    sealer.put(lambda: done.append(threading.get_ident()))
    sealer.put(lambda: done.append(1 // 0))
    sealer.put(lambda: done.append(3))
    assert sealer.wait(60)
    sealer.end()
    assert done[1:] == [3]
    assert done[0] != threading.get_ident()
    assert [type(error) for error in told] == [ZeroDivisionError]


def test_jobs_are_done_here_where_no_thread_can_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """As while the interpreter ends, from Python 3.12 on."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    done: list[int] = []
    sealer = Sealer(lambda _error: None)
    sealer.put(lambda: done.append(threading.get_ident()))
    assert done == [threading.get_ident()]
    assert sealer.wait(0)
