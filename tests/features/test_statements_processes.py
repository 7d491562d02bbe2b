"""Several writers of one run at once, and processes that are killed at every point where something is written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.features.run_folders import all_rows, remove_catalog
from tests.features.toy_features import Centre, Double, Plus, Slow, marked
from tests.features.tracks import files, record_tracks, statuses, values

from gapless.features import Dataset, FeatureRegistry, FeatureStep, Pipeline, Result
from gapless.features.run_folder import RunFolder

DEADLINE_S = 60.0
PLACE = Path(__file__).resolve().parents[2]

_RUN = """
import sys
from gapless.features import Dataset
from tests.features.toy_features import Slow
store, marks, sequences = sys.argv[1], sys.argv[2], sys.argv[3].split(",")
with Dataset(store) as ds:
    ds.run_feature(Slow(None, {"marks": marks}), sequences=sequences)
"""

# Kills itself at the n-th call of one of the engine's writing functions, before or after it has done its work.
_DIE = """
import os, signal, sys
from importlib import import_module
store, marks, where, when, number, force = sys.argv[1:]
module, _, name = where.partition(":")
owner = import_module(f"gapless.features.{module}")
*path, last = name.split(".")
for part in path:
    owner = getattr(owner, part)
real, calls = getattr(owner, last), []

def dying(*args, **kwargs):
    calls.append(1)
    mine = len(calls) == int(number)
    if mine and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    found = real(*args, **kwargs)
    if mine:
        os.kill(os.getpid(), signal.SIGKILL)
    return found

setattr(owner, last, dying)
from gapless.features import Dataset
from tests.features.test_statements_processes import steps
with Dataset(store) as ds:
    steps(marks).run(ds, force_from=force or None)
