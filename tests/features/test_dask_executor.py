"""Chunks of work on Dask: a cluster of its own for a run, or one that is there; workers may die."""

from __future__ import annotations

import gc
import importlib
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.features.chunk_work import Chunk, unpicklable, work

from gapless.errors import ArgumentRefused, FeatureFailed, MissingExtra, RunCancelled
from gapless.features import dask_executor
from gapless.features.executor import run_chunks

_SCHEDULER = """
import asyncio, sys, distributed

async def main(workers):
    async with distributed.Scheduler(port=0, host="127.0.0.1", dashboard=False, dashboard_address="127.0.0.1:0") as s:
        nannies = [await distributed.Nanny(s.address, nthreads=1, local_directory=sys.argv[2]) for _ in range(workers)]
        print(s.address, *[n.pid for n in nannies], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        for nanny in nannies:
            await nanny.close()

if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
"""


def chunks(folder: Path, acts: dict[int, str] | None = None, count: int = 12) -> list[Chunk]:
    """Return chunks, some of which do something else than to compute."""
    return [Chunk(number, folder, (acts or {}).get(number, "")) for number in range(count)]


def numbers(results: list[tuple[Chunk, Any]]) -> dict[int, Any]:
    """Return the results by number: the value, or the type of the error."""
    assert len({chunk.number for chunk, _ in results}) == len(results)
    return {c.number: type(r) if isinstance(r, BaseException) else r[0] for c, r in results}


def on_dask(work_chunks: Any, function: Any = work, **given: Any) -> list[tuple[Chunk, Any]]:
    """Run chunks on two workers of a local cluster."""
    return list(run_chunks(function, work_chunks, **{"mode": "dask", "workers": 2, **given}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give the folder that workers mark what they begin in."""
    (tmp_path / "marks").mkdir()
    return tmp_path / "marks"


@pytest.fixture(autouse=True)
def _nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that leaves a process, a file or another level of logging behind."""
    for name in ("cwd", "home", "tmp"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    importlib.import_module("distributed")  # sets the level that is to stay
    level = logging.getLogger("distributed").level
    yield
    gc.collect()  # what is closed by nobody warns now
    assert multiprocessing.active_children() == []
    assert [list((tmp_path / name).iterdir()) for name in ("cwd", "home", "tmp")] == [[], [], []]
    assert logging.getLogger("distributed").level == level


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str, list[int]]]:
    """Give a cluster of two workers that is not ours: its process, its address, the workers' pids."""
    (tmp_path / "scheduler.py").write_text(_SCHEDULER)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "scheduler.py"), "2", str(tmp_path / "workers")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
    )  # fmt: skip
    with process:
        try:
            assert process.stdout is not None
            address, *pids = process.stdout.readline().split()
            yield process, address, list(map(int, pids))
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(60)


def test_every_chunk_comes_back_once_from_processes_of_this_machine(folder: Path) -> None:
    """Two processes, neither of them this one, that end with the run."""
    given = chunks(folder)
    results = on_dask(given)
    assert numbers(results) == {number: number**2 for number in range(12)}
    assert all(any(chunk is mine for mine in given) for chunk, _ in results)
    assert [chunk.begun for chunk in given] == [1] * 12
    pids = {pid for _, (_, pid) in results}
    assert os.getpid() not in pids
    assert len(pids) == 2


def test_equal_chunks_are_not_one_chunk(folder: Path) -> None:
    """Dask would compute a pure function of equal arguments once."""
    results = on_dask([Chunk(3, folder)] * 4)
    assert [value for _, (value, _) in results] == [9] * 4
    assert Chunk(3, folder).begun == 4


def test_chunks_are_taken_only_when_there_is_room(folder: Path) -> None:
    """Two for each thread of the cluster, or as many as are allowed."""
    for in_flight, room in ((None, 4), (1, 1)):
        taken = 0

        def source() -> Iterator[Chunk]:
            nonlocal taken
            for chunk in chunks(folder, count=20):
                taken += 1
                yield chunk

        results = run_chunks(work, source(), mode="dask", workers=2, in_flight=in_flight)
        for yielded, _ in enumerate(results, start=1):
            assert taken <= yielded - 1 + room
        assert taken == 20


def test_a_worker_that_is_killed_costs_nothing(folder: Path) -> None:
    """Its process gets SIGKILL while it computes; another computes what it had."""
    killer = threading.Thread(target=_kill_a_worker, args=(folder,))
    killer.start()
    results = on_dask(chunks(folder, {0: "wait", 1: "wait"}))
    killer.join()
    assert numbers(results) == {number: number**2 for number in range(12)}
    begun = [Chunk(number, folder).begun for number in range(12)]
    assert sorted(begun[:2]) == [1, 2]
    assert set(begun[2:]) == {1}


def _kill_a_worker(folder: Path) -> None:
    """Kill one of the workers as soon as both were seen at work, then let all go on."""
    while {path.name[0] for path in folder.iterdir()} < {"0", "1"}:
        threading.Event().wait(0.01)
    victim = multiprocessing.active_children()[0].pid
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    (folder / "go").touch()


def test_a_chunk_that_kills_every_worker_comes_back_with_the_error(folder: Path) -> None:
    """It alone, sent twice; its neighbours have their results."""
    results = on_dask(chunks(folder, {3: "die", 5: "die once"}))
    assert numbers(results) == {n: FeatureFailed if n == 3 else n**2 for n in range(12)}
    assert Chunk(3, folder).begun in (1, 2)
    assert Chunk(5, folder).begun >= 2
    [error] = [result for chunk, result in results if chunk.number == 3]
    assert "KilledWorker" in str(error)


