"""The commands that bring runs to a server's store."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from tests.bluesky.network.served_store import ServedStore
from tests.bluesky.recording.run_documents import event_document
from tests.bluesky.writer.runs import Documents, feed, run_of, values
from tests.cli.conftest import Cli
from tests.cli.conftest import cli as cli  # noqa: PLC0414 - a fixture

import gapless
from gapless.bluesky import Writer
from gapless.bluesky.delivery_warning import DeliveryWarning
from gapless.bluesky.late_documents import Addition
from gapless.bluesky.lossless import dumps
from gapless.bluesky.normalizer import RunNormalizer
from gapless.bluesky.spool import Spool
from gapless.client.remote.spool import SpoolStore
from gapless.client.remote.spool_warning import SpoolWarning


def test_deliver_brings_spooled_runs_and_documents(cli: Cli, served: ServedStore, here: Path) -> None:
    """Deliver brings spooled runs, then documents in files, and a second time there is nothing to do."""
    spooled, kept = run_of(5), run_of(3)
    writer = Writer(served.url)
    feed(writer, spooled)
    writer.flush(60)
    with pytest.warns(DeliveryWarning):
        writer.close(60)
    Spool(here / "spool").keep_all(kept[0][1]["uid"], kept, reason="why")
    away = cli("bluesky", "deliver", str(here), "--to", served.url)
    assert away.returncode == 5, away.stderr
    served.start()
    dry = cli("bluesky", "deliver", str(here), "--to", served.url, "--dry-run")
    assert "would be sent" in dry.stdout
    assert "would be recorded" in dry.stdout
    done = cli("bluesky", "deliver", str(here), "--to", served.url, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [(run["uid"], run["result"], run["stop"]) for run in told["runs"]] == [
        (spooled[0][1]["uid"], "sent", "delivered"),
        (kept[0][1]["uid"], "recorded", "delivered"),
    ]
    with gapless.connect(served.url) as client:
        assert values(client, spooled[0][1]["uid"]) == [1.0, 2.0, 3.0, 4.0, 5.0]
        assert values(client, kept[0][1]["uid"]) == [1.0, 2.0, 3.0]
    again = cli("bluesky", "deliver", str(here / "spool"), "--to", served.url)
    assert (again.returncode, again.stdout) == (0, "nothing to deliver\n")


def test_what_was_recorded_for_another_server_stays(cli: Cli, served: ServedStore, here: Path) -> None:
    """What was recorded for another server stays, and is a finding that names the way."""
    writer = Writer("grpc://127.0.0.1:9")
    feed(writer, run_of(5))
    writer.flush(60)
    with pytest.warns(DeliveryWarning):
        writer.close(60)
    served.start()
    done = cli("bluesky", "deliver", str(here), "--to", served.url)
    assert done.returncode == 1, done.stderr
    assert "B106" in done.stdout
    assert "gapless deliver --spool" in done.stdout
    with gapless.connect(served.url) as client:
        assert client.list_sequences() == []


def spool_run(url: str, run: Documents) -> str:
    """Record a run while its server is away; return its uid."""
    writer = Writer(url)
    feed(writer, run)
    writer.flush(60)
    with pytest.warns(DeliveryWarning):
        writer.close(60)
    return str(run[0][1]["uid"])


def test_a_dry_run_tells_what_the_run_does(cli: Cli, served: ServedStore, here: Path) -> None:
    """Names that are taken, other servers, runs that wait with documents behind them, and runs without a stop."""
    taken, whole, unended = run_of(2), run_of(3), run_of(4)[:-1]
    spool_run(served.url, taken)
    spool_run(served.url, whole)
    spool_run("grpc://127.0.0.1:9", run_of(5))
    late = ("event", event_document(whole[1][1], 4, {"x": 4.0}))
    Spool(here / "spool").keep_all(whole[0][1]["uid"], [*whole[-2:], late], reason="why")
    Spool(here / "spool").keep_all(unended[0][1]["uid"], unended, reason="why")
    served.start()
    with gapless.connect(served.url) as client, client.sequence_create(taken[0][1]["uid"]) as seq:
        seq.log("x", 1.0)
    told = []
    for words in (["--dry-run"], []):
        done = cli("bluesky", "deliver", str(here), "--to", served.url, "--json", *words)
        assert done.returncode == 1, done.stderr
        found = json.loads(done.stdout)
        runs = [{key: value for key, value in run.items() if key != "layer"} for run in found["runs"]]
        told.append((runs, sorted(finding["code"] for finding in found["findings"])))
    foretold, done_then = told
    assert foretold == done_then
    assert sorted((run["uid"], run["result"], run["documents"]) for run in foretold[0]) == sorted(
        [
            (whole[0][1]["uid"], "sent", 0),
            (whole[0][1]["uid"], "added", 1),
            (unended[0][1]["uid"], "recorded", 6),
        ]
    )
    assert foretold[1] == ["B105", "B106", "B106"]


def told_twice(cli: Cli, served: ServedStore, here: Path, code: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Deliver dry, then in truth; return what each said, in JSON."""
    told = []
    for words in (["--dry-run"], []):
        done = cli("bluesky", "deliver", str(here), "--to", served.url, "--json", *words)
        assert done.returncode == code, done.stderr
        told.append(json.loads(done.stdout))
    return told[0], told[1]


