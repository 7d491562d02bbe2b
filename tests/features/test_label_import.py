"""Labels from files: all or nothing, each told by its line, nothing twice."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.cli.conftest import environment
from tests.features.training.track_store import START_NS, STEP_NS, record

import gapless
from gapless.client.client import Client
from gapless.errors import GaplessError, ImportRefused, NotFound
from gapless.features.label_import import plan_label_import
from gapless.features.labels import read_labels


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """Give a store of two sequences."""
    with gapless.connect(str(tmp_path / "store")) as found:
        record(found, "a")
        record(found, "b")
        yield found


def spans(client: Client, sequence: str, kind: str = "label") -> list[tuple[float, float, str]]:
    """Return the labels of a sequence with times in rows since its first one."""
    return [
        ((span.start_ns - START_NS) / STEP_NS, (span.end_ns - START_NS) / STEP_NS, span.name)
        for span in read_labels(client, sequence, kind).spans
    ]


def write(path: Path, text: str) -> Path:
    """Write a file and return it."""
    path.write_text(text, encoding="utf-8")
    return path


def test_a_csv_takes_every_way_of_writing_a_time(client: Client, tmp_path: Path) -> None:
    """Seconds, nanoseconds and ISO 8601, a column of sequences, confidence and author."""
    file = write(
        tmp_path / "l.csv",
        "\ufeffsequence,name,start,end,confidence,author\n"
        "a,run,0.1,0.5s,0.75,ann\n"
        f"b,rest,{START_NS},2023-11-14T22:13:20.2Z,,\n"
        '\n"a","turn, left",1,1,,\n',
    )
    plan = plan_label_import(client, file, "behavior")
    assert (len(plan.labels), plan.known, plan.sequences) == (3, 0, ("a", "b"))
    assert spans(client, "a", "behavior") == []
    assert plan.apply(client, "me") == 3
    assert spans(client, "a", "behavior") == [(1, 5, "run"), (10, 10, "turn, left")]
    assert spans(client, "b", "behavior") == [(0, 2, "rest")]
    first, second = client.sequence_handler("a").annotations()
    assert (first.confidence, first.author, second.confidence, second.author) == (0.75, "ann", None, "me")


def test_frames_count_the_instants_of_a_topic(client: Client, tmp_path: Path) -> None:
    """Frame numbers are those of the topic, both included, and the sequence may be named outside."""
    file = write(tmp_path / "l.csv", "name,start_frame,end_frame\nrun,0,3\nrest,4,59\n")
    plan_label_import(client, file, sequence="a", topic="tracks").apply(client)
    assert spans(client, "a") == [(0, 3, "run"), (4, 59, "rest")]


def test_nothing_is_added_twice(client: Client, tmp_path: Path) -> None:
    """The same file again, a repeated line, and a label put on by hand add nothing; another kind does."""
    file = write(tmp_path / "l.csv", "name,start,end\nrun,0,1\nrun,0,1\nrest,2,3\n")
    client.annotate("a", START_NS, START_NS + 10 * STEP_NS, "run")
    plan = plan_label_import(client, file, sequence="a")
    assert (len(plan.labels), plan.known) == (1, 2)
    plan.apply(client)
    assert plan_label_import(client, file, sequence="a").labels == ()
    assert len(spans(client, "a")) == 2
    assert len(plan_label_import(client, file, "other", sequence="a").labels) == 2


def test_a_removed_label_can_come_again(client: Client, tmp_path: Path) -> None:
    """What was taken back is not there, so the file adds it."""
    file = write(tmp_path / "l.csv", "name,start,end\nrun,0,1\n")
    plan_label_import(client, file, sequence="a").apply(client)
    client.remove_annotation("a", client.sequence_handler("a").annotations()[0].id)
    assert plan_label_import(client, file, sequence="a").apply(client) == 1


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("name,start\nrun,0\n", "line 1"),
        ("", "line 1"),
        ("name,start,end,colour\nrun,0,1,red\n", "colour"),
        ("name,name,start,end\nx,run,0,1\n", "line 1"),
        ("name,start,end\nrun,0,1\nrun,zero,1\n", r"line 3.*field 'start'"),
        ("name,start,end\nrun,0,1\nrun,2,1\n", r"line 3.*before it starts"),
        ("name,start,end\nrun,0,1\n,2,3\n", r"line 3.*no name"),
        ("name,start,end\nrun,0,1\nrun,2\n", r"line 3.*2 cells"),
        ("name,start,end,confidence\nrun,0,1,2\n", r"line 2.*field 'confidence'"),
        ("name,start_frame,end_frame\nrun,0,1\nrun,0,60\n", r"line 3.*field 'end_frame'.*0 to 59"),
        ("name,start_frame,end_frame\nrun,0,x\n", r"line 2.*field 'end_frame'"),
        ("name,start,end\nrun,0,99999999999999999999\n", r"line 2.*field 'end'"),
        ('name,start,end\n"run,0,1\n', "no CSV"),
    ],
)
def test_a_bad_file_adds_nothing(client: Client, tmp_path: Path, text: str, match: str) -> None:
    """What is wrong is told with its line and column, and no label of the file is added."""
    with pytest.raises(ImportRefused, match=match):
        plan_label_import(client, write(tmp_path / "l.csv", text), sequence="a", topic="tracks")
    assert spans(client, "a") == []


def test_what_is_not_there_is_named(client: Client, tmp_path: Path) -> None:
    """A missing file, sequence, topic, and a file that names no sequence."""
    with pytest.raises(NotFound, match="no such file"):
        plan_label_import(client, tmp_path / "absent.csv")
    with pytest.raises(ImportRefused, match=r"\.csv or a \.npz"):
        plan_label_import(client, write(tmp_path / "l.txt", "x"))
    by_column = write(tmp_path / "s.csv", "sequence,name,start,end\na,run,0,1\nzebra,run,0,1\n")
    with pytest.raises(NotFound, match=r"line 3.*zebra"):
        plan_label_import(client, by_column)
    plain = write(tmp_path / "p.csv", "name,start,end\nrun,0,1\n")
    with pytest.raises(ImportRefused, match=r"line 2.*no sequence is named"):
        plan_label_import(client, plain)
    frames = write(tmp_path / "f.csv", "name,start_frame,end_frame\nrun,0,1\n")
    with pytest.raises(ImportRefused, match=r"line 2.*--topic"):
        plan_label_import(client, frames, sequence="a")
    with pytest.raises(NotFound, match="line 2"):
        plan_label_import(client, frames, sequence="a", topic="absent")
    (tmp_path / "latin.csv").write_bytes("name,start,end\nläuft,0,1\n".encode("latin-1"))
    with pytest.raises(ImportRefused, match="UTF-8"):
        plan_label_import(client, tmp_path / "latin.csv", sequence="a")


def arrays(**changed: Any) -> dict[str, Any]:
    """Return the arrays of a good file, some of them changed."""
    codes = np.repeat([0, 1, 2, 1, -1], 12)
    return {"labels": codes, "label_names": np.array(["", "run", "rest"]), **changed}


def test_an_array_becomes_spans(client: Client, tmp_path: Path) -> None:
    """Each run of one code is a span from its first frame to its last; no name and -1 are no label."""
    np.savez(tmp_path / "l.npz", **arrays())
    plan_label_import(client, tmp_path / "l.npz", sequence="a", topic="tracks").apply(client)
    assert spans(client, "a") == [(12, 23, "run"), (24, 35, "rest"), (36, 47, "run")]


def test_an_array_may_bring_its_times_and_its_sequence(client: Client, tmp_path: Path) -> None:
    """With ``timestamp_ns`` no topic is needed, with ``sequence`` no argument."""
    times = START_NS + np.arange(4) * STEP_NS
    changed = {"labels": np.array([1, 1, 0, 2], np.uint8), "timestamp_ns": times, "sequence": np.array("b")}
    np.savez(tmp_path / "l.npz", **arrays(**changed))
    plan_label_import(client, tmp_path / "l.npz").apply(client)
    assert spans(client, "b") == [(0, 1, "run"), (3, 3, "rest")]


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"labels": np.zeros(59, int)}, "59 labels"),
        ({"labels": np.full(60, 3)}, "frame 0 has a code without a name"),
        ({"labels": np.zeros(60)}, "float64"),
        ({"labels": np.zeros((60, 1), int)}, "2-dimensional"),
        ({"label_names": np.array([1, 2, 3])}, "label_names"),
        ({"label_names": np.array(["", {}], dtype=object)}, "plain arrays"),
        ({"timestamp_ns": np.arange(60)[::-1]}, "go back"),
    ],
)
def test_a_bad_array_adds_nothing(
    client: Client, tmp_path: Path, changed: dict[str, Any], match: str
) -> None:
    """What is wrong with an archive is told, and objects are never loaded."""
    np.savez(tmp_path / "l.npz", allow_pickle=True, **arrays(**changed))
    with pytest.raises(ImportRefused, match=match):
        plan_label_import(client, tmp_path / "l.npz", sequence="a", topic="tracks")
    assert spans(client, "a") == []


def test_a_file_that_is_no_archive_is_refused(client: Client, tmp_path: Path) -> None:
    """Text named .npz is refused as what it is, and so is an archive without labels."""
    with pytest.raises(ImportRefused):
        plan_label_import(client, write(tmp_path / "l.npz", "text"), sequence="a", topic="tracks")
    np.savez(tmp_path / "e.npz", other=np.arange(3))
    with pytest.raises(ImportRefused, match="nothing"):
        plan_label_import(client, tmp_path / "e.npz", sequence="a", topic="tracks")


def gapless_label(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `gapless label …` on the store of the test."""
    return subprocess.run(
        [sys.executable, "-m", "gapless.cli.main", "label", *arguments, "--store", "store"],
        cwd=cwd, env=environment(), capture_output=True, text=True, encoding="utf-8", timeout=100, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_the_command_imports_says_and_refuses(client: Client, tmp_path: Path) -> None:
    """`gapless label --import`: dry run, import, again, and what it refuses."""
    write(tmp_path / "l.csv", "sequence,name,start,end\na,run,0,1\nb,run,0,1\n")
    dry = gapless_label(tmp_path, "--import", "l.csv", "--kind", "behavior", "--dry-run")
    assert (dry.returncode, dry.stdout) == (0, "would add 2 labels of kind behavior to 2 sequences\n")
    assert spans(client, "a", "behavior") == []
    done = gapless_label(tmp_path, "--import", "l.csv", "--kind", "behavior", "--author", "ann")
    assert (done.returncode, done.stdout) == (0, "added 2 labels of kind behavior to 2 sequences\n")
    assert spans(client, "a", "behavior") == [(0, 10, "run")]
    again = gapless_label(tmp_path, "--import", "l.csv", "--kind", "behavior")
    assert again.stdout == "added 0 labels of kind behavior to 2 sequences, 2 known already\n"
    for arguments in (
        ["a", "0", "1", "x", "--import", "l.csv"],
        ["a", "0", "1"],
        [],
        ["a", "0", "1", "x", "--topic", "t"],
    ):
        assert gapless_label(tmp_path, *arguments).returncode == 2
    assert gapless_label(tmp_path, "--import", "absent.csv").returncode == 3
    np.savez(tmp_path / "l.npz", **arrays())
    assert gapless_label(tmp_path, "a", "--import", "l.npz", "--topic", "tracks").returncode == 0
    assert len(spans(client, "a")) == 3


def outcome(client: Client, file: Path) -> str:
    """Return the kind of what planning an import gives."""
    try:
        return type(plan_label_import(client, file, sequence="a")).__name__
    except GaplessError as error:
        return type(error).__name__


def test_whatever_a_file_holds_the_answer_is_a_plan_or_a_refusal(client: Client, tmp_path: Path) -> None:
    """No cell of a CSV gives a traceback of something else."""
    chance = np.random.default_rng(0)
    cells = ["name", "0", "1", "2s", "1e999", "nan", "-5", "", " ", '"', "\x00", "é", "1,2", "\n"]
    found = set()
    for number in range(200):
        text = "name,start,end\n" + ",".join(chance.choice(cells, 3, p=[0.2, 0.2, 0.2] + [0.4 / 11] * 11))
        found.add(outcome(client, write(tmp_path / f"{number}.csv", text)))
    assert found == {"ImportRefused", "LabelImport"}
