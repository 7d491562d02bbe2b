"""Delivering: each run exactly once, whatever state its files and its sequence are in."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from tests.bluesky.recording.run_documents import event_document
from tests.bluesky.writer.runs import Documents, feed, run_of, values
from tests.cli.conftest import environment

from gapless.bluesky.delivery import deliver, deliver_documents
from gapless.bluesky.late_documents import Addition, find_run, known_uids
from gapless.bluesky.normalizer import RunNormalizer
from gapless.bluesky.run_writer import RunWriter
from gapless.bluesky.spool import Spool
from gapless.bluesky.writer import Writer
from gapless.client.client import connect
from gapless.errors import ImportRefused, NotFound


def write_lines(path: Path, documents: Iterable[tuple[str, Any]]) -> Path:
    """Write a file as the public writer of JSON lines does."""
    with path.open("a") as file:
        for name, doc in documents:
            json.dump({"name": name, "doc": doc}, file)
            file.write("\n")
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file but the catalog, which is a cache."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("catalog.db")
    }


def uid_of(documents: Documents) -> str:
    """Return the uid of the run."""
    return str(documents[0][1]["uid"])


def test_a_run_from_the_spool_becomes_a_sequence_once(tmp_path: Path) -> None:
    """A run from the spool becomes a sequence once."""
    documents = run_of(events=4)
    spool = Spool(tmp_path / "spool")
    spool.keep_all(uid_of(documents), documents, reason="the disk was full")
    with connect(tmp_path) as client:
        report = deliver(tmp_path, client)
        (run,) = report.runs
        assert (run.uid, run.sequence, run.result) == (uid_of(documents), uid_of(documents), "recorded")
        assert (run.documents, run.stop, report.exit_code) == (7, "delivered", 0)
        assert values(client, run.sequence) == [1.0, 2.0, 3.0, 4.0]
        assert client.sequence_handler(run.sequence).outcome == "completed"
        moved = tmp_path / "spool" / "delivered" / f"{uid_of(documents)}.jsonl"
        assert report.moved == [str(moved)]
        assert len(moved.read_text().splitlines()) == 7
        before = contents(tmp_path)
        assert deliver(tmp_path, client).runs == []
        again = deliver(moved, client, move=False)
        assert [(run.result, run.documents, run.repeated) for run in again.runs] == [("complete", 0, 7)]
        assert contents(tmp_path) == before


def test_what_a_sealed_run_misses_becomes_one_layer(tmp_path: Path) -> None:
    """What a sealed run misses becomes one layer."""
    documents = run_of(events=3)
    extra = ("event", event_document(documents[1][1], 4, {"x": 4.0}))
    with Writer(tmp_path) as writer:
        feed(writer, documents)
    path = write_lines(tmp_path / "backup.jsonl", [*documents, extra])
    with connect(tmp_path) as client:
        for expected in (("added", 1, "late-1", "store"), ("complete", 0, None, "store")):
            (run,) = deliver(path, client, move=False).runs
            assert (run.result, run.documents, run.layer, run.stop) == expected
        assert sorted(values(client, uid_of(documents))) == [1.0, 2.0, 3.0, 4.0]
        assert client.sequence_handler(uid_of(documents)).layers == ["late-1"]
        assert client.verify(uid_of(documents), deep=True) == []


_KILLED = """
import os, sys
from pathlib import Path
from gapless.bluesky.writer import Writer
from gapless.bluesky.backup_files import read_backup
writer = Writer(sys.argv[1])
for name, doc in list(read_backup(Path(sys.argv[2])))[:6]:
    writer(name, doc)
