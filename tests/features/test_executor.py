"""Chunks of work in the caller's thread, in threads and in processes: each once, none lost, none endless."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.features.chunk_work import Chunk, loaded_modules, unpicklable, wait_for, work

from gapless.errors import ArgumentRefused, FeatureFailed, RunCancelled
from gapless.features.carrier import Lost, Outcome, Raised, Returned, carry_all
from gapless.features.executor import MODES, run_chunks
from gapless.features.worker_pool import packed

HERE = [(None, None), (None, 4), ("thread", None), ("thread", 1), ("process", 1), ("process", None)]
POOLS = [("thread", 2), ("process", 2)]
ALL = [(None, None), *POOLS]


class Source:
    """Chunks that count how many of them were taken."""

    def __init__(self, folder: Path, acts: dict[int, str] | None = None, count: int = 12) -> None:
        self.folder = folder
        self.acts = acts or {}
        self.count = count
        self.taken = 0

    def __iter__(self) -> Iterator[Chunk]:
        for number in range(self.count):
            self.taken += 1
            yield Chunk(number, self.folder, self.acts.get(number, ""))


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """Fail a test that leaves a thread or a process behind."""
    before = set(threading.enumerate())
    yield
    assert multiprocessing.active_children() == []
    assert set(threading.enumerate()) - before == set()


def numbers(results: list[tuple[Chunk, Any]]) -> dict[int, Any]:
    """Return the results by number: the value, or the type of the error."""
    assert len({chunk.number for chunk, _ in results}) == len(results)
    return {
        chunk.number: type(result) if isinstance(result, BaseException) else result[0]
        for chunk, result in results
    }


@pytest.mark.parametrize(("mode", "workers"), [*HERE, *POOLS])
def test_every_chunk_comes_back_once_with_its_result(
    tmp_path: Path, mode: str | None, workers: int | None
) -> None:
    """The same chunk object, whatever the order."""
    chunks = list(Source(tmp_path))
    results = list(run_chunks(work, chunks, mode=mode, workers=workers))
    assert numbers(results) == {number: number**2 for number in range(12)}
    assert all(any(chunk is mine for mine in chunks) for chunk, _ in results)
    assert [chunk.begun for chunk in chunks] == [1] * 12


@pytest.mark.parametrize(("mode", "workers"), HERE)
def test_one_worker_is_the_callers_thread(tmp_path: Path, mode: str | None, workers: int | None) -> None:
    """Nothing is started, and the order is that of the chunks."""
    seen: list[int] = []

    def here(chunk: Chunk) -> int:
        seen.append(threading.get_ident())
        return chunk.number

    results = list(run_chunks(here, Source(tmp_path), mode=mode, workers=workers))
    assert [number for _, number in results] == list(range(12))
    assert set(seen) == {threading.get_ident()}


def test_processes_are_new_ones_and_the_caller_computes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not copies of this one: they have imported what they need and nothing else."""
    monkeypatch.setitem(sys.modules, "only_here", ModuleType("only_here"))
    results = run_chunks(work, Source(tmp_path), mode="process", workers=2)
    assert os.getpid() not in {result[1] for _, result in results if isinstance(result, tuple)}
    [(_, modules)] = run_chunks(loaded_modules, Source(tmp_path, count=1), mode="process", workers=2)
    assert isinstance(modules, list)
    assert "gapless.features.worker_pool" in modules
    assert not {"only_here", "pandas", "distributed"} & set(modules)


def test_an_unknown_mode_is_refused_before_anything_is_taken(tmp_path: Path) -> None:
    """At the call, with the modes that there are; so are numbers that mean nothing."""
    source = Source(tmp_path)
    with pytest.raises(ArgumentRefused, match=r"thread \| process \| dask"):
        run_chunks(work, source, mode="gpu", workers=2)
    for wrong in ({"workers": 0}, {"workers": 2, "in_flight": 0}):
        with pytest.raises(ArgumentRefused):
            run_chunks(work, source, mode="thread", **wrong)  # type: ignore[arg-type]
    assert source.taken == 0
    assert MODES == ("thread", "process", "dask")


