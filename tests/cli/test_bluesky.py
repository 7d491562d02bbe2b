"""`gapless bluesky deliver` and `gapless import bluesky`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.bluesky.delivery.test_delivery import contents, uid_of, write_lines
from tests.bluesky.writer.runs import run_of, values
from tests.cli.conftest import Cli

from gapless.bluesky.spool import Spool
from gapless.client.client import connect


def test_deliver_the_spool_of_a_store_twice(cli: Cli, tmp_path: Path) -> None:
    """Deliver the spool of a store twice."""
    documents = run_of(events=4)
    connect(tmp_path / "store").close()
    Spool(tmp_path / "store" / "spool").keep_all(uid_of(documents), documents, reason="why")
    planned = cli("bluesky", "deliver", "store", "--dry-run")
    assert planned.returncode == 0
    assert "would be recorded" in planned.stdout
    first = cli("bluesky", "deliver", "store")
    assert first.returncode == 0, first.stderr
    assert f"{uid_of(documents)}: recorded; 7 documents new; stop: delivered" in first.stdout
    before = contents(tmp_path / "store")
    second = cli("bluesky", "deliver", "store")
    assert (second.returncode, second.stdout) == (0, "nothing to deliver\n")
    assert contents(tmp_path / "store") == before


def test_findings_end_with_1_and_name_the_line(cli: Cli, tmp_path: Path) -> None:
    """Findings end with 1 and name the line."""
    documents = run_of(events=2)
    path = write_lines(tmp_path / "b.jsonl", documents)
    path.write_text(path.read_text() + '{"name": "event", "doc": {"ui')
    done = cli("bluesky", "deliver", "b.jsonl", "--store", "store", "--json")
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert [(f["code"], f["line"]) for f in report["findings"]] == [("B101", 6)]
    assert [run["result"] for run in report["runs"]] == ["recorded"]


def test_import_takes_runs_and_leaves_the_file(cli: Cli, tmp_path: Path) -> None:
    """Import takes runs and leaves the file."""
    documents = run_of(events=3)
    path = write_lines(tmp_path / "b.jsonl", documents)
    for expected in ("recorded", "complete"):
        done = cli("import", "bluesky", str(path), "--store", "store", "--name", "{scan_id}-{uid8}")
        assert done.returncode == 0, done.stderr
        assert f"1-{uid_of(documents)[:8]}: {expected}" in done.stdout
    with connect(tmp_path / "store") as client:
        assert values(client, f"1-{uid_of(documents)[:8]}") == [1.0, 2.0, 3.0]
    assert path.exists()


def test_usage_and_missing_files(cli: Cli) -> None:
    """Usage and missing files."""
    assert cli("bluesky", "deliver").returncode == 2
    assert cli("bluesky", "undo", "x").returncode == 2
    assert cli("bluesky", "deliver", "nowhere").returncode == 3
    assert cli("bluesky", "deliver", "nowhere", "neither").returncode == 2
    assert cli("bluesky", "deliver", "--all").returncode == 2
    assert cli("bluesky", "deliver", "--all", "@last", "--to", "http://127.0.0.1:9").returncode == 2
    assert cli("bluesky", "deliver", "--all", "--to", "http://127.0.0.1:9").returncode == 3  # no store
    assert cli("import", "bluesky", "nowhere").returncode == 3
    assert cli("import", "one.csv", "two.csv").returncode == 2


def test_a_dry_run_tells_which_runs_would_be_sent_and_asks_nobody(cli: Cli, tmp_path: Path) -> None:
    """Nobody listens at the URL; a run is named by its uid, and a name that none has is not found."""
    documents = run_of(events=1)
    write_lines(tmp_path / "b.jsonl", documents)
    assert cli("import", "bluesky", "b.jsonl", "--store", "store", "--name", "x-{uid8}").returncode == 0
    nobody = ("--store", "store", "--to", "http://127.0.0.1:9")
    planned = cli("bluesky", "deliver", uid_of(documents)[:6], *nobody, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert f"x-{uid_of(documents)[:8]}: would be sent" in planned.stdout
    assert cli("bluesky", "deliver", uid_of(documents)[:6], *nobody).returncode == 5
    assert cli("bluesky", "deliver", uid_of(documents)[:5], *nobody).returncode == 3
    assert "--all" in cli("bluesky", "deliver", "store", "--to", "http://127.0.0.1:9", "--dry-run").stderr


def test_import_refuses_what_runs_tell_themselves(cli: Cli, tmp_path: Path) -> None:
    """Rather than pass over it."""
    path = write_lines(tmp_path / "b.jsonl", run_of(events=1))
    done = cli("import", "bluesky", str(path), "--store", "store", "--group", "g", "--tz", "UTC")
    assert done.returncode == 2
    assert "--group, --tz" in done.stderr
