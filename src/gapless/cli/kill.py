"""`gapless demo --kill`: kill a recording child at a random moment and compare what came back.

An acknowledged row is one that the child was told is durable and could still say so. It must come back
with every value; rows that were never acknowledged may or may not.
"""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from gapless.cli import description, kill_child, options, output
from gapless.cli.imu_source import PERIOD_NS, ImuSource
from gapless.cli.show import ledger_text
from gapless.errors import RecordingFailed

_START_LIMIT_S = 60.0
_MOMENT_S = (0.3, 3.0)


@dataclass(frozen=True)
class _Run:
    """What decides every row of one child."""

    name: str
    seed: int
    start_ns: int


@dataclass(frozen=True)
class Outcome:
    """What one kill left: rows offered and acknowledged by the child, rows recovered, first wrong row."""

    offered: int
    acknowledged: int
    recovered: int
    wrong: tuple[str, ...]

    @property
    def lost(self) -> int:
        """Acknowledged rows that did not come back."""
        return max(0, self.acknowledged - self.recovered)


def demonstrate(root: Path, times: int) -> int:
    """Kill, recover and compare; return 1 if any acknowledged row is missing or different."""
    broken = 0
    for number in range(1, times + 1):
        broken += not _once(root, f"{number}/{times}")
    if times > 1:
        output.say(f"{times} kills, {broken} broken promises")
    return int(broken > 0)


def _once(root: Path, label: str) -> bool:
    from gapless.cli.host_recorder import free_name
    from gapless.store.verify import verify

    name, seed = free_name(root, "demo-kill"), random.SystemRandom().randrange(1 << 30)
    run = _Run(name, seed, time.time_ns())
    after_s, reports = _record_and_kill(root, run)
    output.say(f"kill {label}  {name}: SIGKILL after {after_s:.2f} s of recording")
    with options.connect(root) as client:
        client.recover(name)
    outcomes = _compare(root, run, reports)
    known = description.describe(options.bundle_path(root, name))
    findings = verify(options.bundle_path(root, name), deep=True)
    for topic, outcome in outcomes.items():
        gone = max(0, outcome.offered - max(outcome.acknowledged, outcome.recovered))
        extra = max(0, outcome.recovered - outcome.acknowledged)
        output.say(f"  {topic}")
        output.say(f"    {outcome.acknowledged:>9,} rows acknowledged, {outcome.lost:,} of them lost")
        output.say(f"    {outcome.recovered:>9,} rows recovered and compared value for value")
        output.say(f"    {extra:>9,} of these not acknowledged; {gone:,} unacknowledged rows are gone")
        for problem in outcome.wrong:
            output.say(f"    {output.styled('WRONG', 'red')} {problem}")
    output.say(f"  {ledger_text(known['ledger'])}")
    output.say(f"  outcome {known['outcome']}; verify has {len(findings) or 'no'} findings")
    for finding in findings:
        output.say(f"    {finding.code} {finding.message}")
    intact = all(finding.severity != "error" for finding in findings)
    kept = intact and all(not o.lost and not o.wrong for o in outcomes.values())
    verdict = ("no acknowledged row was lost", "green") if kept else ("BROKEN PROMISE", "red")
    output.say(f"  {output.styled(*verdict)}")
    return kept


def _record_and_kill(root: Path, run: _Run) -> tuple[float, dict[str, tuple[int, int]]]:
    """Run the child and kill it at a random moment; return when, and (offered, acknowledged) per topic."""
    command = [sys.executable, "-m", "gapless.cli.kill_child", str(root.absolute())]
    command += [run.name, str(run.seed), str(run.start_ns)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert child.stdout is not None
    try:
        first = _first_report(child)
        begin_s = time.monotonic()
        after_s = random.uniform(*_MOMENT_S)
        received = first + _read_for(child.stdout.fileno(), after_s)
        killed_s = time.monotonic()
        os.kill(child.pid, signal.SIGKILL)
        received += child.stdout.read()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    last = received[: received.rfind(b"\n")].rsplit(b"\n", 1)[-1]
    rows, rows_durable, notes, notes_durable = map(int, last.split())
    reports = {kill_child.MOTION: (rows, rows_durable), kill_child.NOTES: (notes, notes_durable)}
    return killed_s - begin_s, reports


def _first_report(child: subprocess.Popen[bytes]) -> bytes:
    assert child.stdout is not None
    ready, _, _ = select.select([child.stdout], [], [], _START_LIMIT_S)
    data = os.read(child.stdout.fileno(), 65_536) if ready else b""
    if b"\n" not in data:
        raise RecordingFailed(
            "the recording child did not start",
            found=f"exit code {child.poll()}",
            next_step="`gapless doctor`",
        )
    return data


def _read_for(descriptor: int, length_s: float) -> bytes:
    """Read the reports for some time, so that a full pipe never holds the child up."""
    received, end_s = b"", time.monotonic() + length_s
    while (left_s := end_s - time.monotonic()) > 0:
        ready, _, _ = select.select([descriptor], [], [], left_s)
        if ready:
            data = os.read(descriptor, 65_536)
            if not data:
                raise RecordingFailed("the recording child ended by itself", next_step="`gapless doctor`")
            received = received[-256:] + data
    return received


def _compare(root: Path, run: _Run, reports: dict[str, tuple[int, int]]) -> dict[str, Outcome]:
    from gapless.store.reader import open_bundle

    reader = open_bundle(options.bundle_path(root, run.name))
    source = ImuSource(run.seed)

    def expected_motion(k: int) -> tuple[object, ...]:
        return (run.start_ns + k * PERIOD_NS, *source.row(k))

    def expected_note(k: int) -> tuple[object, ...]:
        return (run.start_ns + k * kill_child.NOTE_EVERY * PERIOD_NS, kill_child.note(k))

    out = {}
    for topic, expected in ((kill_child.MOTION, expected_motion), (kill_child.NOTES, expected_note)):
        recovered = 0
        wrong: list[str] = []
        batches = reader.topics[topic].scan() if topic in reader.topics else ()
        for batch in batches:
            columns = [column.to_pylist() for column in batch.columns]
            for row in zip(*columns, strict=True):
                if row != expected(recovered) and len(wrong) < 3:
                    wrong.append(f"row {recovered} is {row}, was {expected(recovered)}")
                recovered += 1
        out[topic] = Outcome(*reports[topic], recovered, tuple(wrong))
    return out
