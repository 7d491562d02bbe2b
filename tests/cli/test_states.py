"""What the verbs say of sequences that are not simply sealed and whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

import gapless

from .conftest import Cli, environment

SCHEMA = pa.schema([pa.field("timestamp_ns", pa.int64(), nullable=False), pa.field("x", pa.float64())])


def fail(root: Path) -> None:
    """Leave a pending sequence of three rows in a store."""
    with gapless.connect(root) as client, pytest.raises(RuntimeError, match="burner"):
        record_until_failure(client)


def record_until_failure(client: gapless.Client) -> None:
    """Record three rows, then fail."""
    with client.sequence_create("p", on_error=gapless.OnErrorPolicy.Report) as sequence:
        topic = sequence.topic_create("a", schema=SCHEMA)
        for n in range(3):
            topic.push_row(n, float(n))
        raise RuntimeError("burner out")


def test_a_pending_sequence_is_shown_with_its_error(cli: Cli, tmp_path: Path) -> None:
    """`show` of a pending sequence has its rows, its error and the two ways on."""
    fail(tmp_path / "gapless-data")
    known = json.loads(cli("show", "p", "--json").stdout)
    assert (known["state"], known["topics"]["a"]["rows"]) == ("pending", 3)
    text = cli("show", "p").stdout
    assert "burner out" in text
    assert "gapless seal p" in text
    assert "gapless discard p" in text


def test_sealing_keeps_a_failure_a_failure(cli: Cli, tmp_path: Path) -> None:
    """`seal` makes a pending sequence immutable, and its outcome stays failed."""
    fail(tmp_path / "gapless-data")
    assert "would seal p" in cli("seal", "p", "--dry-run").stdout
    done = cli("seal", "p")
    assert done.returncode == 0, done.stderr
    assert "sealed, failed" in done.stdout
    assert cli("ls", "--outcome", "completed", "--json").stdout.count('"name"') == 0
    assert cli("verify", "p", "--deep").returncode == 0
    assert "already" in cli("seal", "p").stdout


def test_recovering_leaves_what_was_kept_on_purpose(cli: Cli, tmp_path: Path) -> None:
    """`recover` does not end a pending sequence."""
    fail(tmp_path / "gapless-data")
    assert "nothing to recover" in cli("recover").stdout
    assert cli("recover", "p").returncode == 1


def test_layers_are_shown(cli: Cli, tmp_path: Path) -> None:
    """Rows of a layer count, and the layer is named."""
    with gapless.connect(tmp_path / "gapless-data") as client:
        with client.sequence_create("s") as sequence:
            sequence.topic_create("a", schema=SCHEMA).push_row(1, 1.0)
        with client.sequence_update("s", "later") as layer:
            layer.topic_create("a", schema=SCHEMA).push_row(2, 2.0)
    known = json.loads(cli("show", "s", "--json").stdout)
    assert [entry["name"] for entry in known["layers"]] == ["later"]
    assert (known["topics"]["a"]["rows"], known["topics"]["a"]["end_ns"]) == (2, 2)
    assert "later" in cli("show", "s").stdout


def test_a_damaged_manifest_is_told_everywhere(cli: Cli, tmp_path: Path) -> None:
    """A sequence whose manifest cannot be read is listed as damaged, and the others stay usable."""
    with gapless.connect(tmp_path / "gapless-data") as client:
        for name in ("good", "broken"):
            with client.sequence_create(name) as sequence:
                sequence.topic_create("a", schema=SCHEMA).push_row(10**18, 1.0)
    manifest = tmp_path / "gapless-data/sequences/broken/manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:100])
    assert "damaged" in cli("ls").stdout
    assert "1970" not in cli("ls").stdout
    rows = {row["name"]: row for row in json.loads(cli("ls", "--json").stdout)["sequences"]}
    assert rows["broken"]["started"] is None
    assert "damaged" in cli("tree").stdout
    assert cli("show", "broken").returncode == 4
    assert cli("show", "good").returncode == 0
    done = cli("verify")
    assert done.returncode == 4
    assert "V001" in done.stdout
    assert "good: ok" in done.stdout


def test_a_store_out_of_reach_ends_with_5(cli: Cli, tmp_path: Path) -> None:
    """A store that cannot be made ends with 5 and no traceback."""
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    done = cli("record", "host", "--for", "1s", "--store", str(tmp_path / "file" / "store"))
    assert done.returncode == 5
    assert "Traceback" not in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    """Closing the pipe early (`gapless explain | head`) prints no complaint."""
    command = [sys.executable, "-m", "gapless.cli.main", "explain", "--json"]
    with subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        complaint = process.stderr.read()
    assert complaint == b""


def test_names_that_the_encoding_lacks_are_escaped(cli: Cli, tmp_path: Path) -> None:
    """A name with any characters is listed also where the terminal knows only ASCII."""
    client = gapless.connect(tmp_path / "gapless-data")
    with client, client.sequence_create("прогон 1", metadata={"ключ": "значение"}) as sequence:
        sequence.topic_create("датчик/a", schema=SCHEMA).push_row(1, 1.0)
    assert "прогон 1" in cli("ls").stdout
    for arguments in (["ls"], ["show", "@last"], ["tree"], ["ls", "--json"], ["show", "@last", "--json"]):
        done = cli(*arguments, PYTHONIOENCODING="ascii")
        assert done.returncode == 0, done.stderr
        assert done.stdout.isascii()


def test_rows_of_an_unsealed_sequence_are_unknown_to_the_list_and_counted_before_they_go(
    cli: Cli, tmp_path: Path
) -> None:
    """The list does not say 0 for what it did not count; `discard` says what would go."""
    fail(tmp_path / "gapless-data")
    (row,) = json.loads(cli("ls", "--json").stdout)["sequences"]
    assert (row["state"], row["rows"], row["bytes"]) == ("pending", None, None)
    assert "(pending, 3 rows)" in cli("discard", row["name"], "--dry-run").stdout


def test_a_dead_owner_is_no_damage(cli: Cli, tmp_path: Path) -> None:
    """`verify` of what was never sealed warns; DAMAGED is a word for wrong bytes."""
    code = (
        "import os, signal, gapless\n"
        "seq = gapless.connect('gapless-data').sequence_create('x').__enter__()\n"
        "seq.log('a', 1.0)\nseq.flush()\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment(), timeout=60, check=False)
    done = cli("verify", "x")
    assert done.returncode == 1
    assert "V014" in done.stdout
    assert "DAMAGED" not in done.stdout
    assert cli("ls").stdout.splitlines()[1].split()[-3:] == ["-", "-", "-"]


def test_lists_in_metadata_are_shown_as_json(cli: Cli, tmp_path: Path) -> None:
    """A list is read as JSON; one that would fill the page is cut."""
    metadata = {"tags": ["a", "b"], "long": ["x" * 40] * 10}
    client = gapless.connect(tmp_path / "gapless-data")
    with client, client.sequence_create("listed", metadata=metadata) as sequence:
        sequence.log("a", 1.0)
    text = cli("show", "listed").stdout
    assert 'tags  ["a", "b"]' in text
    assert "--json shows all" in text
    assert text.count("x" * 40) < 10


def killed(folder: Path, *names: str) -> None:
    """Leave open sequences of one row whose recorder was killed."""
    code = (
        "import os, signal, sys, gapless\n"
        "client = gapless.connect('gapless-data')\n"
        "held = [client.sequence_create(name).__enter__() for name in sys.argv[1:]]\n"
        "for seq in held:\n    seq.log('a', 1.0)\n    seq.flush()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, *names], cwd=folder, env=environment(), timeout=60, check=False
    )


def test_one_that_cannot_be_recovered_does_not_stop_the_others(cli: Cli, tmp_path: Path) -> None:
    """`recover` goes on, reports each, and ends with the worst code."""
    killed(tmp_path, "a", "b", "c")
    for path in (tmp_path / "gapless-data/sequences/b/journal").glob("*.*"):
        path.write_bytes(b"x" * 100)
    done = cli("recover", "--all")
    assert done.returncode == 4, done.stderr
    assert "error: b: " in done.stderr
    assert "Traceback" not in done.stderr
    assert "a: sealed, interrupted" in done.stdout
    assert "c: sealed, interrupted" in done.stdout


def add_until_failure(client: gapless.Client) -> None:
    """Add a layer of one row to a sequence, then fail."""
    with client.sequence_update("s", "later", on_error=gapless.OnErrorPolicy.Report) as layer:
        layer.topic_create("a", schema=SCHEMA).push_row(2, 2.0)
        raise RuntimeError("burner out")


def test_a_pending_layer_is_shown_and_sealed(cli: Cli, tmp_path: Path) -> None:
    """`ls` and `show` name it with the next step, `recover` leaves it, `seal` takes it."""
    with gapless.connect(tmp_path / "gapless-data") as client:
        with client.sequence_create("s") as sequence:
            sequence.topic_create("a", schema=SCHEMA).push_row(1, 1.0)
        with pytest.raises(RuntimeError, match="burner"):
            add_until_failure(client)
    assert "sealed, layer pending" in cli("ls").stdout
    (known,) = json.loads(cli("show", "s", "--json").stdout)["layers"]
    assert (known["name"], known["state"], known["content_digest"]) == ("later", "pending", None)
    assert "pending: gapless seal s" in cli("show", "s").stdout
    assert "nothing to recover" in cli("recover", "--all").stdout
    assert "would seal s" in cli("seal", "s", "--dry-run").stdout
    assert cli("seal", "s").returncode == 0
    (known,) = json.loads(cli("show", "s", "--json").stdout)["layers"]
    assert known["state"] == "sealed"
    assert cli("verify", "s", "--deep").returncode == 0


def test_a_layer_without_owner_is_shown_and_recovered(cli: Cli, tmp_path: Path) -> None:
    """`recover --all` seals the layer that a killed process left on a sealed sequence."""
    with gapless.connect(tmp_path / "gapless-data") as client, client.sequence_create("s") as sequence:
        sequence.topic_create("a", schema=SCHEMA).push_row(1, 1.0)
    code = (
        "import os, signal, gapless\n"
        "layer = gapless.connect('gapless-data').sequence_update('s', 'later').__enter__()\n"
        "layer.log('b', 1.0)\nlayer.flush()\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment(), timeout=60, check=False)
    assert "layer open, owner gone" in cli("ls").stdout
    assert "owner gone: gapless recover s" in cli("show", "s").stdout
    assert "would recover s" in cli("recover", "--all", "--dry-run").stdout
    assert cli("recover", "--all").returncode == 0
    known = json.loads(cli("show", "s", "--json").stdout)
    assert known["layers"][0]["state"] == "sealed"
    assert known["topics"]["b"]["rows"] == 1


def test_verify_tells_warnings_from_damage(cli: Cli, tmp_path: Path) -> None:
    """A file too many ends with 1, a wrong byte with 4."""
    with gapless.connect(tmp_path / "gapless-data") as client, client.sequence_create("s") as sequence:
        sequence.topic_create("a", schema=SCHEMA).push_row(1, 1.0)
    bundle = tmp_path / "gapless-data/sequences/s"
    (bundle / "extra").write_bytes(b"x")
    done = cli("verify", "s")
    assert (done.returncode, "V006" in done.stdout, "DAMAGED" in done.stdout) == (1, True, False)
    (bundle / "provenance.json").write_bytes(b"x")
    done = cli("verify", "s")
    assert (done.returncode, "DAMAGED" in done.stdout) == (4, True)


def test_a_beginning_of_several_names_is_a_usage_error(cli: Cli, tmp_path: Path) -> None:
    """The candidates are named and the exit code is 2."""
    with gapless.connect(tmp_path / "gapless-data") as client:
        for name in ("run_1", "run_2"):
            with client.sequence_create(name):
                pass
    done = cli("show", "run_")
    assert (done.returncode, "run_1, run_2" in done.stderr) == (2, True)


def test_a_catalog_that_cannot_be_written_is_not_rebuilt(cli: Cli, tmp_path: Path) -> None:
    """`reindex` says so with a typed error; `ls` still lists."""
    fail(tmp_path / "gapless-data")
    for path in (tmp_path / "gapless-data").glob("catalog.db*"):
        path.unlink()
    (tmp_path / "gapless-data/catalog.db").mkdir()
    done = cli("reindex")
    assert (done.returncode, "cannot be written" in done.stderr) == (1, True)
    assert "Traceback" not in done.stderr
    assert "pending" in cli("ls").stdout
