"""The plans of examples/06_bluesky.py into a real Tiled server that dies in the middle and comes back."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from tests.bluesky.tiled_server import TiledServer, environment

from gapless.bluesky import TiledWriter

ROOT = Path(__file__).resolve().parents[2]
EVENTS_UNTIL_THE_KILL = 40

pytestmark = pytest.mark.filterwarnings("ignore:.* not on the Tiled server")


@pytest.fixture
def example() -> ModuleType:
    """Load the example as a module."""
    spec = importlib.util.spec_from_file_location("example_06", ROOT / "examples" / "06_bluesky.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Killer:
    """Kills the server from another thread when so many events have come."""

    def __init__(self, server: TiledServer) -> None:
        self._server = server
        self._events = 0
        self.thread = threading.Thread(target=server.kill)

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        """Count an event."""
        self._events += name == "event"
        if self._events == EVENTS_UNTIL_THE_KILL and not self.thread.ident:
            self.thread.start()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore")  # Tiled's packages warn of each other
def test_a_server_that_dies_in_the_middle_has_every_run_once_in_the_end(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it lacks waits in the store; whoever opens it next sends it, and a second time changes nothing."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tiled.client.utils.TILED_RETRY_ATTEMPTS", 2)
    seen = example.Seen()
    with TiledServer(tmp_path / "server", readable=tmp_path) as server:
        writer = TiledWriter.from_uri(server.url, backup_directory=tmp_path / "store")
        killer = Killer(server)
        engine: Any = RunEngine()
        for callback in (writer, seen, killer):
            engine.subscribe(callback)
        example.measure(engine, example.Bench(tmp_path / "camera"))
        killer.thread.join()
        writer.close(2.0)
        for thread in threading.enumerate():
            if thread.name == "gapless-bluesky-tiled":  # it waits for the server's answer until it gives up
                thread.join(100)
        server.start()
        for _ in range(2):
            TiledWriter.from_uri(server.url, backup_directory=tmp_path / "store").close(120)
            root = server.client()
            assert len(seen.runs) == len(root) == 9
            for uid, streams in seen.runs.items():
                check_run(root[uid], streams, seen.frames.get(uid, 0))


def check_run(run: Any, streams: dict[str, dict[str, dict[int, Any]]], frames: int) -> None:
    """Compare what the server holds of a run with what was seen of it."""
    assert "stop" in run.metadata
    for name, columns in streams.items():
        if columns:
            table = run[name].base["internal"].read()
            for key, values in columns.items():
                assert dict(zip(table["seq_num"], table[key], strict=True)) == values
                assert len(table) == len(values)
    if frames:
        assert np.asarray(run["primary"]["camera"].read()).shape[0] == frames