writer.flush()
os.kill(os.getpid(), 9)
"""


def test_a_killed_run_is_completed_by_a_layer_with_its_stop(tmp_path: Path) -> None:
    """A killed run is completed by a layer with its stop."""
    documents = run_of(events=10)
    path = write_lines(tmp_path / "backup.jsonl", documents)
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path), str(path)], env=environment(), timeout=100, check=False
    )
    assert killed.returncode == -9
    uid = uid_of(documents)
    with connect(tmp_path) as client:
        planned = deliver(path, client, dry_run=True)
        assert [(run.result, run.documents, run.stop) for run in planned.runs] == [("added", 7, "delivered")]
        assert client.sequence_handler(uid).state == "open"
        (run,) = deliver(path, client, move=False).runs
        assert (run.result, run.documents, run.stop) == ("added", 7, "delivered")
        assert client.sequence_handler(uid).outcome == "interrupted"
        assert sorted(values(client, uid)) == [float(n) for n in range(1, 11)]
        (again,) = deliver(path, client).runs
        assert (again.result, again.documents, again.stop) == ("complete", 0, "store")
        assert client.sequence_handler(uid).layers == ["late-1"]


def test_a_pending_sequence_is_sealed_and_completed(tmp_path: Path) -> None:
    """A pending sequence is sealed and completed."""
    documents = run_of(events=3)
    with connect(tmp_path) as client:
        run = RunWriter(client, documents[0][1])
        run(*documents[1])
        run(*documents[2])
        run.fail(RuntimeError("given up"))
        assert client.sequence_handler(uid_of(documents)).state == "pending"
        report = deliver(write_lines(tmp_path / "b.jsonl", documents), client)
        assert [run.result for run in report.runs] == ["added"]
        assert values(client, uid_of(documents)) == [1.0, 2.0, 3.0]


def test_a_run_that_is_being_recorded_is_left_alone(tmp_path: Path) -> None:
    """A run that is being recorded is left alone."""
    *documents, stop = run_of()
    with Writer(tmp_path) as writer:
        feed(writer, documents)
        writer.flush()
        path = write_lines(tmp_path / "b.jsonl", [*documents, stop])
        with connect(tmp_path) as client:
            report = deliver(path, client)
            assert [finding.code for finding in report.findings] == ["B104"]
            assert [run.result for run in report.runs] == ["open"]
        assert path.exists()


def test_lines_that_were_cut_off_are_told_and_the_rest_is_delivered(tmp_path: Path) -> None:
    """Lines that were cut off are told and the rest is delivered."""
    documents = run_of(events=4)
    lines = [json.dumps({"name": name, "doc": doc}) for name, doc in documents]
    glued = lines[2][: len(lines[2]) // 2] + lines[3]  # the writer failed in the middle, then went on
    path = tmp_path / f"{uid_of(documents)[:8]}.jsonl"
    path.write_text("\n".join([lines[0], lines[1], glued, *lines[4:6], lines[6][:20]]))
    with connect(tmp_path / "store") as client:
        report = deliver(path, client)
        assert [(finding.code, finding.line) for finding in report.findings] == [
            ("B101", 3),
            ("B101", 6),
            ("B105", None),
        ]
        assert values(client, uid_of(documents)) == [2.0, 3.0, 4.0]
        assert client.sequence_handler(uid_of(documents)).outcome == "interrupted"
        assert report.exit_code == 1
        assert not path.exists()


def test_two_runs_in_one_file_and_a_json_array(tmp_path: Path) -> None:
    """Two runs in one file and a json array."""
    one, two, three = run_of(events=2), run_of(events=2), run_of(events=2)
    folder = tmp_path / "backups"
    folder.mkdir()
    write_lines(
        folder / "12345678.jsonl", [document for pair in zip(one, two, strict=True) for document in pair]
    )
    array = ",\n".join(json.dumps({"name": name, "doc": doc}) for name, doc in three)
    (folder / "three.json").write_text(f"[\n{array}\n]")
    with connect(tmp_path / "store") as client:
        report = deliver(folder, client, move=False)
        assert report.findings == []
        assert sorted(run.uid for run in report.runs) == sorted(map(uid_of, (one, two, three)))
        for documents in (one, two, three):
            assert values(client, uid_of(documents)) == [1.0, 2.0]
        assert sorted(path.name for path in folder.iterdir()) == ["12345678.jsonl", "three.json"]


def test_a_run_spread_over_files_in_the_wrong_order(tmp_path: Path) -> None:
    """A run spread over files in the wrong order."""
    documents = run_of(events=2)
    write_lines(tmp_path / "a.jsonl", documents[2:])
    write_lines(tmp_path / "b.jsonl", documents[:2])
    with connect(tmp_path / "store") as client:
        report = deliver(tmp_path, client)
        assert report.findings == []
        assert values(client, uid_of(documents)) == [1.0, 2.0]


def test_events_behind_the_stop_become_a_layer(tmp_path: Path) -> None:
    """Events behind the stop become a layer."""
    documents = run_of(events=2)
    late = ("event", event_document(documents[1][1], 3, {"x": 3.0}))
    with connect(tmp_path / "store") as client:
        (run,) = deliver(write_lines(tmp_path / "b.jsonl", [*documents, late]), client).runs
        assert (run.result, run.documents, run.layer) == ("recorded", 6, "late-1")
        assert sorted(values(client, run.sequence)) == [1.0, 2.0, 3.0]


def test_what_makes_no_sense_is_told_by_its_line_and_its_file_stays(tmp_path: Path) -> None:
    """What makes no sense is told by its line and its file stays."""
    documents = run_of(events=2)
    odd: Documents = [
        ("event", {"descriptor": documents[1][1]["uid"], "data": {}}),
        ("event", event_document({"uid": "nowhere"}, 1, {"x": 1.0})),
    ]
    path = write_lines(tmp_path / "b.jsonl", [*documents[:3], odd[0], *documents[3:], odd[1]])
    with connect(tmp_path / "store") as client:
        report = deliver(path, client)
        assert [(finding.code, finding.line) for finding in report.findings] == [("B102", 4), ("B103", 7)]
        assert values(client, uid_of(documents)) == [1.0, 2.0]
        assert path.exists()
        before = contents(tmp_path)
        assert [run.result for run in deliver(path, client).runs] == ["complete"]
        assert contents(tmp_path) == before


def test_a_file_that_grows_meanwhile_stays(tmp_path: Path) -> None:
    """A file that grows meanwhile stays."""
    documents = run_of()
    spool = Spool(tmp_path / "spool")
    spool.keep_all(uid_of(documents), documents, reason="")
    more = ("event", event_document(documents[1][1], 9, {"x": 9.0}))
    with connect(tmp_path) as client:
        report = deliver(
            tmp_path, client, send=lambda _handler: spool.keep_all(uid_of(documents), [more], reason="")
        )
        assert report.moved == []
        assert [finding.code for finding in report.findings] == ["B104"]
        assert [run.result for run in deliver(tmp_path, client).runs] == ["added"]
        assert sorted(values(client, uid_of(documents))) == [1.0, 2.0, 3.0, 9.0]


def test_a_server_that_does_not_take_a_run_leaves_the_file(tmp_path: Path) -> None:
    """A server that does not take a run leaves the file."""
    documents = run_of()
    path = write_lines(tmp_path / "b.jsonl", documents)
    sent: list[str] = []

    def refuse(_handler: Any) -> None:
        raise ConnectionError("no server")

    with connect(tmp_path / "store") as client:
        with pytest.raises(ConnectionError):
            deliver(path, client, send=refuse)
        assert path.exists()
        deliver(path, client, send=lambda handler: sent.append(handler.name))
        assert sent == [uid_of(documents)]
        assert not path.exists()


def test_a_run_is_found_by_its_uid_under_any_name(tmp_path: Path) -> None:
    """A run is found by its uid under any name."""
    documents = run_of()
    path = write_lines(tmp_path / "b.jsonl", documents)
    with connect(tmp_path / "store") as client:
        (run,) = deliver(path, client, name="{date}-{scan_id}-{uid8}", move=False).runs
        assert run.sequence == f"20231114-1-{uid_of(documents)[:8]}"
        assert find_run(client, uid_of(documents)) == run.sequence
        assert find_run(client, "another") is None
        assert find_run(client, run.sequence.upper()) is None
        assert [run.result for run in deliver(path, client).runs] == ["complete"]
        assert client.list_sequences() == [run.sequence]


def test_a_name_in_other_letters_is_another_run(tmp_path: Path) -> None:
    """Names that differ in upper and lower case alone cannot both be there, and still are not the same."""
    with connect(tmp_path / "store") as client:
        with client.sequence_create("ABC"):
            pass
        assert find_run(client, "abc") is None


def test_legacy_documents_are_delivered_once(tmp_path: Path) -> None:
    """Legacy documents are delivered once."""
    start, descriptor, *_events, stop = run_of()
    descriptor[1]["data_keys"]["img"] = {
        "source": "S", "dtype": "array", "shape": [2, 2], "external": "FILESTORE:"
    }  # fmt: skip
    resource = {
        "uid": "r", "spec": "AD_TIFF", "root": "/data", "resource_path": "a", "resource_kwargs": {},
        "path_semantics": "posix", "run_start": start[1]["uid"],
    }  # fmt: skip
    documents: Documents = [start, descriptor, ("resource", resource)]
    for number in (1, 2):
        datum = {"datum_id": f"r/{number}", "resource": "r", "datum_kwargs": {"point_number": number - 1}}
        event = event_document(descriptor[1], number, {"x": 1.0, "img": f"r/{number}"}, filled={"img": False})
        documents += [("datum", datum), ("event", event)]
    path = write_lines(tmp_path / "b.jsonl", [*documents, stop])
    with connect(tmp_path / "store") as client:
        assert deliver(write_lines(tmp_path / "half.jsonl", documents[:5]), client).exit_code == 1
        uid = start[1]["uid"]
        assert values(client, uid, "index_start", "primary/_external") == [0]
        (run,) = deliver(path, client, move=False).runs
        assert run.result == "added"
        assert sorted(values(client, uid, "index_start", "primary/_external")) == [0, 1]
        assert values(client, uid) == [1.0, 1.0]
        (again,) = deliver(path, client, move=False).runs
        assert (again.result, again.documents) == ("complete", 0)


def test_documents_from_anywhere_are_delivered_in_the_same_way(tmp_path: Path) -> None:
    """Documents from anywhere are delivered in the same way."""
    documents = run_of()
    with connect(tmp_path) as client:
        assert [run.result for run in deliver_documents(iter(documents), client).runs] == ["recorded"]
        assert [run.result for run in deliver_documents(documents, client).runs] == ["complete"]
        handler = client.sequence_handler(uid_of(documents))
        assert known_uids(handler) == {doc["uid"] for _, doc in documents}


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    """A dry run changes nothing."""
    documents = run_of(events=5)
    path = write_lines(tmp_path / "b.jsonl", documents)
    with connect(tmp_path / "store") as client:
        report = deliver(path, client, dry_run=True)
        assert [(run.result, run.documents, run.stop) for run in report.runs] == [
            ("recorded", 8, "delivered")
        ]
        assert client.list_sequences() == []
        assert path.exists()


def test_files_that_are_no_backups_are_refused(tmp_path: Path) -> None:
    """Files that are no backups are refused."""
    (tmp_path / "table.csv").write_text("a,b\n")
    with connect(tmp_path / "store") as client:
        with pytest.raises(ImportRefused):
            deliver(tmp_path / "table.csv", client)
        with pytest.raises(NotFound):
            deliver(tmp_path / "nowhere", client)
        assert deliver(tmp_path, client).runs == []


def test_the_files_of_the_public_writers_are_taken(tmp_path: Path) -> None:
    """The files of the public writers are taken."""
    pytest.importorskip("bluesky_tiled_plugins")
    from bluesky_tiled_plugins.writing._json_writer import JSONLinesWriter, JSONWriter

    one, two = run_of(events=3), run_of(events=2)
    feed(JSONLinesWriter(str(tmp_path)), one)
    feed(JSONWriter(str(tmp_path)), two)
    with connect(tmp_path / "store") as client:
        report = deliver(tmp_path, client)
        assert report.findings == []
        assert {run.uid for run in report.runs} == {uid_of(one), uid_of(two)}
        assert sorted(path.name for path in (tmp_path / "delivered").iterdir()) == sorted(
            [f"{uid_of(one)[:8]}.jsonl", f"{uid_of(two)[:8]}.json"]
        )


def test_of_two_deliveries_the_second_file_keeps_its_own_name(tmp_path: Path) -> None:
    """Of two deliveries the second file keeps its own name."""
    documents = run_of()
    with connect(tmp_path / "store") as client:
        for _ in range(2):
            path = write_lines(tmp_path / "b.jsonl", documents)
            deliver(path, client)
    assert sorted(path.name for path in (tmp_path / "delivered").iterdir()) == ["b-2.jsonl", "b.jsonl"]


@pytest.mark.parametrize("begins", [False, True])
def test_a_file_needs_no_descriptor_that_the_store_has(tmp_path: Path, begins: bool) -> None:
    """Its name tells the run, or its first line."""
    documents = run_of(events=2)
    late = [("event", event_document(documents[1][1], n, {"x": float(n)})) for n in (3, 4)]
    with Writer(tmp_path) as writer:
        feed(writer, documents)
    Spool(tmp_path / "spool").keep_all(
        uid_of(documents), [*documents[:1], *late] if begins else late, reason="there was no room"
    )
    with connect(tmp_path) as client:
        report = deliver(tmp_path, client)
        assert report.findings == []
        assert [(run.result, run.documents) for run in report.runs] == [("added", 2)]
        assert sorted(values(client, uid_of(documents))) == [1.0, 2.0, 3.0, 4.0]


def test_a_uid_that_names_no_sequence_costs_no_other_run(tmp_path: Path) -> None:
    """Its file stays, and the others are delivered."""
    odd, documents = run_of(events=1, uid="x" * 300), run_of(events=2)
    folder = tmp_path / "backup"
    folder.mkdir()
    first = write_lines(folder / "a.jsonl", odd)
    write_lines(folder / "b.jsonl", documents)
    with connect(tmp_path / "store") as client:
        report = deliver(folder, client)
        assert values(client, uid_of(documents)) == [1.0, 2.0]
    assert {finding.code for finding in report.findings} <= {"B102", "B103"}
    assert list(folder.glob("*.jsonl")) == [first]


def test_every_file_of_a_run_that_is_being_recorded_stays(tmp_path: Path) -> None:
    """Those without its start as well; delivering again completes it."""
    documents = run_of(events=3)
    folder = tmp_path / "backup"
    folder.mkdir()
    write_lines(folder / "a.jsonl", documents[:2])
    write_lines(folder / "b.jsonl", documents[3:5])
    with connect(tmp_path / "store") as client:
        with Writer(client) as writer:
            feed(writer, documents[:3])
            writer.flush()
            report = deliver(folder, client)
            assert [run.result for run in report.runs] == ["open"]
            assert len(list(folder.glob("*.jsonl"))) == 2
        deliver(folder, client)
        assert sorted(values(client, uid_of(documents))) == [1.0, 2.0, 3.0]
    assert list(folder.glob("*.jsonl")) == []


def test_a_layer_that_was_not_sealed_leaves_its_name(tmp_path: Path) -> None:
    """The next layer of late documents has another one."""
    documents = run_of(events=1)
    with connect(tmp_path) as client:
        with Writer(client) as writer:
            feed(writer, documents)
        for number in (2, 3):
            event = event_document(documents[1][1], number, {"x": float(number)})
            addition = Addition(client, uid_of(documents), RunNormalizer, lambda *_: None)
            addition("event", event)
            addition.feed.flush()
            if number == 2:
                addition.abandon(RuntimeError("the process was killed"))
        addition.end()
        client.seal(uid_of(documents))
        assert sorted(client.sequence_handler(uid_of(documents)).layers) == ["late-1", "late-2"]
