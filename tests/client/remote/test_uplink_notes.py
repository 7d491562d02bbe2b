"""Gaps and files on a bad network: none is taken for another, and a long upload has the time that it needs."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.client.remote.write_server import NUMBERS, PATIENCE_S, uplink_threads, wait_for

import gapless
from gapless.client.remote.uplink_notes import Note, NoteSender
from gapless.errors import DeadlinePassed, NameTaken, StateError, StorageFailed, Unreachable
from gapless.serve.native.writing_sequence import IncomingSequence
from gapless.serve.server import Server
from gapless.store.frame import Kind
from gapless.testing.network import Link


def url(link: Link) -> str:
    """Return the server's address at the near end of a link."""
    return f"grpc://127.0.0.1:{link.port}"


def files(root: Path, name: str) -> dict[str, bytes]:
    """Return the artifacts of a sealed sequence."""
    with gapless.connect(root) as local:
        handler = local.sequence_handler(name)
        assert handler.outcome == "completed"
        return {artifact: handler.artifact_path(artifact).read_bytes() for artifact in handler.artifacts}


def lose_the_answer(link: Link, seq: gapless.SequenceWriter, root: Path, file: Path) -> None:
    """Add a file that arrives, on a network that goes away before the server's answer is here."""
    arrived = root / "sequences" / seq.name / "artifacts" / file.name

    def cut() -> None:
        wait_for(arrived.exists, "the file is on the server")
        link.cut()

    link.delay_s = 1.0
    cutter = threading.Thread(target=cut)
    cutter.start()
    with pytest.raises((Unreachable, DeadlinePassed)):
        seq.add_artifact(file)
    cutter.join()
    link.delay_s = 0.0
    link.mend()


def test_a_note_whose_answer_was_lost_is_not_taken_for_the_next(
    link: Link, root: Path, tmp_path: Path
) -> None:
    """The server counted it: what follows has numbers of its own, and adding it again is no error."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"1" * 1_000)
    two.write_bytes(b"2" * 1_000)
    with gapless.connect(url(link), deadline_s=4) as client, client.sequence_create("lost") as seq:
        topic = seq.topic_create("t", schema=NUMBERS)
        topic.push_row(0, 0.0, 0)
        seq.flush()
        lose_the_answer(link, seq, root, one)
        topic.gap(2, "behind the file")
        assert seq.add_artifact(two) == "two"
        assert seq.add_artifact(one) == "one"
        with pytest.raises(NameTaken):
            seq.add_artifact(one)
    assert files(root, "lost") == {"one": b"1" * 1_000, "two": b"2" * 1_000}
    with gapless.connect(root) as local:
        assert local.sequence_handler("lost").topic("t").ledger["gapped"] == 2
    assert uplink_threads() == []


def test_an_end_counts_the_note_whose_answer_was_lost(link: Link, root: Path, tmp_path: Path) -> None:
    """The sequence is sealed with it."""
    one = tmp_path / "one"
    one.write_bytes(b"1")
    with gapless.connect(url(link), deadline_s=4) as client, client.sequence_create("ended") as seq:
        lose_the_answer(link, seq, root, one)
    assert files(root, "ended") == {"one": b"1"}


def test_a_note_is_not_sent_while_it_is_not_known_what_the_server_has(
    link: Link, root: Path, tmp_path: Path
) -> None:
    """It fails, and the sequence goes on when the server answers again."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    with gapless.connect(url(link), deadline_s=3) as client, client.sequence_create("away") as seq:
        lose_the_answer(link, seq, root, one)
        link.cut()
        with pytest.raises((Unreachable, DeadlinePassed)):
            seq.add_artifact(two)
        link.mend()
        seq.add_artifact(two)
    assert files(root, "away") == {"one": b"1", "two": b"2"}


def test_a_refused_file_leaves_its_number_to_the_next(served: Server, root: Path, tmp_path: Path) -> None:
    """Nothing was noted, and nothing has to be asked."""
    one = tmp_path / "one"
    one.write_bytes(b"1")
    with gapless.connect(served.url) as client, client.sequence_create("refused") as seq:
        seq.add_artifact(one)
        with pytest.raises(NameTaken):
            seq.add_artifact(one, "ONE")
        seq.add_artifact(one, "another")
    assert files(root, "refused") == {"one": b"1", "another": b"1"}


def test_an_upload_takes_as_long_as_it_gets_on(link: Link, root: Path, tmp_path: Path) -> None:
    """Also when that is several times the deadline."""
    body = os.urandom(12 << 20)
    file = tmp_path / "long"
    file.write_bytes(body)
    with gapless.connect(url(link), deadline_s=3) as client, client.sequence_create("slow") as seq:
        link.bytes_per_s = 1_000_000
        seq.add_artifact(file)
    assert files(root, "slow") == {"long": body}


