"""The verbs on a real store: recorded once from this machine, then looked at in every way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Cli, environment
from .test_main import HEAVY, modules_after

NAME = "bench-one"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a store that holds one recording of this machine."""
    folder = tmp_path_factory.mktemp("recorded")
    command = [sys.executable, "-m", "gapless.cli.main", "record", "host", "--for", "1s", "--rate", "20"]
    done = subprocess.run(
        [*command, "--name", NAME, "--group", "bench"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "completed" in done.stdout
    return folder


def test_ls_lists_the_recording(cli: Cli, store: Path) -> None:
    """`ls` has a line per sequence; --json has the same with stable keys."""
    done = cli("ls", cwd=store)
    assert NAME in done.stdout
    assert "completed" in done.stdout
    (row,) = json.loads(cli("ls", "--json", cwd=store).stdout)["sequences"]
    assert (row["name"], row["state"], row["outcome"], row["group"]) == (NAME, "sealed", "completed", "bench")
    assert row["rows"] > 40
    assert row["bytes"] > 0


def test_ls_filters(cli: Cli, store: Path) -> None:
    """--group, --outcome, --where and --last narrow the list."""

    def names(*arguments: str) -> list[str]:
        rows = json.loads(cli("ls", "--json", *arguments, cwd=store).stdout)["sequences"]
        return [row["name"] for row in rows]

    assert names("--group", "bench") == names("--last", "1") == names("--outcome", "completed") == [NAME]
    assert names("--group", "other") == names("--outcome", "failed") == []
    assert names("--where", 'metadata.source == "host"') == [NAME]
    assert names("--where", 'metadata.source == "moon"') == []


def test_ls_of_an_empty_store_says_what_to_do(cli: Cli) -> None:
    """Where nothing was recorded yet, `ls` ends with 0 and names the first command."""
    done = cli("ls")
    assert done.returncode == 0
    assert "gapless demo" in done.stdout


def test_ls_and_show_stay_light(store: Path) -> None:
    """`ls` and `show` of a sealed sequence import no library that takes time to start."""
    for arguments in (
        ["ls"],
        ["show", "@last"],
        ["show", NAME, "--json"],
        ["show", NAME, "--topic", "host/cpu"],
    ):
        code, modules = modules_after(*arguments, cwd=str(store))
        assert code == 0
        assert modules.isdisjoint(HEAVY), (arguments, modules & set(HEAVY))


@pytest.mark.parametrize("reference", [NAME, "bench", "@last"])
def test_show_takes_references(cli: Cli, store: Path, reference: str) -> None:
    """A sequence is found by name, unique prefix and @last."""
    known = json.loads(cli("show", reference, "--json", cwd=store).stdout)
    assert known["name"] == NAME
    assert known["ledger"]["produced"] == known["ledger"]["written"] > 0
    assert {"host/cpu", "host/memory", "host/disk", "host/network"} <= set(known["topics"])
    units = {field["name"]: field.get("unit") for field in known["topics"]["host/cpu"]["fields"]}
    assert units["percent"] == "%"


def test_show_of_an_unknown_name_is_not_found(cli: Cli, store: Path) -> None:
    """A reference that finds nothing ends with 3."""
    assert cli("show", "nothing-here", cwd=store).returncode == 3
    assert cli("show", "@last-7", cwd=store).returncode == 3
    assert cli("show", NAME, "--topic", "no/such", cwd=store).returncode == 3


def test_show_plots_in_80_columns(cli: Cli, store: Path) -> None:
    """`show --plot` draws a field with its unit in at most 80 columns, in ASCII where there is no UTF-8."""
    done = cli("show", "@last", "--plot", "--topic", "host/memory", "--field", "used", cwd=store)
    assert done.returncode == 0, done.stderr
    assert "host/memory" in done.stdout
    assert "[byte]" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    plain = cli("show", "@last", "--plot", cwd=store, PYTHONIOENCODING="ascii")
    assert plain.returncode == 0, plain.stderr
    assert plain.stdout.isascii()


def test_show_plot_names_the_fields_there_are(cli: Cli, store: Path) -> None:
    """A field that does not exist ends with 3 and the names of those that do."""
    done = cli("show", "@last", "--plot", "--topic", "host/cpu", "--field", "nope", cwd=store)
    assert done.returncode == 3
    assert "percent" in done.stderr


def test_tree_shows_units(cli: Cli, store: Path) -> None:
    """`tree` goes from the store to fields with units."""
    text = cli("tree", cwd=store).stdout
    assert "bench" in text
    assert "host/memory" in text
    assert "used  int64 [byte]" in text


def test_query_prints_spans(cli: Cli, store: Path) -> None:
    """A content query answers with the spans in which it holds."""
    answer = json.loads(
        cli("query", 'metadata.source == "host" and group == "bench"', "--json", cwd=store).stdout
    )
    assert [item["sequence"] for item in answer["sequences"]] == [NAME]
    none = cli("query", 'metadata.source == "moon"', cwd=store)
    assert (none.returncode, none.stdout) == (0, "0 sequences\n")


def test_a_query_without_meaning_is_a_usage_error(cli: Cli, store: Path) -> None:
    """A text that is no expression ends with 2 and says where it went wrong."""
    done = cli("query", "metadata.a ==", cwd=store)
    assert done.returncode == 2
    assert "E106" in done.stderr


def test_verify_passes(cli: Cli, store: Path) -> None:
    """`verify` without arguments examines the whole store."""
    assert cli("verify", cwd=store).returncode == 0
    report = json.loads(cli("verify", NAME, "--deep", "--json", cwd=store).stdout)
    assert report["ok"]
    assert report["sequences"][0]["name"] == NAME


def test_check_reports_each_topic(cli: Cli, store: Path) -> None:
    """`check` has a verdict and a line per topic."""
    report = json.loads(cli("check", "@last", "--json", cwd=store).stdout)
    assert report["verdict"]
    assert "host/cpu" in json.dumps(report["topics"])
    assert "host/cpu" in cli("check", "@last", cwd=store).stdout


def test_labels_are_shown(cli: Cli, store: Path) -> None:
    """A label is put beside the sealed data, whose digest stays."""
    before = json.loads(cli("show", NAME, "--json", cwd=store).stdout)
    assert cli("label", NAME, "0.1", "0.5", "warm-up", "--author", "me", cwd=store).returncode == 0
    after = json.loads(cli("show", NAME, "--json", cwd=store).stdout)
    (note,) = after["annotations"]
    assert (note["name"], note["author"]) == ("warm-up", "me")
    assert note["start_ns"] == before["start_ns"] + 100_000_000
    assert after["content_digest"] == before["content_digest"]
    assert cli("label", NAME, "5", "1", "backwards", cwd=store).returncode == 2


def test_reindex_brings_the_list_back(cli: Cli, store: Path) -> None:
    """Without catalog.db nothing is lost."""
    before = cli("ls", "--json", cwd=store).stdout
    for file in (store / "gapless-data").glob("catalog.db*"):
        file.unlink()
    assert cli("reindex", cwd=store).returncode == 0
    assert cli("ls", "--json", cwd=store).stdout == before


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_export_and_import_agree(cli: Cli, store: Path, tmp_path: Path, form: str) -> None:
    """What is exported and imported again has the same rows, fields and units."""
    done = cli("export", NAME, str(tmp_path / "out"), "--format", form, "--topic", "host/memory", cwd=store)
    assert done.returncode == 0, done.stderr
    done = cli("import", str(tmp_path / "out"), "--name", f"again-{form}", "--store", str(tmp_path / "other"))
    assert done.returncode == 0, done.stderr + done.stdout
    first = json.loads(cli("show", NAME, "--json", cwd=store).stdout)["topics"]["host/memory"]
    topics = json.loads(cli("show", f"again-{form}", "--json", "--store", str(tmp_path / "other")).stdout)[
        "topics"
    ]
    again = topics["host/memory"]
    assert (again["rows"], again["start_ns"], again["end_ns"]) == (
        first["rows"],
        first["start_ns"],
        first["end_ns"],
    )
    assert [(f["name"], f.get("unit")) for f in again["fields"]] == [
        (f["name"], f.get("unit")) for f in first["fields"]
    ]


def test_import_says_what_it_assumed(cli: Cli, tmp_path: Path) -> None:
    """`import` prints its assumptions, reports bad rows by line and ends with 1 if there were any."""
    rows = "\n".join(f"2026-01-01T00:00:{n:02d}Z,{n}.5" for n in range(30))
    (tmp_path / "data.csv").write_text(f"time,power [W]\n{rows}\nnonsense,1\n", encoding="utf-8")
    dry = cli("import", "data.csv", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "[W]" in dry.stdout
    assert not (tmp_path / "gapless-data").exists()
    done = cli("import", "data.csv")
    assert done.returncode == 1, done.stderr
    assert "data.csv:32" in done.stdout
    assert json.loads(cli("show", "data", "--json").stdout)["ledger"]["written"] >= 30


def test_discarding_leaves_a_tombstone(cli: Cli, tmp_path: Path) -> None:
    """`discard` asks first, frees the name, and stays listed."""
    assert cli("record", "host", "--for", "300ms", "--name", "x").returncode == 0
    assert cli("discard", "x").returncode == 2
    assert "would discard" in cli("discard", "x", "--dry-run").stdout
    assert cli("discard", "x", "--yes").returncode == 0
    assert json.loads(cli("ls", "--json").stdout)["sequences"] == []
    (tombstone,) = json.loads(cli("ls", "--discarded", "--json").stdout)["discarded"]
    assert tombstone["name"] == "x"
    assert "x" in cli("ls", "--discarded").stdout
    assert cli("record", "host", "--for", "300ms", "--name", "x").returncode == 0


def test_verify_names_the_damaged_file(cli: Cli, tmp_path: Path) -> None:
    """A flipped bit ends with 4 and the name of the file."""
    assert cli("record", "host", "--for", "300ms", "--name", "x").returncode == 0
    part = next((tmp_path / "gapless-data/sequences/x/topics/host%2Fcpu").glob("*.parquet"))
    data = bytearray(part.read_bytes())
    data[len(data) // 3] ^= 0x10
    part.write_bytes(data)
    done = cli("verify", "x")
    assert done.returncode == 4
    assert part.name in done.stdout


def test_dry_runs_change_nothing(cli: Cli, store: Path) -> None:
    """--dry-run of every writing verb leaves the store as it is."""
    before = sorted(str(p) for p in (store / "gapless-data").rglob("*") if "catalog" not in p.name)
    for arguments in (
        ["record", "host"],
        ["label", NAME, "0", "1", "x"],
        ["recover"],
        ["seal", NAME],
        ["discard", NAME],
        ["reindex"],
        ["export", NAME, "nowhere"],
        ["gc"],
    ):
        done = cli(*arguments, "--dry-run", cwd=store)
        assert done.returncode == 0, (arguments, done.stderr)
    assert sorted(str(p) for p in (store / "gapless-data").rglob("*") if "catalog" not in p.name) == before


def test_colours_only_for_people(cli: Cli, store: Path) -> None:
    """Output into a pipe has no escape sequences."""
    assert "\x1b" not in cli("ls", cwd=store).stdout + cli("show", NAME, cwd=store).stdout


def test_dry_runs_speak_json(cli: Cli, store: Path, tmp_path: Path) -> None:
    """A verb that takes both --dry-run and --json prints its plan as JSON and changes nothing."""
    (tmp_path / "a.csv").write_text("t,x\n0,1.5\n1,2.5\n", encoding="utf-8")
    for arguments in (
        ["record", "host", "--for", "1s"],
        ["import", str(tmp_path / "a.csv")],
        ["export", NAME, str(tmp_path / "out")],
    ):
        done = cli(*arguments, "--dry-run", "--json", cwd=store)
        assert (done.returncode, done.stderr) == (0, "")
        known = json.loads(done.stdout)
        assert known["dry_run"] is True
        assert known["topics"]
    assert not (tmp_path / "out").exists()


def test_watching_what_is_over_says_how_it_ended(cli: Cli, store: Path) -> None:
    """A sealed sequence is told of, in text and in JSON; nothing is waited for."""
    done = cli("watch", NAME, cwd=store)
    assert (done.returncode, done.stderr) == (0, "")
    assert "sealed, completed" in done.stdout
    assert json.loads(cli("watch", NAME, "--json", cwd=store).stdout)["state"] == "sealed"


def test_a_field_implies_the_plot(cli: Cli, store: Path) -> None:
    """--field draws; a plot as JSON is refused."""
    assert "used [byte]" in cli("show", NAME, "--topic", "host/memory", "--field", "used", cwd=store).stdout
    assert cli("show", NAME, "--plot", "--json", cwd=store).returncode == 2


def test_list_and_page_agree_on_the_size(cli: Cli, store: Path) -> None:
    """`ls` and `show` count the same bytes."""
    (row,) = json.loads(cli("ls", "--json", "--where", f'name == "{NAME}"', cwd=store).stdout)["sequences"]
    assert row["bytes"] == json.loads(cli("show", NAME, "--json", cwd=store).stdout)["bytes"]


@pytest.mark.parametrize("text", ["nan", "inf", "1e400", "9" * 30, "2026-02-31T00:00:00Z", "soon"])
def test_what_is_no_instant_is_refused(cli: Cli, store: Path, text: str) -> None:
    """A label at a time that no clock shows is a usage error, not a traceback."""
    done = cli("label", NAME, text, text, "x", "--dry-run", cwd=store)
    assert (done.returncode, "no instant" in done.stderr) == (2, True), done.stderr


def test_a_label_beside_the_rows_is_told_of(cli: Cli, store: Path) -> None:
    """A span outside the recording is allowed, and said."""
    assert "outside the rows" in cli("label", NAME, "1000", "1001", "x", "--dry-run", cwd=store).stderr
    assert cli("label", NAME, "0", "0.5", "x", "--dry-run", cwd=store).stderr == ""
