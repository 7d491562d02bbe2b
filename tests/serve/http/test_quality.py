"""Reports over HTTP: what they say, that one serves all who ask, and that nobody's report is made."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

import gapless
from gapless.errors import LimitReached, NotFound
from gapless.serve.http.shared_work import Gone, SharedWork
from gapless.store import quality, verify

from .conftest import DEADLINE_S, Begin, Site
from .sample_store import BASE_NS, record


def until(holds: Callable[[], bool]) -> None:
    """Wait for what must become true."""
    end_s = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < end_s, "it did not become true"
        time.sleep(0.01)


def test_check_reports_the_data(filled: Site) -> None:
    """Figures of each topic, findings with what they mean, the verdict."""
    told = filled.api("/sequences/walk/check").json()
    assert told["verdict"] == "bad"
    assert told["topics"]["sensors/imu"]["rate_hz"] == pytest.approx(1_000)
    assert told["topics"]["mixed"]["missing"] == 2
    [missing] = [finding for finding in told["findings"] if finding["code"] == "C001"]
    assert (missing["severity"], missing["topic"]) == ("problem", "mixed")
    assert missing["means"] == quality.FINDINGS["C001"]
    assert filled.api("/sequences/a%2Fb/check").json()["verdict"] == "good"


def test_verify_finds_what_was_changed(filled: Site, root: Path) -> None:
    """Nothing before; afterwards the file and its rows."""
    assert filled.api("/sequences/walk/verify").json() == {"sound": True, "findings": []}
    assert filled.api("/sequences/walk/verify", params={"deep": True}).json()["sound"] is True
    [part] = (root / "sequences" / "walk" / "topics" / "mixed").glob("*.parquet")
    data = bytearray(part.read_bytes())
    data[40] ^= 1
    part.write_bytes(data)
    told = filled.api("/sequences/walk/verify").json()
    assert told["sound"] is False
    [finding] = told["findings"]
    assert (finding["code"], finding["severity"], finding["rows"]) == ("V005", "error", [0, 2])
    assert finding["means"] == verify.FINDINGS["V005"]


@pytest.mark.parametrize("damage", [b"{", b"[]"])
def test_a_finding_does_not_tell_where_the_store_lies(filled: Site, root: Path, damage: bytes) -> None:
    """A file is named as it lies in the store's folder."""
    (root / "sequences" / "walk" / "manifest.json").write_bytes(damage)
    answer = filled.api("/sequences/walk/verify")
    assert answer.status_code == 200
    finding = answer.json()["findings"][0]
    assert (finding["code"], finding["file"]) == ("V001", "manifest.json")
    assert "sequences/walk/manifest.json" in finding["message"]
    assert str(root) not in answer.text


def test_a_report_ends_when_nobody_waits_for_it(
    begin: Begin, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client leaves, and the pass over the rows goes no further; the next client gets a whole one."""
    with gapless.connect(root) as client, client.sequence_create("long") as sequence:
        topic = sequence.topic_create("t", schema=pa.schema([("v", pa.int64())]))
        topic.push_columns(BASE_NS + np.arange(500_000), {"v": np.arange(500_000)})
    taken: list[int] = []
    slow = threading.Event()
    add = quality._Pass.add

    def counted(running: Any, batch: pa.RecordBatch) -> None:
        taken.append(batch.num_rows)
        if not slow.is_set():
            time.sleep(0.3)
        add(running, batch)

    monkeypatch.setattr(quality._Pass, "add", counted)
    site = begin(root)
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{site.url}/api/v1/sequences/long/check", timeout=0.2)
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "gapless report"])
    assert sum(taken) < 500_000
    slow.set()
    assert site.api("/sequences/long/check").json()["topics"]["t"]["rows"] == 500_000


@pytest.mark.parametrize("report", [quality.check, verify.verify])
def test_a_report_asks_before_each_piece_whether_to_go_on(root: Path, report: Callable[..., object]) -> None:
    """What the one who watches raises ends it."""

    class Enough(Exception):
        """Raised by who watches."""

    looks: list[int] = []

    def watch() -> None:
        looks.append(1)
        if len(looks) == 2:
            raise Enough

    bundle = record(root) / "sequences" / "walk"
    with pytest.raises(Enough):
        report(bundle, watch=watch)
    assert len(looks) == 2


def test_who_asks_at_the_same_time_gets_the_same_report() -> None:
    """The work is done once."""
    shared, made, go = SharedWork(at_once=2, queued=16), [], threading.Event()

    def work(gone: Gone) -> object:
        assert not gone()
        go.wait(DEADLINE_S)
        made.append(object())
        return made[0]

    found: list[object] = []
    threads = [
        threading.Thread(target=lambda: found.append(shared.result("k", work, lambda: False)))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    until(lambda: _waiting(shared) == 5)
    go.set()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert len(made) == 1
    assert found == made * 5
    assert shared.result("k", lambda _: "fresh", lambda: False) == "fresh"


def _waiting(shared: SharedWork) -> int:
    with shared._lock:
        return sum(len(task.waiting) for task in shared._tasks.values())


def test_the_error_of_the_work_reaches_all_who_wait() -> None:
    """As it was raised."""

    def fail(_: Gone) -> None:
        raise NotFound("nothing there")

    with pytest.raises(NotFound):
        SharedWork(at_once=1, queued=1).result("k", fail, lambda: False)


def test_work_goes_on_for_those_who_stay() -> None:
    """One of two leaves: it hears so at once, and the other gets the result."""
    shared, left, go = SharedWork(at_once=1, queued=4), threading.Event(), threading.Event()
    found: list[str] = []

    def work(gone: Gone) -> str:
        go.wait(DEADLINE_S)
        assert not gone()
        return "whole"

    def leave() -> None:
        try:
            shared.result("k", work, left.is_set)
        except pa.ArrowCancelled:
            found.append("left")

    threads = [threading.Thread(target=leave),
               threading.Thread(target=lambda: found.append(shared.result("k", work, lambda: False)))]  # fmt: skip
    for thread in threads:
        thread.start()
    until(lambda: _waiting(shared) == 2)
    left.set()
    threads[0].join(DEADLINE_S)
    assert found == ["left"]
    go.set()
    threads[1].join(DEADLINE_S)
    assert found == ["left", "whole"]


def test_how_much_is_done_and_waited_for_is_bounded() -> None:
    """One piece at a time here; a caller too many is refused, and one that waits for room may leave."""
    shared, go, running = SharedWork(at_once=1, queued=2), threading.Event(), []

    def work(_: Gone) -> None:
        running.append(1)
        go.wait(DEADLINE_S)

    gone = threading.Event()
    ended: list[str] = []

    def wait(key: str, leaving: threading.Event) -> None:
        try:
            shared.result(key, work, leaving.is_set)
            ended.append(f"{key} done")
        except pa.ArrowCancelled:
            ended.append(f"{key} left")

    first = threading.Thread(target=wait, args=("a", threading.Event()))
    first.start()
    until(lambda: running == [1])
    second = threading.Thread(target=wait, args=("b", gone))
    second.start()
    until(lambda: _waiting(shared) == 2)
    with pytest.raises(LimitReached):
        shared.result("c", work, lambda: False)
    gone.set()
    second.join(DEADLINE_S)
    assert ended == ["b left"]
    go.set()
    first.join(DEADLINE_S)
    assert (ended, running) == (["b left", "a done"], [1])