def test_what_the_function_raises_is_raised_after_what_was_begun(folder: Path) -> None:
    """As it is; what the other workers had computed is not lost."""
    seen: list[tuple[Chunk, Any]] = []
    with pytest.raises(LookupError, match="no chunk 2"):
        seen += run_chunks(work, chunks(folder, {2: "raise"}, 40), mode="dask", workers=2)
    begun = {int(path.name.partition(".")[0]) for path in folder.iterdir()}
    assert begun == {*numbers(seen), 2}


def test_what_cannot_travel_is_refused(folder: Path) -> None:
    """A chunk on its way there, a result on its way back."""
    with pytest.raises(ArgumentRefused, match="cannot be sent"):
        on_dask([threading.Lock()], str)
    with pytest.raises(TypeError, match="serialize"):
        on_dask(chunks(folder), unpicklable)
    with pytest.raises(Exception, match="1 and 2"):
        on_dask(chunks(folder, {1: "odd"}))


def test_a_cancelled_run_takes_nothing_more(folder: Path) -> None:
    """What was begun is yielded, then the cluster ends."""
    cancel = threading.Event()
    seen: list[tuple[Chunk, Any]] = []

    def at_once() -> Iterator[Any]:
        for result in run_chunks(work, chunks(folder, count=50), mode="dask", workers=2, cancel=cancel):
            cancel.set()
            yield result

    with pytest.raises(RunCancelled):
        seen += at_once()
    assert {int(path.name.partition(".")[0]) for path in folder.iterdir()} == set(numbers(seen))
    assert len(seen) < 50


def test_closing_ends_the_cluster(folder: Path) -> None:
    """In the middle of a run."""
    results = run_chunks(work, chunks(folder, count=50), mode="dask", workers=2)
    next(results)
    results.close()
    assert list(results) == []


def test_our_client_is_nobodys_default(folder: Path) -> None:
    """What a caller does with Dask meanwhile goes where it went before."""
    from distributed import client

    results = run_chunks(work, chunks(folder, count=4), mode="dask", workers=1)
    next(results)
    assert client._get_global_client() is None
    results.close()


# -- a cluster that is there -------------------------------------------------------------------


def test_a_scheduler_is_used_by_its_address(
    folder: Path, scheduler: tuple[subprocess.Popen[str], str, list[int]]
) -> None:
    """Its workers do the work, one of them dies, and it is there afterwards for the next run."""
    process, address, pids = scheduler
    results = on_dask(chunks(folder, {4: "die once"}), scheduler=address)
    assert numbers(results) == {number: number**2 for number in range(12)}
    assert {pid for _, (_, pid) in results} & set(pids)
    assert process.poll() is None
    assert len(on_dask(chunks(folder, count=3), scheduler=address, workers=None)) == 3


def test_a_scheduler_that_dies_is_an_error_and_not_a_wait_for_ever(
    folder: Path, scheduler: tuple[subprocess.Popen[str], str, list[int]]
) -> None:
    """All its workers were computing."""
    process, address, _ = scheduler

    def kill() -> None:
        while len(list(folder.iterdir())) < 2:
            threading.Event().wait(0.01)
        process.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(FeatureFailed, match="scheduler is gone"):
        on_dask(chunks(folder, dict.fromkeys(range(4), "wait"), 4), scheduler=address)
    killer.join()
    (folder / "go").touch()  # lets the orphaned workers end


def test_a_scheduler_that_dies_between_two_chunks_is_the_same_error(
    folder: Path, scheduler: tuple[subprocess.Popen[str], str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was computed before has been yielded."""
    monkeypatch.setattr(dask_executor, "_CONNECT_S", 3.0)  # for so long it may come back
    process, address, _ = scheduler
    results = run_chunks(work, chunks(folder, count=500), mode="dask", workers=2, scheduler=address)
    seen = [next(results)]
    process.kill()
    process.wait()
    with pytest.raises(FeatureFailed, match="scheduler is gone"):
        seen += results
    assert 0 < len(numbers(seen)) < 500


@pytest.mark.parametrize("address", ["", "hello", "nonsense://h:1", 5])
def test_a_wrong_address_is_refused(folder: Path, address: Any) -> None:
    """Before anything is started."""
    with pytest.raises(ArgumentRefused, match="tcp://HOST:PORT"):
        on_dask(chunks(folder), scheduler=address)


def test_a_scheduler_that_does_not_answer_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens there."""
    import socket

    monkeypatch.setattr(dask_executor, "_CONNECT_S", 0.5)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # taken and not listening
        address = f"tcp://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(FeatureFailed, match=address):
            on_dask(chunks(folder), scheduler=address)


def test_without_dask_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtra, match=r"gapless\[dask\]"):
        on_dask(chunks(folder))


def test_a_script_may_define_what_dask_does(tmp_path: Path) -> None:
    """Dask sends along what the main module defines; one without a guard is told to have one."""
    script = (
        "import json\nfrom gapless.errors import FeatureFailed\nfrom gapless.features.executor import run_chunks\n"
        "def square(n):\n    return n * n\n"
        "def main():\n"
        "    print(json.dumps(sorted(run_chunks(square, range(4), mode='dask', workers=2))))\n"
    )
    (tmp_path / "guarded.py").write_text(f"{script}if __name__ == '__main__':\n    main()\n")
    (tmp_path / "bare.py").write_text(f"{script}main()\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = [
        subprocess.run(
            [sys.executable, tmp_path / name], env=environment, capture_output=True, text=True, timeout=100,
            check=False,
        )
        for name in ("guarded.py", "bare.py")
    ]  # fmt: skip
    assert json.loads(ran[0].stdout) == [[0, 0], [1, 1], [2, 4], [3, 9]]
    assert ran[0].stderr == ""
    assert ran[1].returncode == 1
    assert "Dask could not start its workers" in ran[1].stderr
    assert '`if __name__ == "__main__":`' in ran[1].stderr
