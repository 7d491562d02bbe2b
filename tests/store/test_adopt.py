"""A journal that another owner goes on with becomes the bundle that one owner would have made."""

from __future__ import annotations

import errno
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.crash.small_bundle import gap_rows
from tests.store.adopting import GAPS, SMALL, Owner, content, gap, streams, whole

from gapless.errors import NotFound, SequenceOwned, SequenceSealed, StateError, StorageFailed
from gapless.store import journal
from gapless.store.adopt import Adoption
from gapless.store.frame import Frame, Kind, scan
from gapless.store.growing import growing_entry
from gapless.store.late_events import LATE_EVENTS
from gapless.store.layout import Bundle, segment_name
from gapless.store.platform import PLATFORM, Platform
from gapless.store.reader import open_bundle
from gapless.store.recover import recover, segment_paths
from gapless.store.verify import verify
from gapless.store.watermark import read_watermark
from gapless.testing.faults import Fault, FaultyPlatform
from gapless.testing.sample import MOTION


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an uninterrupted recording is sealed as."""
    return whole(tmp_path_factory.mktemp("truth") / "run")


def some(path: Path, seed: int, steps: int, platform: Platform = PLATFORM) -> Owner:
    """Begin a recording and take some steps; everything pushed is durable."""
    owner = Owner.begin(path, random.Random(seed), platform)
    for _, _ in zip(range(steps), owner.steps(), strict=False):
        pass
    owner.writer.flush()
    return owner


def go_on(path: Path, seed: int) -> dict[str, Any]:
    """Adopt, push the rest, seal; return the content."""
    owner = Owner.adopt(path, random.Random(seed))
    owner.push_all()
    return content(owner.seal())


def push_durably(owner: Owner) -> None:
    """Push everything and wait until it is durable."""
    owner.push_all()
    owner.writer.flush()


def test_the_uninterrupted_recording_does_not_depend_on_the_dice(
    tmp_path: Path, truth: dict[str, Any]
) -> None:
    """What the other tests compare with is one truth."""
    assert whole(tmp_path / "run", 7) == truth


@pytest.mark.parametrize("seed", range(12))
def test_an_adopted_recording_is_sealed_as_an_uninterrupted_one(
    tmp_path: Path, truth: dict[str, Any], seed: int
) -> None:
    """Several owners one after another, each dying at a moment of its own: same rows, gaps, ledger and digest."""
    dice = random.Random(seed)
    owner = some(tmp_path / "run", seed, dice.randint(0, 60))
    for turn in range(dice.randint(1, 4)):
        durable = owner.durable()
        owner.abandon()
        owner = Owner.adopt(tmp_path / "run", random.Random(1000 * seed + turn))
        assert all(owner.durable()[name] >= seq for name, seq in durable.items())
        for _, _ in zip(range(dice.randint(0, 60)), owner.steps(), strict=False):
            pass
    owner.push_all()
    assert content(owner.seal()) == truth
    assert verify(tmp_path / "run", deep=True) == []
    recorded = open_bundle(tmp_path / "run")
    assert recorded.outcome == "completed"
    assert sum(row["cause"].startswith("pause") for row in gap_rows(recorded)) == GAPS


def test_the_torn_bytes_are_kept_and_the_next_owner_does_not_meet_them(tmp_path: Path) -> None:
    """Bytes of the frame that the owner died in lie in quarantine; the adopted journal has no damage."""
    owner = some(tmp_path / "run", 1, 20)
    owner.abandon()
    last = segment_paths(owner.writer.bundle)[-1]
    size = last.stat().st_size
    with last.open("ab") as file:
        file.write(b"torn" * 10)
    adopted = Owner.adopt(tmp_path / "run", random.Random(2))
    kept = tmp_path / "run" / "journal" / "quarantine" / f"{last.stem}-{size}-{size + 40}.bytes"
    assert kept.read_bytes() == b"torn" * 10
    adopted.push_all()
    manifest = adopted.seal()
    assert manifest["record"]["damage"] == []
    assert manifest["record"]["outcome"] == "completed"
    assert "killed" not in {row["cause"] for row in gap_rows(open_bundle(tmp_path / "run"))}


def test_damage_in_the_middle_becomes_a_gap_and_the_rest_goes_on(tmp_path: Path) -> None:
    """A durable row that is gone is a gap row with its numbers; the rows behind keep theirs."""
    owner = some(tmp_path / "run", 1, 20)
    owner.abandon()
    path, frame = next(
        (path, item)
        for path in segment_paths(owner.writer.bundle)
        for item in scan(path, owner.writer.header["nonce"])
        if isinstance(item, Frame)
        and item.header.kind in (Kind.PACKED, Kind.ARROW)
        and item.header.topic == 16
    )
    with path.open("r+b") as file:
        file.seek(frame.payload_offset)
        file.write(bytes([file.read(1)[0] ^ 1]))
    adopted = Owner.adopt(tmp_path / "run", random.Random(2))
    assert adopted.next_seq == owner.next_seq
    adopted.push_all()
    manifest = adopted.seal()
    lost = frame.header.rows
    ledger = manifest["content"]["topics"][MOTION.name]["ledger"]
    stream = streams()[0]
    dropped = sum(stream.dropped(seq) for seq in range(stream.rows))
    assert ledger["produced"] == stream.rows + 3 * GAPS
    assert ledger["dropped"] == dropped
    assert ledger["gapped"] == lost + 3 * GAPS
    assert ledger["written"] == stream.rows - dropped - lost
    (gone,) = [row for row in gap_rows(open_bundle(tmp_path / "run")) if row["cause"] == "damaged"]
    assert (gone["first_seq"], gone["count"]) == (frame.header.first_seq, lost)
    assert [f.code for f in verify(tmp_path / "run", deep=True)] == ["V015"]


def test_what_lies_behind_a_hole_in_the_unsynced_part_is_not_believed(
    tmp_path: Path, truth: dict[str, Any]
) -> None:
    """A loss of power keeps some pages of what was never synced: the producer, who has it all, sends it again."""
    owner = Owner.begin(tmp_path / "run", random.Random(10))  # with these dice nothing is synced by itself
    for _, _ in zip(range(10), owner.steps(), strict=False):
        pass
    owner.writer.flush()
    mark = read_watermark(owner.writer.bundle.journal / "watermark")
    for _, _ in zip(range(30), owner.steps(), strict=False):
        owner.writer.flush()
    owner.abandon()
    last = segment_paths(owner.writer.bundle)[-1]
    assert mark is not None
    begin = mark.offset if last.name == segment_name(mark.segment) else 0
    frames = [
        item
        for item in scan(last, owner.writer.header["nonce"])
        if isinstance(item, Frame)
        and item.payload_offset > begin
        and item.header.topic >= 16
        and item.header.rows
    ]
    assert len(frames) > 3
    with last.open("r+b") as file:
        file.seek(frames[1].payload_offset)
        file.write(bytes(frames[1].header.length))
    (owner.writer.bundle.journal / "watermark").write_bytes(bytes(64))  # it was never synced either
    adopted = Owner.adopt(tmp_path / "run", random.Random(2))
    for stream, state in adopted.states:
        if stream.declaration.index == frames[1].header.topic:
            assert state.next_seq == frames[1].header.first_seq
    adopted.push_all()
    assert content(adopted.seal()) == truth


def test_durable_rows_cut_off_at_the_end_are_told(tmp_path: Path) -> None:
    """The watermark knew of more than there is: a gap row says so although the producer may send it again."""
    owner = some(tmp_path / "run", 1, 30)
    owner.abandon()
    last = segment_paths(owner.writer.bundle)[-1]
    with last.open("r+b") as file:
        file.truncate(last.stat().st_size - 1)
    adopted = Owner.adopt(tmp_path / "run", random.Random(2))
    adopted.abandon()
    adopted = Owner.adopt(tmp_path / "run", random.Random(3))
    adopted.push_all()
    manifest = adopted.seal()
    rows = [row for row in gap_rows(open_bundle(tmp_path / "run")) if row["cause"] == "damaged"]
    assert [(row["topic"], row["count"]) for row in rows] == [("*", None)]
    (damage,) = manifest["record"]["damage"]
    assert "bytes durable" in damage["reason"]


def test_notes_are_numbered_through_every_owner(tmp_path: Path) -> None:
    """Notes that say the same are told apart, and each is there once."""
    owner = some(tmp_path / "run", 0, 0)
    owner.writer.note(Kind.GAP, gap(GAPS - 1))
    owner.writer.note(Kind.GAP, gap(GAPS - 1))
    owner.abandon()
    adopted = Owner.adopt(tmp_path / "run", random.Random(0))
    assert adopted.writer.notes == 2
    (state,) = [state for stream, state in adopted.states if stream.declaration.name == MOTION.name]
    assert state.gapped == 6
    adopted.writer.note(Kind.GAP, gap(GAPS - 1))
    adopted.seal()
    assert len(gap_rows(open_bundle(tmp_path / "run"))) == 3


def test_files_noted_by_one_owner_are_sealed_by_the_next(tmp_path: Path) -> None:
    """An artifact elsewhere, and one whose file another program writes."""
    owner = some(tmp_path / "run", 0, 0)
    writer = owner.writer
    writer.note(
        Kind.ARTIFACT, {"name": "far", "media_type": "a/b", "uri": "s3://x", "bytes": None, "sha256": None}
    )
    (tmp_path / "run" / "artifacts").mkdir()
    (tmp_path / "run" / "artifacts" / "log").write_bytes(b"words")
    writer.note(Kind.ARTIFACT, {"name": "log", **growing_entry("text/plain", "artifacts/log")})
    owner.abandon()
    adopted = Owner.adopt(tmp_path / "run", random.Random(0))
    assert adopted.writer.notes == 2
    found = adopted.seal()["content"]["artifacts"]
    assert found["far"]["uri"] == "s3://x"
    assert (found["log"]["bytes"], "growing" in found["log"]) == (5, False)


def test_counters_go_on_where_they_were(tmp_path: Path) -> None:
    """Rows, rows given up and the ledger of an adopted topic are those of the journal."""
    owner = some(tmp_path / "run", 5, 80)
    ledgers = [owner.writer.ledger(state) for _, state in owner.states]
    durable = [state.durable_rows for _, state in owner.states]
    owner.abandon()
    adopted = Owner.adopt(tmp_path / "run", random.Random(0))
    found = [adopted.writer.ledger(state) for _, state in adopted.states]
    for (_, state), before, after in zip(owner.states, ledgers, found, strict=True):
        assert after.written == before.written
        assert after.dropped == before.dropped == state.dropped
    assert [state.durable_rows for _, state in adopted.states] == durable
    adopted.abandon()


def test_a_reader_sees_adopted_rows_at_once(tmp_path: Path) -> None:
    """What the journal held is readable while the next owner records."""
    owner = some(tmp_path / "run", 5, 40)
    written = owner.writer.ledger(owner.states[0][1]).written
    owner.abandon()
    adopted = Owner.adopt(tmp_path / "run", random.Random(0))
    assert open_bundle(tmp_path / "run").topic(MOTION.name).to_arrow().num_rows == written
    adopted.abandon()


def test_a_live_owner_keeps_its_journal(tmp_path: Path) -> None:
    """Nobody adopts what is being written, and the attempt changes nothing."""
    owner = some(tmp_path / "run", 0, 10)
    with pytest.raises(SequenceOwned):
        Adoption.take(Bundle(tmp_path / "run"))
    owner.push_all()
    owner.seal()
    with pytest.raises(SequenceSealed):
        Adoption.take(Bundle(tmp_path / "run"))
    assert not (tmp_path / "run" / "journal").exists()


def _closed(owner: Owner) -> None:
    owner.writer.close({"outcome": "completed", "cause": None})
    owner.writer.release()


def _pending(owner: Owner) -> None:
    owner.abandon()
    journal.write_pending(owner.writer.bundle, {"error": "x", "notifications": []}, PLATFORM)


def _guarded(owner: Owner) -> None:
    owner.abandon()
    (owner.writer.bundle.journal / LATE_EVENTS).write_bytes(b"")


@pytest.mark.parametrize("end", [_closed, _pending, _guarded])
def test_a_recording_whose_end_is_decided_is_not_adopted(
    tmp_path: Path, end: Callable[[Owner], None]
) -> None:
    """Ended, pending or watched by a guard: StateError, the lock is free again and no byte has changed."""
    owner = some(tmp_path / "run", 0, 10)
    end(owner)
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with pytest.raises(StateError):
        Adoption.take(Bundle(tmp_path / "run"))
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before
    recover(tmp_path / "run")


def test_there_must_be_a_journal(tmp_path: Path) -> None:
    """An empty folder, or none, is not adopted."""
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(NotFound):
            Adoption.take(Bundle(path))


class _Rebooted(Platform):
    """The machine after a boot: another boot id, a clock that began anew."""

    def boot_id(self) -> str:
        """Return another id."""
        return "another"

    def boot_ns(self) -> int:
        """Return what is left of the clock when it began a moment ago."""
        return super().boot_ns() // 1_000_000


@pytest.mark.parametrize("platform", [PLATFORM, _Rebooted()])
def test_the_clock_goes_on_after_a_reboot(tmp_path: Path, truth: dict[str, Any], platform: Platform) -> None:
    """The sequence's clock is never before its last sync, and the rows are the same."""
    owner = some(tmp_path / "run", 0, 30)
    now_ns = owner.writer.now_ns()
    owner.abandon()
    adopted = Owner.adopt(tmp_path / "run", random.Random(1), platform)
    assert 0 <= adopted.writer.now_ns() - now_ns < 60_000_000_000
    adopted.push_all()
    assert content(adopted.seal()) == truth