"""


def steps(marks: str | Path) -> Pipeline:
    """Return a feature, one that reads it, and one that learns from that; each has marks of its own."""
    told = {name: str(Path(marks, name)) if marks else "" for name in "dpc"}
    for folder in filter(None, told.values()):
        Path(folder).mkdir(exist_ok=True)
    pipeline = Pipeline().add(FeatureStep("d", Double, {"marks": told["d"]}))
    pipeline.add(FeatureStep("p", Plus, {"marks": told["p"]}, ["d"], {"overlap_frames": 1}))
    return pipeline.add(FeatureStep("c", Centre, {"marks": told["c"], "column": "value"}, ["p"]))


def applied(marks: Path) -> Counter[str]:
    """Return how often each step was applied to each sequence."""
    found: Counter[str] = Counter()
    for name in "dpc":
        counts = marked(marks / name)
        found.update({f"{name} {text.partition(' ')[2]}": n for text, n in counts.items() if "apply" in text})
    return found


def done(pipeline: Pipeline, ds: Dataset) -> set[str]:
    """Return the entries of each step that are as they should be."""
    surveys = {item.step.name: item.survey for item in pipeline.survey(ds)}
    return {
        f"{name} {state.key[1]}"
        for name, survey in surveys.items()
        if survey
        for state in survey.states
        if state.done
    }


def started(script: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a process that runs a script with arguments."""
    paths = [str(PLACE), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen([sys.executable, "-c", script, *arguments], env=environment)


@contextmanager
def ended(*processes: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kill at the end what still runs."""
    try:
        yield
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait(DEADLINE_S)


def until(condition: Any) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """Give a folder for marks."""
    (tmp_path / "marks").mkdir()
    return tmp_path / "marks"


@pytest.mark.parametrize("shared", [True, False])
def test_s11_two_threads_lose_no_entry_of_one_run(tmp_path: Path, marks: Path, shared: bool) -> None:
    """Whether they share a data set or each has its own; each entry is computed once."""
    store = tmp_path / "store"
    keys = record_tracks(store, 40)
    names = [name for _, name in keys]
    failures: list[BaseException] = []
    gate = threading.Barrier(2)

    with Dataset(store) as ds:

        def work(mine: list[str]) -> None:
            try:
                with Dataset(store) as own:
                    gate.wait(DEADLINE_S)
                    (ds if shared else own).run_feature(Double(None, {"marks": str(marks)}), sequences=mine)
            except BaseException as error:  # noqa: BLE001 - a thread ends here; the test tells it
                failures.append(error)

        threads = [threading.Thread(target=work, args=(part,)) for part in (names[::2], names[1::2])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)
        assert not failures
        result: Result[str] = Result(feature="double")
        assert statuses(ds, result) == dict.fromkeys(names, "ok")
        assert len(RunFolder(ds.run_root(result)).records()) == 40
        assert marked(marks) == {f"apply {name}": 1 for name in names}
        assert ds.run_feature(Double()).cache_hit


@pytest.mark.parametrize("same", [False, True])
def test_s11_two_processes_of_which_one_is_killed_lose_no_entry(
    tmp_path: Path, marks: Path, same: bool
) -> None:
    """Each entry is computed once, that of the killed one twice."""
    store = tmp_path / "store"
    names = [name for _, name in record_tracks(store, 40)]
    first, second = (names, names) if same else (names[:20], names[20:])
    killed = started(_RUN, str(store), str(marks), ",".join(first))
    with ended(killed):
        until(lambda: any(marks.iterdir()))  # it is inside apply, and waits there
        other = started(_RUN, str(store), str(marks), ",".join(second))
        with ended(other):
            until(lambda: len(marked(marks)) == 2)
            killed.send_signal(signal.SIGKILL)
            killed.wait(DEADLINE_S)
            (tmp_path / "go").touch()
            assert other.wait(DEADLINE_S) == 0
    with Dataset(store) as ds:
        before = marked(marks)
        result = ds.run_feature(Slow(None, {"marks": str(marks)}))
        assert statuses(ds, result) == dict.fromkeys(names, "ok")
        assert values(ds, result) == {
            name: [2 * (100.0 * n + row) for row in range(10)] for n, name in enumerate(names)
        }
        counts = marked(marks)
        assert sum(counts.values()) == 41  # the killed one had begun one entry
        assert (counts == before) is same  # who has the same scope takes over what the dead had claimed
        assert ds.registry.run_is_finished(result.feature, str(result.run_id))


FIRST = [
    ("run_folder:RunFolder.begin", "after", 1),
    ("registry:FeatureRegistry.begin_run", "before", 2),
    ("registry:FeatureRegistry.begin_run", "after", 1),
    ("apply:write_table", "before", 3),
    ("apply:write_table", "after", 3),
    ("entry_writer:_write", "before", 2),
    ("entry_writer:_write", "after", 2),
    ("run_folder:RunFolder.append", "before", 2),
    ("run_folder:RunFolder.append", "after", 2),
    ("registry:FeatureRegistry.save_records", "after", 5),
    ("run_folder:RunFolder.finish", "before", 2),
    ("run_folder:RunFolder.finish", "after", 1),
    ("registry:FeatureRegistry.mark_finished", "after", 2),
    ("run_folder:tree_digest", "before", 1),
    ("registry:FeatureRegistry.set_state", "before", 3),
]
AGAIN = [  # while everything is computed a second time
    ("run_folder:RunFolder.reopen", "after", 1),
    ("entry_writer:parquet.open_writer", "after", 2),
    ("entry_writer:_write", "after", 2),
    ("apply:write_table", "after", 2),
    ("registry:FeatureRegistry.save_records", "after", 7),
    ("run_folder:shutil.rmtree", "before", 1),
    ("run_folder:shutil.rmtree", "after", 1),
    ("run_folder:tree_digest", "before", 2),
    ("run_folder:RunFolder.finish", "before", 3),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """Give the outputs of a run that nothing stopped."""
    store = tmp_path_factory.mktemp("whole") / "store"
    record_tracks(store, 5)
    with Dataset(store) as ds:
        return {name: files(ds, result) for name, result in steps("").run(ds).items()}


@pytest.mark.crash
@pytest.mark.parametrize(
    ("where", "when", "number", "force"), [(*p, "") for p in FIRST] + [(*p, "d") for p in AGAIN]
)
def test_s27_a_run_that_was_killed_is_completed_by_the_next(
    tmp_path: Path,
    marks: Path,
    whole: dict[str, dict[str, bytes]],
    where: str,
    when: str,
    number: int,
    force: str,
) -> None:
    """It computes what was not recorded and nothing else; folders and registry agree, and nothing is left over."""
    store = tmp_path / "store"
    record_tracks(store, 5)
    pipeline = steps(marks)
    if force:
        with Dataset(store) as ds:
            pipeline.run(ds)
    process = started(_DIE, str(store), str(marks), where, when, str(number), force)
    with ended(process):
        assert process.wait(DEADLINE_S) == -signal.SIGKILL
    with Dataset(store) as ds:
        if force:  # a reader sees what was there before or what is there after, never a part of it
            for name, result in pipeline.results.items():
                assert files(ds, result) == whole[name]
        kept, before = done(pipeline, ds), applied(marks)
        results = pipeline.run(ds)
        assert {name: files(ds, result) for name, result in results.items()} == whole
        assert list(pipeline.status(ds, deep=True)["cached"]) == [True, True, True]
        assert all(ds.registry.run_is_finished(r.feature, str(r.run_id)) for r in results.values())
        every = {f"{step} s{number:03d}" for step in "dpc" for number in range(5)}
        assert applied(marks) - before <= Counter(every - kept)  # what was there is not computed again
        rows = all_rows(ds.registry)
    remove_catalog(store)
    with FeatureRegistry(store) as registry:  # the folders tell the same as the registry did
        assert all_rows(registry) == rows
    with Dataset(store) as ds:
        results = pipeline.run(ds, force_from="d")
        assert {name: files(ds, result) for name, result in results.items()} == whole
        assert not list(ds.features_root.rglob("*.partial"))  # nothing of the dead is left