def test_an_upload_cut_late_is_tried_again(link: Link, root: Path, tmp_path: Path) -> None:
    """The time in which it got on does not count against it."""
    body = os.urandom(8 << 20)
    file = tmp_path / "long"
    file.write_bytes(body)

    def cut() -> None:
        begun = link.passed_bytes
        wait_for(lambda: link.passed_bytes - begun > 6 << 20, "most of the file has passed")
        link.cut(refuse=False)
        link.bytes_per_s = None

    with gapless.connect(url(link), deadline_s=3) as client, client.sequence_create("cut") as seq:
        link.bytes_per_s = 1_000_000
        cutter = threading.Thread(target=cut)
        cutter.start()
        seq.add_artifact(file)
        cutter.join()
    assert files(root, "cut") == {"long": body}


def test_a_call_that_gave_up_can_be_made_again(link: Link, root: Path, tmp_path: Path) -> None:
    """It waits for the same upload; another file of that name is refused."""
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_bytes(b"f" * 100_000)
    other.write_bytes(b"o")
    with gapless.connect(url(link), deadline_s=3) as client, client.sequence_create("again") as seq:
        link.hold()
        with pytest.raises(DeadlinePassed):
            seq.add_artifact(file)
        with pytest.raises(NameTaken):
            seq.add_artifact(other, "file")
        link.mend()
        assert seq.add_artifact(file) == "file"
    assert files(root, "again") == {"file": b"f" * 100_000}


def test_a_file_that_changed_behind_a_lost_answer_is_not_taken_for_the_old_one(
    link: Link, root: Path, tmp_path: Path
) -> None:
    """Its name is taken by what came before; the bytes that came are confirmed when they are there again."""
    file = tmp_path / "file"
    file.write_bytes(b"old")
    with gapless.connect(url(link), deadline_s=4) as client, client.sequence_create("changed") as seq:
        lose_the_answer(link, seq, root, file)
        file.write_bytes(b"new")
        with pytest.raises(NameTaken):
            seq.add_artifact(file)
        file.write_bytes(b"old")
        assert seq.add_artifact(file) == "file"
    assert files(root, "changed") == {"file": b"old"}


def test_a_file_that_changed_while_it_was_under_way_is_not_waited_for(
    link: Link, root: Path, tmp_path: Path
) -> None:
    """A call that gave up can be made again for the same bytes only."""
    file = tmp_path / "file"
    file.write_bytes(b"old")
    with gapless.connect(url(link), deadline_s=4) as client, client.sequence_create("moved") as seq:
        link.hold()
        with pytest.raises(DeadlinePassed):
            seq.add_artifact(file)
        file.write_bytes(b"new")
        with pytest.raises(NameTaken):
            seq.add_artifact(file)
        file.write_bytes(b"old")
        link.mend()
        assert seq.add_artifact(file) == "file"
    assert files(root, "moved") == {"file": b"old"}


def was_told(topic: gapless.TopicWriter, start_ns: int) -> bool:
    """Tell of a gap; return whether the call came back without an error."""
    try:
        topic.gap(3, "away", start_ns=start_ns)
    except (DeadlinePassed, Unreachable):
        return False
    return True