def test_a_failed_recording_goes_on_when_the_disk_is_well(tmp_path: Path, truth: dict[str, Any]) -> None:
    """A sync that failed once: the next owner copies what it trusts, and the failure's last words are gone."""
    platform = FaultyPlatform()
    owner = some(tmp_path / "run", 1, 20, platform)
    platform.plan(Fault("data_sync", once=True))
    with pytest.raises(StorageFailed):
        push_durably(owner)
    owner.writer.release()
    assert journal.read_closing(owner.writer.bundle) is not None
    last = segment_paths(owner.writer.bundle)[-1]
    inode = last.stat().st_ino
    adopted = Owner.adopt(tmp_path / "run", random.Random(1))
    assert not last.exists() or last.stat().st_ino != inode
    assert journal.read_closing(adopted.writer.bundle) is None
    adopted.push_all()
    assert content(adopted.seal()) == truth


def test_a_disk_that_refuses_leaves_the_journal_adoptable(tmp_path: Path, truth: dict[str, Any]) -> None:
    """StorageFailed names the disk; the lock is free and the next attempt succeeds."""
    some(tmp_path / "run", 1, 20).abandon()
    platform = FaultyPlatform()
    platform.plan(Fault("data_sync"))
    with pytest.raises(StorageFailed):
        Adoption.take(Bundle(tmp_path / "run"), platform)
    assert go_on(tmp_path / "run", 4) == truth


