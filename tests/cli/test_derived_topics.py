"""The verbs on what feature runs made of a sequence."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.store.derived_run import RUN, begin_run, record_entry, speeds

import gapless
from gapless.features.registry import FeatureRegistry

from .conftest import Cli

TOPIC = f"features/speed@{RUN}"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a store that holds the sequence `walk`, which a run gave speeds."""
    folder = tmp_path_factory.mktemp("derived")
    with gapless.connect(folder / "gapless-data") as client:
        with client.sequence_create("walk", group="field") as seq:
            seq.log("x", 1.0, unit="m", timestamp_ns=0)
        with client.sequence_create("rest", group="field") as seq:
            seq.log("x", 1.0, timestamp_ns=0)
        times = [10_000_000 * n for n in range(100)]
        record_entry(begin_run(client.path, "speed"), "walk", speeds(times, [n / 10 for n in range(100)]))
    with FeatureRegistry(folder / "gapless-data") as registry:
        registry.rebuild()
    return folder


def test_show_lists_them_apart(cli: Cli, store: Path) -> None:
    """`show` names what runs made under the topics; its numbers stay the recording's; --json has both."""
    done = cli("show", "walk", cwd=store)
    assert f"{TOPIC}  100 rows" in done.stdout
    known = json.loads(cli("show", "walk", "--json", cwd=store).stdout)
    assert (TOPIC in known["topics"], known["end_ns"]) == (False, 0)
    assert known["features"][TOPIC] | {"bytes": 0} == {
        "rows": 100,
        "start_ns": 0,
        "end_ns": 990_000_000,
        "bytes": 0,
    }
    assert "features" not in cli("show", "rest", cwd=store).stdout


def test_show_describes_one(cli: Cli, store: Path) -> None:
    """--topic shows fields, units and origin."""
    done = cli("show", "walk", "--topic", TOPIC, cwd=store)
    assert "m/s" in done.stdout
    assert RUN in done.stdout
    known = json.loads(cli("show", "walk", "--topic", TOPIC, "--json", cwd=store).stdout)
    assert (known["name"], known["rows"], known["metadata"]["feature"]) == (TOPIC, 100, "speed")
    missing = cli("show", "walk", "--topic", "features/speed@1", cwd=store)
    assert missing.returncode == 3
    assert TOPIC in missing.stderr


def test_show_draws_one_by_name(cli: Cli, store: Path) -> None:
    """--plot takes TOPIC:FIELD, a topic, or nothing; the sequence may come before it or after it."""
    title = f"walk  {TOPIC}  speed [m/s]"
    named = cli("show", "walk", "--plot", f"{TOPIC}:speed", cwd=store)
    assert (named.returncode, named.stdout.splitlines()[0]) == (0, title)
    assert cli("show", "--plot", f"{TOPIC}:speed", "walk", cwd=store).stdout == named.stdout
    apart = cli("show", "walk", "--topic", TOPIC, "--field", "speed", cwd=store)
    assert apart.stdout == named.stdout
    assert cli("show", "walk", "--plot", TOPIC, cwd=store).stdout == named.stdout
    assert cli("show", "--plot", "walk", cwd=store).stdout.startswith("walk  x  ")


def test_show_refuses_what_is_named_twice_or_not_at_all(cli: Cli, store: Path) -> None:
    """A plot named twice and a missing sequence are usage errors that say what to do."""
    twice = cli("show", "walk", "--plot", f"{TOPIC}:speed", "--field", "speed", cwd=store)
    assert (twice.returncode, "named twice" in twice.stderr) == (2, True)
    nothing = cli("show", cwd=store)
    assert (nothing.returncode, "gapless ls" in nothing.stderr) == (2, True)


def test_tree_has_them_on_request(cli: Cli, store: Path) -> None:
    """--features adds them with their fields; without it the tree is the recordings'."""
    assert "features/" not in cli("tree", "walk", cwd=store).stdout
    shown = cli("tree", "walk", "--features", cwd=store).stdout
    assert f"{TOPIC}  100 rows" in shown
    assert "speed  double [m/s]" in shown


def test_export_and_query_take_their_names(cli: Cli, store: Path, tmp_path: Path) -> None:
    """`export --topic` writes one; `query` finds its rows."""
    dry = cli("export", "walk", "x.parquet", "--topic", TOPIC, "--dry-run", "--json", cwd=store)
    assert json.loads(dry.stdout)["rows_before_window"] == 100
    target = tmp_path / "speed.parquet"
    done = cli("export", "walk", str(target), "--topic", TOPIC, cwd=store)
    assert (done.returncode, pq.read_table(target).num_rows) == (0, 100)
    assert cli("export", "walk", str(tmp_path), "--topic", "features/no@1", cwd=store).returncode == 3
    found = cli("query", f'"{TOPIC}":speed > 9.85', cwd=store)
    assert (found.returncode, "walk" in found.stdout) == (0, True)


def test_ls_counts_recordings_only(cli: Cli, store: Path) -> None:
    """Rows and topics of `ls` do not count what was derived, also after a query made it known."""
    cli("query", f'"{TOPIC}":speed > 9.85', cwd=store)
    rows = {row["name"]: row for row in json.loads(cli("ls", "--json", cwd=store).stdout)["sequences"]}
    assert rows["walk"]["rows"] == rows["rest"]["rows"] == 1
