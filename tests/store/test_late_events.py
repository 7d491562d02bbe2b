"""Events that another process leaves for a dead recording become rows of ``_events``, each once."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.store.live_recording import Recording

from gapless.errors import StorageFailed
from gapless.store import late_events
from gapless.store.declaration import TopicDeclaration
from gapless.store.late_events import GUARD_LOCK, LATE_EVENTS, LateEvent, leave_late_events
from gapless.store.layout import EVENTS_INDEX, Bundle
from gapless.store.platform import PLATFORM, Bytes, Platform
from gapless.store.reader import open_bundle
from gapless.store.recover import recover
from gapless.store.reserved import EVENTS
from gapless.store.verify import verify

UNSAFE = LateEvent(20, "error", "device_unsafe", "heater", "heater may be unsafe: no answer")
SAFE = LateEvent(21, "info", "safe_state", "guard", "safe state", {"outcomes": [{"device": "ü"}]})


def dead(path: Path, events: int, *, complete: bool) -> Bundle:
    """Leave a journal without an owner that holds 50 rows and some events of its own.

    ``complete``: its owner died between the last frame and the manifest, else in the middle.
    """
    with Recording(path.with_name("live")) as recording:
        recording.push_many(1)
        if events:
            state = recording.writer.declare(TopicDeclaration(EVENTS_INDEX, "_events", EVENTS, {}))
            lane = recording.writer.lane(state)
            for k in range(events):
                lane.push_row(10 + k, "info", "own", "run", f"event {k}", None)
        recording.writer.flush()
        if not complete:
            shutil.copytree(recording.bundle.path, path)
    if complete:
        shutil.copytree(recording.bundle.path, path)
    return Bundle(path)


def messages(bundle: Bundle) -> list[tuple[int, str, str]]:
    """Return the sealed events as (stamp, kind, message)."""
    rows = open_bundle(bundle.path).topic("_events").to_arrow().to_pylist()
    return [(row["timestamp_ns"], row["kind"], row["message"]) for row in rows]


def left(bundle: Bundle, *events: LateEvent) -> Path:
    """Leave events as a guard does that holds its lock meanwhile."""
    lock = PLATFORM.lock(bundle.journal / GUARD_LOCK)
    try:
        return leave_late_events(bundle, events, PLATFORM)
    finally:
        PLATFORM.close(lock)


@pytest.mark.parametrize("complete", [False, True])
@pytest.mark.parametrize("own", [0, 3])
def test_late_events_are_rows_behind_the_others(tmp_path: Path, own: int, complete: bool) -> None:
    """Whether or not the recording had events of its own, and whether or not its end was written."""
    bundle = dead(tmp_path / "b", own, complete=complete)
    assert left(bundle, UNSAFE, SAFE) == bundle.journal / LATE_EVENTS
    manifest = recover(bundle.path)
    assert messages(bundle) == [
        *[(10 + k, "own", f"event {k}") for k in range(own)],
        (20, "device_unsafe", UNSAFE.message),
        (21, "safe_state", SAFE.message),
    ]
    (row,) = open_bundle(bundle.path).topic("_events").to_arrow().slice(own + 1).to_pylist()
    assert (row["severity"], row["source"]) == ("info", "guard")
    assert row["data"] == '{"outcomes":[{"device":"ü"}]}'
    assert manifest["content"]["topics"]["t"]["rows"] == 50
    assert manifest["content"]["topics"]["_events"]["ledger"]["gapped"] == 0
    assert manifest["record"]["outcome"] == ("completed" if complete else "interrupted")
    assert manifest["record"]["damage"] == []
    assert verify(bundle.path, deep=True) == []
    assert not bundle.journal.exists()


def test_a_torn_last_line_is_a_note_of_damage(tmp_path: Path) -> None:
    """The whole lines count, the torn bytes are kept aside, and the seal goes on."""
    bundle = dead(tmp_path / "b", 0, complete=False)
    path = left(bundle, UNSAFE, SAFE)
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    manifest = recover(bundle.path)
    assert messages(bundle) == [(20, "device_unsafe", UNSAFE.message)]
    (damage,) = manifest["record"]["damage"]
    start = whole.index(b"\n") + 1
    assert damage == {"segment": LATE_EVENTS, "start": start, "end": len(whole) - 7, "reason": "a torn line"}
    (finding,) = verify(bundle.path, deep=True)
    assert (finding.code, finding.file) == ("V015", f"journal/{LATE_EVENTS}")
    (kept,) = (bundle.journal / "quarantine").iterdir()
    assert kept.read_bytes() == whole[start:-7]


@pytest.mark.parametrize(
    "line",
    [
        b"\x00\xff\xfe\n",
        b"[]\n",
        b"null\n",
        b'{"timestamp_ns":1}\n',
        b'{"timestamp_ns":1.5,"severity":"a","kind":"b","source":"c","message":"d"}\n',
        b'{"timestamp_ns":true,"severity":"a","kind":"b","source":"c","message":"d"}\n',
        b'{"timestamp_ns":9223372036854775808,"severity":"a","kind":"b","source":"c","message":"d"}\n',
        b'{"timestamp_ns":1,"severity":7,"kind":"b","source":"c","message":"d"}\n',
        b'{"timestamp_ns":1,"severity":"a","kind":"b","source":"c","message":"\\ud800"}\n',
        b'{"timestamp_ns":1,"severity":"a","kind":"b","source":"c","message":"d","data":NaN}\n',
        b"[" * 100_000 + b"\n",
    ],
    ids=lambda line: repr(line[:40]),
)
def test_a_line_that_is_no_event_never_stops_recovery(tmp_path: Path, line: bytes) -> None:
    """Whatever stands in the file, its good lines become rows and the bad one is told."""
    bundle = dead(tmp_path / "b", 1, complete=False)
    path = left(bundle, SAFE)
    path.write_bytes(line + path.read_bytes())
    manifest = recover(bundle.path)
    assert messages(bundle) == [(10, "own", "event 0"), (21, "safe_state", SAFE.message)]
    assert [(d["start"], d["end"]) for d in manifest["record"]["damage"]] == [(0, len(line))]


def test_recovery_waits_for_a_guard_at_work(tmp_path: Path) -> None:
    """Events that a guard leaves while recovery waits for its lock are in the sealed sequence."""
    bundle = dead(tmp_path / "b", 0, complete=False)
    lock = PLATFORM.lock(bundle.journal / GUARD_LOCK)
    waiting = threading.Event()

    class Waited(Platform):
        def is_locked(self, path: Path) -> bool:
            found = super().is_locked(path)
            if found and path.name == GUARD_LOCK:
                waiting.set()
            return found

    recovering = threading.Thread(target=recover, args=(bundle.path, Waited()), daemon=True)
    recovering.start()
    assert waiting.wait(30)
    assert leave_late_events(bundle, [SAFE], PLATFORM) == bundle.journal / LATE_EVENTS
    PLATFORM.close(lock)
    recovering.join(60)
    assert messages(bundle) == [(21, "safe_state", SAFE.message)]


def test_a_guard_that_never_ends_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recovery goes on; what the guard then reports lies in the bundle and `verify` names it."""
    monkeypatch.setattr(late_events, "_WAIT_S", 0.1)
    bundle = dead(tmp_path / "b", 0, complete=False)
    lock = PLATFORM.lock(bundle.journal / GUARD_LOCK)
    recover(bundle.path)
    assert leave_late_events(bundle, [UNSAFE], PLATFORM) == bundle.path / LATE_EVENTS
    PLATFORM.close(lock)
    assert [(f.code, f.severity, f.file) for f in verify(bundle.path)] == [("V006", "warning", LATE_EVENTS)]
    assert b"device_unsafe" in (bundle.path / LATE_EVENTS).read_bytes()