def test_nothing_starts_before_the_first_result_is_asked_for(tmp_path: Path) -> None:
    """A generator that nobody reads costs nothing."""
    source = Source(tmp_path)
    run_chunks(work, source, mode="process", workers=2).close()
    assert source.taken == 0


@pytest.mark.parametrize(("mode", "workers", "in_flight", "room"), [
    (None, None, None, 1), ("thread", 2, None, 4), ("process", 2, None, 4), ("thread", 2, 3, 3),
    ("thread", 3, 1, 1),
])  # fmt: skip
def test_a_chunk_is_taken_only_when_there_is_room(
    tmp_path: Path, mode: str | None, workers: int | None, in_flight: int | None, room: int
) -> None:
    """Taking one claims its entries, which others could compute."""
    source = Source(tmp_path, count=20)
    results = run_chunks(work, source, mode=mode, workers=workers, in_flight=in_flight)
    for yielded, _ in enumerate(results, start=1):
        assert source.taken <= yielded - 1 + room
    assert source.taken == 20


def test_no_chunks_are_no_results(tmp_path: Path) -> None:
    """In no mode."""
    for mode, workers in ALL:
        assert list(run_chunks(work, [], mode=mode, workers=workers)) == []


def test_chunks_may_be_any_values() -> None:
    """None and equal ones among them."""
    for mode, workers in ((None, None), ("thread", 2)):
        results = list(run_chunks(str, [None, 0, 0, ""], mode=mode, workers=workers))
        assert sorted(map(str, results)) == sorted(["(None, 'None')", "(0, '0')", "(0, '0')", "('', '')"])


def test_a_waiting_chunk_holds_up_no_other(tmp_path: Path) -> None:
    """Results come in the order of completion."""
    order = []
    for chunk, _ in run_chunks(work, Source(tmp_path, {0: "wait"}), mode="thread", workers=2):
        order.append(chunk.number)
        if len(order) == 8:
            (tmp_path / "go").touch()
    assert 0 not in order[:8]
    assert sorted(order) == list(range(12))


# -- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "workers"), ALL)
def test_what_the_function_raises_is_raised_after_what_was_begun(
    tmp_path: Path, mode: str | None, workers: int | None
) -> None:
    """What others had computed meanwhile is not lost, and nothing new is begun."""
    source = Source(tmp_path, {2: "raise"})
    seen: list[Any] = []
    with pytest.raises(LookupError, match="no chunk 2"):
        seen += run_chunks(work, source, mode=mode, workers=workers)  # keeps what came before the error
    begun = {int(path.name.partition(".")[0]) for path in tmp_path.iterdir()}
    assert begun == {*numbers(seen), 2}
    assert source.taken == len(begun)


def test_an_error_that_cannot_travel_is_told_in_words(tmp_path: Path) -> None:
    """It does not pass for the death of all workers."""
    with pytest.raises(FeatureFailed, match="Odd: 1 and 2"):
        list(run_chunks(work, Source(tmp_path, {1: "odd"}), mode="process", workers=2))


def test_what_cannot_be_sent_is_refused(tmp_path: Path) -> None:
    """Functions and chunks without a pickle, with advice."""
    with pytest.raises(ArgumentRefused, match="cannot be sent"):
        list(run_chunks(lambda chunk: chunk, Source(tmp_path), mode="process", workers=2))
    with pytest.raises(ArgumentRefused, match="module"):
        list(run_chunks(str, [threading.Lock()], mode="process", workers=2))
    with pytest.raises(TypeError, match="lock"):
        list(run_chunks(unpicklable, Source(tmp_path), mode="process", workers=2))


def test_an_error_of_the_source_ends_the_workers(tmp_path: Path) -> None:
    """It is raised as it is."""

    def source() -> Iterator[Chunk]:
        yield Chunk(0, tmp_path)
        raise KeyError("claims")

    for mode, workers in ALL:
        with pytest.raises(KeyError, match="claims"):
            list(run_chunks(work, source(), mode=mode, workers=workers))


# -- workers that die --------------------------------------------------------------------------


def test_a_chunk_whose_worker_died_is_computed_once_more(tmp_path: Path) -> None:
    """The second time it has a result like any other."""
    results = list(run_chunks(work, Source(tmp_path, {5: "die once"}), mode="process", workers=2))
    assert numbers(results) == {number: number**2 for number in range(12)}
    assert Chunk(5, tmp_path).begun == 2