def test_a_gap_that_is_told_again_after_a_lost_answer_counts_once(
    link: Link, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server had it, or it was on its way; one of another time is another gap."""
    note = IncomingSequence.note

    def noted(sequence: IncomingSequence, *words: Any) -> int:
        found = note(sequence, *words)
        link.cut()
        return found

    with gapless.connect(url(link), deadline_s=4) as client, client.sequence_create("again") as seq:
        topic = seq.topic_create("t", schema=NUMBERS)
        topic.push_row(0, 0.0, 0)
        seq.flush()
        monkeypatch.setattr(IncomingSequence, "note", noted)
        assert not was_told(topic, 5)
        monkeypatch.setattr(IncomingSequence, "note", note)
        link.mend()
        wait_for(lambda: was_told(topic, 5), "the gap is told")
        wait_for(lambda: was_told(topic, 6), "another gap is told")
        assert topic.ledger.gapped == 6
    with gapless.connect(root) as local:
        ledger = local.sequence_handler("again").topic("t").ledger
    assert ledger == {"produced": 7, "written": 1, "dropped": 0, "gapped": 6}


def test_a_gap_that_is_on_its_way_is_waited_for_again() -> None:
    """Who gave up waiting for it, and tells it again, hears of the first time."""
    sender = NoteSender(
        "n", "u", lambda call: held.wait(PATIENCE_S), lambda connection: 0, lambda: None, lambda error: None
    )
    held = threading.Event()
    gap, other = (Note(Kind.GAP, {"topic": "t", "timestamp_ns": n, "cause": "away"}) for n in (5, 6))
    first = sender.put(gap, waited_for=True)
    sender.give_up(gap, first)
    assert sender.put(other, waited_for=True) is not first
    assert sender.put(gap, waited_for=True) is first
    assert sender.put(gap, waited_for=True) is not first
    held.set()
    sender.stop(PATIENCE_S)
    assert sender.accepted == 3


@pytest.mark.parametrize("waited_for", [False, True])
def test_a_refusal_that_nobody_waits_for_any_more_ends_the_recording(waited_for: bool) -> None:
    """Who gave a gap up and tells it again without waiting hears of its refusal by the recording's end."""
    held, failed = threading.Event(), list[BaseException]()

    def refuse(_call: object) -> bool:
        held.wait(PATIENCE_S)
        raise StateError("refused")

    sender = NoteSender("n", "u", refuse, lambda connection: 0, lambda: None, failed.append)
    gap = Note(Kind.GAP, {"topic": "t", "timestamp_ns": 5, "cause": "away"})
    first = sender.put(gap, waited_for=True)
    sender.give_up(gap, first)
    assert sender.put(gap, waited_for=waited_for) is first
    held.set()
    sender.stop(PATIENCE_S)
    assert isinstance(first.error, StateError)
    assert failed == ([] if waited_for else [first.error])


def test_a_file_that_the_spool_cannot_keep_does_not_end_the_recording(
    link: Link, root: Path, tmp_path: Path
) -> None:
    """The server has it though its answer was lost: it is there, what follows is there, each of them once."""
    file, spool = tmp_path / "file", tmp_path / "spool"
    file.write_bytes(b"f")
    arrived = root / "sequences" / "kept" / "artifacts" / "file"

    def cut() -> None:
        wait_for(arrived.exists, "the file is on the server")
        link.cut()
        file.unlink()

    with gapless.connect(url(link), spool=spool) as client:
        with client.sequence_create("kept") as seq:
            topic = seq.topic_create("t", schema=NUMBERS)
            topic.push_row(0, 0.0, 0)
            seq.flush()
            link.delay_s = 1.0
            cutter = threading.Thread(target=cut)
            cutter.start()
            with pytest.raises(StorageFailed):
                seq.add_artifact(file)
            cutter.join()
            link.delay_s = 0.0
            file.write_bytes(b"again")
            with pytest.raises(NameTaken):
                seq.add_artifact(file)
            topic.gap(3, "behind the file")
            link.mend()
        wait_for(lambda: not list((spool / "spool").iterdir()), "the spool is delivered")
    assert files(root, "kept") == {"file": b"f"}
    with gapless.connect(root) as local:
        ledger = local.sequence_handler("kept").topic("t").ledger
    assert ledger == {"produced": 4, "written": 1, "dropped": 0, "gapped": 3}


def test_a_file_that_is_gone_when_it_is_sent_again_is_named(link: Link, root: Path, tmp_path: Path) -> None:
    """A typed error; the rest of the recording goes on."""
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_bytes(b"f")
    other.write_bytes(b"o")
    with gapless.connect(url(link), deadline_s=30) as client, client.sequence_create("gone") as seq:
        link.cut()
        failed: list[BaseException] = []

        def add() -> None:
            try:
                seq._writer.add_artifact(file, None, "x/y")
            except gapless.errors.GaplessError as error:
                failed.append(error)

        adder = threading.Thread(target=add)
        adder.start()
        wait_for(lambda: "file" in seq._writer._notes._files, "it is under way")  # type: ignore[attr-defined]
        file.unlink()
        link.mend()
        adder.join()
        assert isinstance(failed[0], gapless.errors.StorageFailed)
        seq.add_artifact(other)
    assert files(root, "gone") == {"other": b"o"}


def test_notes_that_the_server_cannot_have_are_refused(served: Server, tmp_path: Path) -> None:
    """A store put back, or another writer: the count says so and nothing is taken for anything."""
    file = tmp_path / "file"
    file.write_bytes(b"f")
    with gapless.connect(served.url) as client, client.sequence_create("count") as seq:
        seq.add_artifact(file)
        notes = seq._writer._notes  # type: ignore[attr-defined]
        notes._unsure, notes.accepted = True, 3
        with pytest.raises(StateError):
            seq.add_artifact(file, "two")
        notes._unsure, notes.accepted = False, 1


def test_a_spool_begins_behind_what_the_server_has() -> None:
    """One that is made at the moment in which a note is counted waits for the count."""
    begun_with: list[int] = []

    def make() -> None:
        with sender.counting:
            begun_with.append(sender.accepted)

    def look() -> None:
        maker.start()
        maker.join(0.5)

    failed: list[BaseException] = []
    maker = threading.Thread(target=make)
    sender = NoteSender("name", "uid", lambda _call: True, lambda _connection: 0, look, failed.append)
    sender.put(Note(Kind.GAP, {}), waited_for=True).done.wait(60)
    maker.join()
    sender.stop(60)
    assert begun_with == [1]
    assert not failed