def spool_sequence(url: str, here: Path, name: str, *, discarded: bool = False) -> None:
    """Record a sequence while its server is away; one that is ``discarded`` ends by an error."""
    client = gapless.connect(url, spool=here, deadline_s=3)
    ended: AbstractContextManager[Any] = pytest.raises(InterruptedError) if discarded else nullcontext()
    with ended, client.sequence_create(name) as sequence:
        sequence.log("x", 1.0)
        if discarded:
            raise InterruptedError
    with pytest.warns(SpoolWarning):
        client.close()


def test_a_discarded_run_is_delivered_as_such(cli: Cli, served: ServedStore, here: Path) -> None:
    """It is in the server's trash afterwards, and those behind it come."""
    spool_sequence(served.url, here, "a-failed", discarded=True)
    kept = run_of(3)
    spool_run(served.url, kept)
    served.start()
    for said in told_twice(cli, served, here, 0):
        assert sorted((run["sequence"], run["result"]) for run in said["runs"]) == sorted(
            [("a-failed", "discarded"), (kept[0][1]["uid"], "sent")]
        )
    with gapless.connect(served.url) as client:
        assert client.list_sequences() == [kept[0][1]["uid"]]
        assert [stone["name"] for stone in client.list_discarded()] == ["a-failed"]


def test_a_run_that_cannot_be_read_hinders_no_other(cli: Cli, served: ServedStore, here: Path) -> None:
    """It is a finding, in a dry run too, and stays; the others are delivered."""
    spool_sequence(served.url, here, "a-damaged")
    spool_sequence(served.url, here, "whole")
    journal = SpoolStore(here).bundle("a-damaged").journal
    for path in (journal / "open.json", *journal.glob("*.seg")):
        path.write_bytes(bytes(200) + path.read_bytes()[200:])
    served.start()
    for said in told_twice(cli, served, here, 1):
        assert [(run["sequence"], run["result"]) for run in said["runs"]] == [("whole", "sent")]
        assert [finding["code"] for finding in said["findings"]] == ["B106"]
        assert "a-damaged" in said["findings"][0]["message"]
    with gapless.connect(served.url) as client:
        assert client.list_sequences() == ["whole"]
    assert journal.exists()


def test_a_name_that_differs_in_case_only_is_taken(cli: Cli, served: ServedStore, here: Path) -> None:
    """A dry run says so as the run does."""
    spool_sequence(served.url, here, "night")
    served.start()
    with gapless.connect(served.url) as client, client.sequence_create("Night") as sequence:
        sequence.log("x", 1.0)
    for said in told_twice(cli, served, here, 1):
        assert said["runs"] == []
        (finding,) = said["findings"]
        assert "a sequence of that name exists" in finding["message"]


def test_a_dry_run_knows_every_layer_that_waits(cli: Cli, served: ServedStore, here: Path) -> None:
    """Two layers of one run wait, each with an event that a file has as well: nothing of the file is new."""
    served.start()
    run = run_of(2)
    uid, descriptor = run[0][1]["uid"], run[1][1]
    with Writer(served.url) as writer:
        feed(writer, run)
    events = [("event", event_document(descriptor, n, {"x": float(n)})) for n in (3, 4, 5, 6)]
    client = gapless.connect(served.url, spool=here, deadline_s=3)
    layers = []
    for event in events[:2]:
        layers.append(Addition(client, uid, RunNormalizer, refuse))
        layers[-1](*event)
        layers[-1].feed.flush()
    served.kill()
    for layer, event in zip(layers, events[2:], strict=True):
        layer(*event)
        assert layer.end().added == 2
    with pytest.warns(SpoolWarning):
        client.close()
    assert len(SpoolStore(here).names()) == 2
    Spool(here / "spool").keep_all(uid, events[2:], reason="why")
    served.start()
    for said in told_twice(cli, served, here, 0):
        found = [(each["result"], each["documents"], each["repeated"]) for each in said["runs"]]
        assert found == [("sent", 0, 0), ("sent", 0, 0), ("complete", 0, 2)]


def refuse(*told: object) -> None:
    """Fail: no document is to be refused."""
    raise AssertionError(told)


def test_import_into_a_servers_store(cli: Cli, served: ServedStore, tmp_path: Path) -> None:
    """Runs of a file become sequences of the server's store, once."""
    served.start()
    run = run_of(4)
    (tmp_path / "runs.jsonl").write_bytes(b"".join(dumps(name, doc) for name, doc in run))
    for expected in ("recorded", "complete"):
        done = cli("import", "bluesky", str(tmp_path / "runs.jsonl"), "--store", served.url)
        assert done.returncode == 0, done.stderr
        assert f": {expected}" in done.stdout
    with gapless.connect(served.url) as client:
        assert values(client, run[0][1]["uid"]) == [1.0, 2.0, 3.0, 4.0]


def test_what_cannot_be_asked_of_a_server(cli: Cli, served: ServedStore, here: Path) -> None:
    """Sealed runs are not copied, and a Tiled server is fed from a folder: the refusal names the way."""
    Spool(here / "spool").keep_all("u", run_of(1), reason="why")
    copying = cli("bluesky", "deliver", "@last", "--to", served.url)
    assert copying.returncode == 2, copying.stderr
    assert "gapless serve FOLDER" in copying.stderr
    both = cli("bluesky", "deliver", str(here), "--to", served.url, "--store", str(here))
    assert both.returncode == 2
    handing = cli("bluesky", "deliver", str(here), "--to", "http://127.0.0.1:9", "--store", served.url)
    assert handing.returncode == 2
    assert "--store FOLDER" in handing.stderr
