"""A server that is killed keeps what uploads were told is stored, and completes nothing; many clients at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyarrow import flight

import gapless

from .caller import Caller, readings
from .conftest import Serve

SERVE = """
import sys, time
from pathlib import Path
from gapless.serve.mosaico.door import Mosaico
from gapless.serve.server import Server

server = Server(Path(sys.argv[1]), port=0, doors=[Mosaico])
server.start()
print(server.url, flush=True)
time.sleep(600)
"""


@pytest.mark.crash
def test_what_was_uploaded_outlives_the_server(tmp_path: Path) -> None:
    """Committed sequences are complete; the one in the making is open, and recovered as interrupted."""
    environment = {**os.environ, "PYTHONPATH": str(Path(gapless.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        caller = Caller(SimpleNamespace(url=url))  # type: ignore[arg-type]
        caller.write("done", readings(*range(100)))
        session = caller.open("making")
        caller.put("making/t", caller.topic(session, "making/t"), readings(*range(1000)))
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    with pytest.raises(flight.FlightUnavailableError):
        caller.ask("session_finalize", session_uuid=session)
    caller.close()
    with gapless.connect(tmp_path) as client:
        assert client.sequence_handler("done").outcome == "completed"
        handler = client.sequence_handler("making")
        assert (handler.state, handler.topic("t").rows) == ("open", 1000)
        client.recover("making")
        handler.reload()
        assert (handler.outcome, handler.topic("t").rows) == ("interrupted", 1000)
        assert client.verify("making", deep=True) == []


def test_many_clients_write_and_read_at_one_time(serve: Serve) -> None:
    """Each has its own sequence; nobody waits for another's end."""
    first = serve()
    failed: list[BaseException] = []

    def work(number: int) -> None:
        caller = Caller(first.server)
        try:
            for turn in range(3):
                name = f"s{number}-{turn}"
                caller.write(name, *(readings(*range(n, n + 50)) for n in range(0, 500, 50)))
                assert caller.times(f"{name}/t") == list(range(500))
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            failed.append(error)
        finally:
            caller.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert failed == []
    assert len(first.names()) == 36