class _NoManifest(Platform):
    """A disk that takes everything but the last file of a seal."""

    def write_atomically(self, path: Path, data: bytes) -> None:
        """Refuse the manifest."""
        if path.name == "manifest.json":
            raise OSError(errno.ENOSPC, "no space")
        super().write_atomically(path, data)


def test_what_a_recovery_began_is_gone_on_with(tmp_path: Path, truth: dict[str, Any]) -> None:
    """A recovery that died before its commit has finished parts early: same rows and gaps, in other parts."""
    owner = some(tmp_path / "run", 1, 40)
    owner.writer._fail(StorageFailed("the disk went away"))
    owner.writer.release()
    with pytest.raises(StorageFailed):
        recover(tmp_path / "run", _NoManifest(), cuts=SMALL)
    found = go_on(tmp_path / "run", 2)["content"]
    for stream in streams():
        name = stream.declaration.name
        for key in ("rows", "ledger", "start_ns", "end_ns"):
            assert found["topics"][name][key] == truth["content"]["topics"][name][key]
    assert found["topics"]["_events"]["rows"] == 1, "the failure that the recovery told of"
    assert (
        open_bundle(tmp_path / "run").topic(MOTION.name).to_arrow().num_rows
        == found["topics"][MOTION.name]["rows"]
    )