def test_a_chunk_that_kills_every_worker_comes_back_with_the_error(tmp_path: Path) -> None:
    """It alone, sent twice: its neighbours in flight are computed, none more than twice."""
    acts = {3: "die", 4: "die", 9: "die"}
    results = list(run_chunks(work, Source(tmp_path, acts), mode="process", workers=2))
    assert numbers(results) == {n: FeatureFailed if n in acts else n**2 for n in range(12)}
    assert {Chunk(number, tmp_path).begun for number in range(12)} == {1, 2}
    [error] = [result for chunk, result in results if chunk.number == 3]
    assert isinstance(error, FeatureFailed)
    assert error.__cause__ is not None
    assert "BrokenProcessPool" in str(error)


def test_a_worker_killed_from_outside_costs_nothing(tmp_path: Path) -> None:
    """What it was computing is computed by another."""
    killer = threading.Thread(target=kill_a_worker, args=(tmp_path,))
    killer.start()
    source = Source(tmp_path, {0: "wait", 1: "wait"}, count=8)
    results = list(run_chunks(work, source, mode="process", workers=2))
    killer.join()
    assert numbers(results) == {number: number**2 for number in range(8)}
    assert max(Chunk(number, tmp_path).begun for number in range(8)) == 2


def kill_a_worker(folder: Path) -> None:
    """Kill one of the workers as soon as the first two chunks were begun, then let all go on."""
    while {path.name[0] for path in folder.iterdir()} < {"0", "1"}:
        threading.Event().wait(0.01)
    victim = multiprocessing.active_children()[0].pid
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    (folder / "go").touch()


class Scripted:
    """A carrier of numbers that answers one by one in the order of sending, as it is told, and notes all."""

    room = 4

    def __init__(self, answers: dict[int, Outcome[Any]]) -> None:
        self.answers = answers
        self.notes: list[str] = []
        self.sent = 0

    def send(self, chunk: int) -> int:
        """Note the chunk; its ticket is the number of the sending."""
        self.notes.append(f"send {chunk}")
        self.sent += 1
        return self.sent

    def arrived(self, tickets: Collection[int]) -> list[tuple[int, Outcome[Any]]]:
        """Answer for the first that was sent."""
        first = min(tickets)
        self.notes.append(f"answer {first}")
        return [(first, self.answers.get(first, Returned("done")))]

    def close(self) -> None:
        """Note it."""
        self.notes.append("close")


def test_a_chunk_is_sent_again_only_when_nothing_else_is_under_way() -> None:
    """Else its neighbours could not be told from it; and nothing new is taken meanwhile."""
    carrier = Scripted({1: Lost(OSError("gone"))})
    results = list(carry_all(carrier, range(6), None))
    assert sorted(results) == [(number, "done") for number in range(6)]
    assert carrier.notes == [
        "send 0", "send 1", "send 2", "send 3", "answer 1", "answer 2", "answer 3", "answer 4",
        "send 0", "answer 5", "send 4", "send 5", "answer 6", "answer 7", "close",
    ]  # fmt: skip


def test_nothing_is_sent_after_an_error() -> None:
    """Neither new chunks nor those that were lost; the first error is the one that is raised."""
    carrier = Scripted(
        {1: Lost(OSError("gone")), 2: Raised(KeyError("first")), 3: Raised(KeyError("second"))}
    )
    results: list[Any] = []
    with pytest.raises(KeyError, match="first"):
        results += carry_all(carrier, range(6), None)
    assert results == [(3, "done")]
    assert carrier.notes[4:] == ["answer 1", "answer 2", "answer 3", "answer 4", "close"]


# -- the end -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "workers"), ALL)
def test_a_cancelled_run_takes_nothing_more(tmp_path: Path, mode: str | None, workers: int | None) -> None:
    """What was begun is yielded first."""
    cancel, source = threading.Event(), Source(tmp_path, count=50)
    seen: list[Any] = []
    with pytest.raises(RunCancelled):
        seen += cancelled_at_once(run_chunks(work, source, mode=mode, workers=workers, cancel=cancel), cancel)
    assert len(numbers(seen)) == source.taken < 50