def test_a_report_behind_the_closed_door_is_kept_twice(tmp_path: Path) -> None:
    """A guard that writes after recovery has read, and before the seal, leaves its report in the bundle."""
    bundle = dead(tmp_path / "b", 0, complete=False)
    (bundle.journal / GUARD_LOCK).touch()
    late_events._close_door(bundle, PLATFORM)
    assert leave_late_events(bundle, [UNSAFE], PLATFORM) == bundle.path / LATE_EVENTS
    recover(bundle.path)
    assert (bundle.path / LATE_EVENTS).exists()


class Breaks(Platform):
    """Fails at the n-th change of the disk and at every one after it, as a killed recovery leaves it."""

    def __init__(self, after: int) -> None:
        self.left = after

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError("cut")

    def write(self, fd: int, buffers: Sequence[Bytes]) -> int:
        """Write unless the cut is reached."""
        self._count()
        return super().write(fd, buffers)

    def replace(self, source: Path, target: Path) -> None:
        """Rename unless the cut is reached."""
        self._count()
        super().replace(source, target)

    def remove(self, path: Path) -> None:
        """Delete unless the cut is reached."""
        self._count()
        super().remove(path)


def broken_off(action: Callable[[], Any]) -> bool:
    """Run an action; tell whether the disk refused it."""
    try:
        action()
    except (OSError, StorageFailed):
        return True
    return False


@pytest.mark.parametrize("complete", [False, True])
def test_a_recovery_cut_anywhere_gives_each_event_once(tmp_path: Path, complete: bool) -> None:
    """Cut after any change of the disk and done again, it seals the same content."""
    origin = dead(tmp_path / "origin", 2, complete=complete)
    left(origin, UNSAFE, SAFE)
    whole = tmp_path / "whole"
    shutil.copytree(origin.path, whole)
    expected = recover(whole)
    cuts = 0
    while True:
        path = tmp_path / f"cut-{cuts}"
        shutil.copytree(origin.path, path)
        was_cut = broken_off(lambda folder=path, after=cuts: recover(folder, Breaks(after)))  # type: ignore[misc]
        manifest = recover(path)
        assert manifest["content_digest"] == expected["content_digest"], f"cut after {cuts} changes"
        assert len(messages(Bundle(path))) == 4
        if not was_cut:
            break
        cuts += 1
    assert cuts > 5


def test_what_the_owner_lost_of_its_events_stays_a_gap(tmp_path: Path) -> None:
    """A complete journal whose frame of events is damaged: the loss is a gap, the late rows come behind it."""
    bundle = dead(tmp_path / "b", 3, complete=True)
    (segment,) = bundle.journal.glob("*.seg")
    raw = segment.read_bytes()
    at = raw.index(b"event 1")
    segment.write_bytes(raw[:at] + b"EVENT" + raw[at + 5 :])
    left(bundle, SAFE)
    manifest = recover(bundle.path)
    ledger = manifest["content"]["topics"]["_events"]["ledger"]
    assert ledger == {"produced": 4, "written": 1, "dropped": 0, "gapped": 3}
    assert messages(bundle) == [(21, "safe_state", SAFE.message)]