def test_a_torn_second_copy_of_a_declaration_costs_no_other(tmp_path: Path) -> None:
    """A line of topics.jsonl that a kill has torn ends before the next one."""
    owner = some(tmp_path / "run", 1, 5)
    owner.abandon()
    copies = owner.writer.bundle.journal / "topics.jsonl"
    with copies.open("ab") as file:
        file.write(b"0000 {")
    adopted = Owner.adopt(tmp_path / "run", random.Random(1))
    known = len(journal.read_topics(adopted.writer.bundle))
    journal.append_topic(adopted.writer.bundle, streams()[0].declaration.to_json(), PLATFORM)
    assert len(journal.read_topics(adopted.writer.bundle)) == known + 1
    adopted.abandon()


def test_an_adopted_recording_that_dies_is_recovered(tmp_path: Path) -> None:
    """Recovery seals what both owners wrote, as interrupted."""
    some(tmp_path / "run", 1, 30).abandon()
    adopted = Owner.adopt(tmp_path / "run", random.Random(1))
    for _, _ in zip(range(30), adopted.steps(), strict=False):
        pass
    adopted.writer.flush()
    arrived = adopted.durable()
    adopted.abandon()
    manifest = recover(tmp_path / "run")
    assert manifest["record"]["outcome"] == "interrupted"
    for stream in streams():
        entry = manifest["content"]["topics"][stream.declaration.name]
        ledger = entry["ledger"]
        assert entry["rows"] + ledger["dropped"] == arrived[stream.declaration.name]
    assert json.loads((tmp_path / "run" / "manifest.json").read_bytes()) == manifest
