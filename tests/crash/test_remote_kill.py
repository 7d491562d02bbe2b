"""SIGKILL of server and client at any instant: what was accepted is there once, what was not ended is not sealed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest
from tests.crash.remote_kill_child import file_bytes, table

import gapless
from gapless.cli.main import main
from gapless.client.remote.spool import SpoolStore
from gapless.client.sequence_handler import SequenceHandler

KILLS: Final = int(os.environ.get("GAPLESS_KILLS", "12"))
CHILD: Final = Path(__file__).with_name("remote_kill_child.py")
PATIENCE_S: Final = 180.0
LEASES_S: Final = (0.3, 60.0)


class Children:
    """Processes that serve or record; whichever is left is killed in the end."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self._alive: set[int] = set()

    def _ask(self, **job: Any) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def start(self, job: str, **words: Any) -> int:
        """Start a process and return its pid."""
        pid = self._ask(job=job, **words)
        self._alive.add(pid)
        return pid

    def wait(self, pid: int) -> int:
        """Return the exit status of a process that ends."""
        self._alive.discard(pid)
        return self._ask(job="wait", pid=pid)

    def kill(self, pid: int) -> None:
        """End a process by SIGKILL."""
        os.kill(pid, signal.SIGKILL)
        self.wait(pid)

    def close(self) -> None:
        """End all."""
        for pid in list(self._alive):
            self.kill(pid)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait(PATIENCE_S) == 0


@pytest.fixture
def children() -> Iterator[Children]:
    """A process that forks the others."""
    found = Children()
    yield found
    found.close()


class Trial:
    """One recording over the network, and those who are killed in it."""

    def __init__(self, children: Children, path: Path, seed: int) -> None:
        self.path = path
        self.root = path / "store"
        self.spool = path / "spool"
        self.dice = random.Random(seed)
        self.kills = 0
        self.accepted_rows = 0
        self._seed = seed
        self._children = children
        self._servers = 0
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._port = int(listener.getsockname()[1])
        self._lease_s = self.dice.choice(LEASES_S)
        path.mkdir()
        self.start_server()

    # -- who takes part --------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where the server is, or will be again."""
        return f"grpc://127.0.0.1:{self._port}"

    def start_server(self) -> None:
        """Start a server on the trial's port and return when it serves."""
        words = self.path / f"server-{self._servers}"
        self._servers += 1
        self._server = self._children.start(
            "serve", root=str(self.root), port=self._port, lease_s=self._lease_s, words=str(words)
        )
        wait_for(lambda: lines(words), "the server serves")
        assert "serving" in lines(words)[0], lines(words)

    def kill_server(self) -> None:
        """SIGKILL the server."""
        self._children.kill(self._server)
        self.kills += 1

    def stop_server(self) -> None:
        """End the server in order."""
        os.kill(self._server, signal.SIGTERM)
        assert self._children.wait(self._server) == 0

    def start_client(self, *, spool: bool = False) -> None:
        """Start to record."""
        self._client = self._children.start(
            "record",
            url=self.url,
            seed=self._seed,
            spool=str(self.spool) if spool else None,
            stop=str(self.path / "stop"),
            words=str(self.path / "client"),
        )

    def kill_client(self) -> None:
        """SIGKILL the client."""
        self._children.kill(self._client)
        self.kills += 1

    def finish_client(self) -> None:
        """Let the client end its recording in order."""
        self.ask_to_end()
        assert self._children.wait(self._client) == 0, self.said("error")

    def ask_to_end(self) -> None:
        """Tell the client to end its recording."""
        (self.path / "stop").touch()

    def pause(self, most_s: float = 0.6) -> None:
        """Let them work for a random time."""
        time.sleep(self.dice.uniform(0.0, most_s))

    def let_begin(self) -> None:
        """Let them work for a random time, mostly until rows have been accepted."""
        if self.dice.random() < 0.8:
            wait_for(lambda: any(self.accepted().values()), "rows are accepted")
        self.pause()

    def said(self, word: str) -> list[Any]:
        """Return what the client said of one kind."""
        found = lines(self.path / "client")
        return [line[word] for line in found if word in line]

    # -- what must be there ----------------------------------------------------------------------

    def accepted(self) -> dict[str, int]:
        """Return how many rows of each topic the client heard to be accepted."""
        found: dict[str, int] = {}
        for counts in self.said("accepted"):
            found |= {name: max(rows, found.get(name, 0)) for name, rows in counts.items()}
        return found

    def check_complete(self) -> None:
        """Every row that was pushed is there once, and the sequence is sealed as completed."""
        (pushed,) = self.said("ended")
        with gapless.connect(self.root) as client:
            handler = client.sequence_handler("run")
            assert (handler.state, handler.outcome) == ("sealed", "completed")
            assert {name for name in handler.topics if not name.startswith("_")} == set(pushed)
            for name, rows in pushed.items():
                assert stored(handler, name).equals(table(name, rows)), name
                ledger = handler.topic(name).ledger
                assert (ledger["written"], ledger["dropped"]) == (rows, 0)
            gapped = sum(handler.topic(name).ledger["gapped"] for name in pushed)
            assert gapped == self.said("notes")[0], "every gap is noted once"
            assert set(handler.artifacts) == set(self.said("artifact"))
            self._check_files(handler)
            assert client.verify("run", deep=True) == []
        self.accepted_rows += sum(pushed.values())

    def check_recovered(self) -> None:
        """Every accepted row comes back, once and in order; complete is only what the client ended."""
        accepted = self.accepted()
        self.accepted_rows += sum(accepted.values())
        with gapless.connect(self.root) as client:
            if not client.sequence_exists("run"):
                assert not self.said("begun"), "a sequence that was begun is gone"
                return
            assert client.sequence_handler("run").outcome in (None, *self._allowed())
        assert main(["recover", "run", "--store", str(self.root)]) == 0
        with gapless.connect(self.root) as client:
            handler = client.sequence_handler("run")
            assert handler.state == "sealed"
            assert handler.outcome in ("interrupted", *self._allowed())
            due = accepted if handler.outcome == "interrupted" else self.said("ending")[0]
            for name, rows in due.items():
                found = stored(handler, name) if name in handler.topics else table(name, 0)
                assert found.num_rows >= rows, (
                    f"{name}: {rows} rows were accepted, {found.num_rows} are there"
                )
                assert found.equals(table(name, found.num_rows)), name
            self._check_files(handler)
            findings = client.verify("run", deep=True)
            assert [f for f in findings if f.code != "V015" or "torn" not in f.message] == []

    def _check_files(self, handler: SequenceHandler) -> None:
        for name in self.said("artifact"):
            assert handler.artifact_path(name).read_bytes() == file_bytes(name), name

    def _allowed(self) -> tuple[str, ...]:
        """Return the outcomes that the client may have asked for."""
        return ("completed",) if self.said("ending") else ()