def cancelled_at_once(results: Iterator[tuple[Chunk, Any]], cancel: threading.Event) -> Iterator[Any]:
    """Yield results and cancel when the first one is there."""
    for result in results:
        cancel.set()
        yield result


@pytest.mark.parametrize(("mode", "workers"), ALL)
def test_a_run_that_is_cancelled_before_it_begins_takes_nothing(
    tmp_path: Path, mode: str | None, workers: int | None
) -> None:
    """Not one chunk."""
    cancel, source = threading.Event(), Source(tmp_path)
    cancel.set()
    with pytest.raises(RunCancelled):
        list(run_chunks(work, source, mode=mode, workers=workers, cancel=cancel))
    assert source.taken == 0


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_a_run_that_has_taken_everything_is_no_longer_cancelled(tmp_path: Path, mode: str) -> None:
    """Nothing would be left undone, so all of it comes."""
    cancel = threading.Event()
    results = run_chunks(work, Source(tmp_path, count=3), mode=mode, workers=2, cancel=cancel)
    assert len(list(cancelled_at_once(results, cancel))) == 3


@pytest.mark.parametrize(("mode", "workers"), ALL)
def test_closing_ends_the_workers(tmp_path: Path, mode: str | None, workers: int | None) -> None:
    """What is being computed may end; what waits is dropped."""
    source = Source(tmp_path, count=50)
    results = run_chunks(work, source, mode=mode, workers=workers)
    next(results)
    results.close()
    assert source.taken < 50
    assert list(results) == []


# -- where the code comes from -----------------------------------------------------------------

SCRIPT = """
    import threading
    from gapless.errors import ArgumentRefused
    from gapless.features.executor import run_chunks

    def square(number):
        return number * number

    if __name__ == "__main__":
        try:
            print(sorted(run_chunks(square, range(4), mode="{mode}", workers=2)))
        except ArgumentRefused as error:
            print("refused:", error.found, "Next:", error.advice)
"""


def run_script(how: str, folder: Path, mode: str) -> str:
    """Run the script as a file, as text or from standard input and return what it says."""
    text = textwrap.dedent(SCRIPT.format(mode=mode))
    (folder / "script.py").write_text(text)
    arguments = {"file": ["script.py"], "text": ["-c", text], "input": ["-"], "module": ["-m", "script"]}[how]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([p for p in sys.path if p])}
    ran = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder, env=environment, input=text if how == "input" else None, capture_output=True, text=True,
        timeout=100, check=True,
    )  # fmt: skip
    assert ran.stderr == ""
    return ran.stdout.strip()


@pytest.mark.parametrize("how", ["file", "module"])
def test_a_script_may_define_what_processes_do(tmp_path: Path, how: str) -> None:
    """If it is a file, run by its name or as a module."""
    assert run_script(how, tmp_path, "process") == "[(0, 0), (1, 1), (2, 4), (3, 9)]"


@pytest.mark.parametrize(("how", "found"), [("text", "'__main__.square'"), ("input", "'<stdin>'")])
def test_a_session_without_a_file_is_told_to_use_a_module(tmp_path: Path, how: str, found: str) -> None:
    """Other processes could not import what it defined; threads can."""
    told = run_script(how, tmp_path, "process")
    assert told.startswith(f"refused: {found.strip(chr(39))} Next:")
    assert 'parallel_mode="thread"' in told
    assert run_script(how, tmp_path, "thread") == "[(0, 0), (1, 1), (2, 4), (3, 9)]"


def test_a_packed_value_is_a_pickle() -> None:
    """Of anything that another process can import."""
    import pickle

    value: list[Callable[..., Any] | Path] = [work, Path("a"), Chunk]
    assert pickle.loads(packed(value)) == value
    with pytest.raises(ArgumentRefused):
        packed(lambda: 1)


def test_the_files_that_workers_wait_for_are_seen(tmp_path: Path) -> None:
    """The helper of these tests returns at once when there is nothing to wait for."""
    (tmp_path / "go").touch()
    wait_for(tmp_path / "go")
