"""A run whose process was killed is read like any other: open, and after recovery."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gapless
from gapless.bluesky.document_source import documents
from gapless.bluesky.stored_run import StoredRun

_CHILD = """
import sys
import gapless
from gapless.bluesky.run_writer import RunWriter
client = gapless.connect(sys.argv[1])
run = RunWriter(client, {"uid": "killed-run", "time": 1.7e9})
keys = {"x": {"source": "s", "dtype": "number", "shape": []}}
run("descriptor", {"uid": "d", "time": 1.7e9, "run_start": "killed-run", "name": "primary", "data_keys": keys})
for n in (2, 1, 3):
    run("event", {"uid": f"e{n}", "descriptor": "d", "seq_num": n, "time": 1.7e9 + n,
                  "data": {"x": float(n)}, "timestamps": {"x": 1.7e9 + n}})
run.flush()
print("durable", flush=True)
sys.stdin.read()
"""


def test_a_killed_run_is_read_before_and_after_recovery(tmp_path: Path) -> None:
    """A killed run is read before and after recovery."""
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "durable\n"
        child.kill()
    with gapless.connect(tmp_path) as client:
        run = StoredRun(client, "killed-run")
        assert (run.state, run.stop) == ("open", None)
        before = list(documents(run))
        client.recover("killed-run")
        run = StoredRun(client, "killed-run")
        assert (run.state, run.outcome, run.stop) == ("sealed", "interrupted", None)
        assert run["primary"].read().column("seq_num").to_pylist() == [1, 2, 3]
        assert list(documents(run)) == before
        names = [name for name, _ in before]
        assert names == ["start", "descriptor", "event", "event", "event"]
        *_, (name, stop) = documents(run, synthesize_stop=True)
        assert (name, stop["exit_status"]) == ("stop", "fail")