def stored(handler: SequenceHandler, topic: str) -> pa.Table:
    """Return the rows of a topic, without what the recorder added."""
    found = handler.topic(topic).to_arrow()
    return found.select(table(topic, 0).column_names).combine_chunks()


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the JSON lines of a file that may not be there yet."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def wait_for(condition: Callable[[], Any], what: str) -> None:
    """Return when the condition holds; fail when that takes too long for any machine."""
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up, what
        time.sleep(0.01)


# -- who is killed ---------------------------------------------------------------------------------


def server_dies(trial: Trial) -> None:
    """Kill the server again and again; the client goes on with the next one and finishes."""
    trial.start_client()
    trial.let_begin()
    for _ in range(trial.dice.randint(1, 4)):
        trial.pause()
        trial.kill_server()
        trial.pause(0.2)
        trial.start_server()
    trial.pause()
    trial.finish_client()
    trial.stop_server()
    trial.check_complete()


def server_dies_at_the_end(trial: Trial) -> None:
    """Kill the server while the client waits for its seal; it asks the next one."""
    trial.start_client()
    trial.let_begin()
    trial.ask_to_end()
    wait_for(lambda: trial.said("ending"), "the client ends its recording")
    trial.pause(0.3)
    trial.kill_server()
    trial.start_server()
    trial.finish_client()
    trial.stop_server()
    trial.check_complete()


def client_dies(trial: Trial) -> None:
    """Kill the client; the server lets go of what it left, by itself, asked to or killed as well."""
    trial.start_client()
    trial.let_begin()
    if trial.dice.random() < 0.25:
        trial.ask_to_end()
        trial.pause(0.2)
    trial.kill_client()
    trial.pause(0.2)
    if trial.dice.random() < 0.5:
        trial.stop_server()
    else:
        trial.kill_server()
    trial.check_recovered()


def both_die(trial: Trial) -> None:
    """Kill both, one shortly after the other, also after a first server has died."""
    trial.start_client()
    trial.let_begin()
    if trial.dice.random() < 0.5:
        trial.kill_server()
        trial.start_server()
        trial.pause()
    victims = [trial.kill_server, trial.kill_client]
    trial.dice.shuffle(victims)
    for kill in victims:
        kill()
        trial.pause(0.05)
    trial.check_recovered()


def server_dies_and_the_spool_goes_on(trial: Trial) -> None:
    """Kill the server for long enough that the client's spool takes over; what it holds is delivered later."""
    trial.start_client(spool=True)
    wait_for(lambda: trial.said("begun"), "the recording begins")
    trial.let_begin()
    trial.kill_server()
    trial.finish_client()
    trial.start_server()
    words = ["deliver", "--spool", str(trial.spool), "--to", trial.url]
    assert main(words) == 0
    assert SpoolStore(trial.spool).waiting() == []
    trial.stop_server()
    trial.check_complete()


DEATHS: Final = (
    server_dies,
    client_dies,
    server_dies,
    both_die,
    server_dies_at_the_end,
    client_dies,
    server_dies_and_the_spool_goes_on,
)


@pytest.mark.crash
@pytest.mark.timeout(120 + 12 * KILLS)
def test_every_accepted_row_is_there_once_after_random_kills_of_client_and_server(
    tmp_path: Path, children: Children
) -> None:
    """Packed, general and numbered topics at full speed; the parent knows what the client heard before it died."""
    seed = int(os.environ.get("GAPLESS_SEED", random.SystemRandom().randrange(10**6)))
    kills = accepted_rows = 0
    for death in _endless(DEATHS):
        trial = Trial(children, tmp_path / str(seed), seed)
        try:
            death(trial)
        except BaseException as error:
            error.add_note(f"{death.__name__}, GAPLESS_SEED={seed}, {trial.path}")
            raise
        kills += trial.kills
        accepted_rows += trial.accepted_rows
        shutil.rmtree(trial.path)
        seed += 1
        if kills >= KILLS:
            break
    assert accepted_rows > kills


def _endless(deaths: tuple[Callable[[Trial], None], ...]) -> Iterator[Callable[[Trial], None]]:
    while True:
        yield from deaths
