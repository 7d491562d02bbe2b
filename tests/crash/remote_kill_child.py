"""Forks servers and recording clients from a clean process with one thread, so that each starts at once.

Run as a script: for each JSON line on stdin ``{"job": "serve" | "record" | "wait", ...}`` one JSON line is the
answer: the pid of the new process, or the exit status of one that has ended (minus the signal that ended it).
A process tells what it has to say in a file, line by line, which outlives its SIGKILL.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import gapless
import gapless.client.remote.deliver  # every import is paid once, before the first fork
import gapless.client.remote.uplink
from gapless.client.sequence_writer import SequenceWriter
from gapless.client.topic_writer import TopicWriter
from gapless.serve.limits import Limits
from gapless.serve.server import Server, standing_doors

PACKED = pa.schema([pa.field("x", pa.float64()), pa.field("n", pa.int64())])
GENERAL = pa.schema([pa.field("s", pa.string()), pa.field("n", pa.int64())])
SCHEMAS = {"packed": PACKED, "general": GENERAL, "numbered": PACKED}
_MOST_ROWS = 1_000_000  # of a topic; the checks read every one
_MOST_FILES = 5


class Words:
    """A file of JSON lines; a line is in it whole or not at all."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def say(self, **words: Any) -> None:
        """Add a line."""
        os.write(self._fd, json.dumps(words).encode() + b"\n")


def serve(job: dict[str, Any], words: Words) -> None:
    """Serve until killed, or until SIGTERM asks to end in order."""
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    limits = Limits(lease_s=job["lease_s"])
    server = Server(Path(job["root"]), "127.0.0.1", job["port"], limits=limits, doors=standing_doors())
    server.start()
    words.say(serving=server.port)
    while not asked.wait(0.05):
        pass
    server.stop(5)


def columns(topic: str, first: int, stop: int) -> dict[str, Any]:
    """Return the values of the rows from ``first`` to ``stop``, without time: each row is told by its number."""
    numbers = np.arange(first, stop)
    if SCHEMAS[topic] is GENERAL:
        return {"s": [f"row {n}" for n in range(first, stop)], "n": numbers}
    return {"x": numbers * 0.5, "n": numbers}


def table(topic: str, rows: int) -> pa.Table:
    """Return all rows of a topic as they must be stored, without what the recorder adds."""
    return pa.table(columns(topic, 0, rows), SCHEMAS[topic])


class Producer:
    """Pushes rows of one topic, one by one, as columns or as a batch."""

    def __init__(self, writer: TopicWriter) -> None:
        self.writer = writer
        self.pushed = 0

    def push(self, dice: random.Random, most: int) -> None:
        """Push some rows."""
        topic, first = self.writer.name, self.pushed
        stop = first + dice.randint(1, most)
        numbered = topic == "numbered"
        if dice.random() < 0.5:
            seq = {"seq": np.arange(first, stop)} if numbered else {}
            self.writer.push_columns(np.arange(first, stop), columns(topic, first, stop), **seq)
        else:
            for n in range(first, stop):
                value = f"row {n}" if topic == "general" else n * 0.5
                self.writer.push_row(n, *([n] if numbered else []), value, n)
        self.pushed = stop


def record(job: dict[str, Any], words: Words) -> None:
    """Record at full speed until the file ``stop`` is there, telling all the time what is accepted."""
    dice = random.Random(job["seed"])
    spool = None if job["spool"] is None else Path(job["spool"])
    knobs: dict[str, Any] = {"flush_ms": dice.choice([2, 20, 250]), "deadline_s": 120.0}
    knobs["max_unsynced_bytes"] = dice.choice([1 << 20, 64 << 20])
    with gapless.connect(job["url"], spool=spool, **knobs) as client:
        with client.sequence_create("run", {"a": [1, {"b": "ü"}]}) as seq:
            words.say(begun=True)
            pushed, notes = push_until_stopped(seq, dice, job, words)
            if dice.random() < 0.5:
                seq.flush()
            words.say(ending=pushed, notes=notes)
        words.say(ended=pushed)


def push_until_stopped(
    seq: SequenceWriter, dice: random.Random, job: dict[str, Any], words: Words
) -> tuple[dict[str, int], int]:
    """Push to one to three topics; return how many rows each has and how many gaps were noted."""
    names = dice.sample(sorted(SCHEMAS), dice.randint(1, 3))
    producers = [
        Producer(seq.topic_create(name, schema=SCHEMAS[name], producer_seq=name == "numbered"))
        for name in names
    ]
    stop, most, notes, files, told_s = Path(job["stop"]), dice.choice([20, 3000]), 0, 0, 0.0
    while not stop.exists():
        producer = dice.choice(producers)
        if producer.pushed < _MOST_ROWS:
            producer.push(dice, most)
        else:
            time.sleep(0.005)
        if dice.random() < 0.01:
            producer.writer.gap(1, f"pause {notes}", durable=dice.random() < 0.2)
            notes += 1
        if dice.random() < 0.003 and files < _MOST_FILES:
            words.say(artifact=add_file(seq, stop.parent, files))
            files += 1
        if dice.random() < 0.005:
            seq.flush()
            words.say(accepted={p.writer.name: p.pushed for p in producers if job["spool"] is None})
        if time.monotonic() - told_s > 0.002:
            words.say(accepted={p.writer.name: p.writer.accepted_rows for p in producers})
            told_s = time.monotonic()
    return {p.writer.name: p.pushed for p in producers}, notes


def add_file(seq: SequenceWriter, folder: Path, number: int) -> str:
    """Add a file whose bytes tell its name; return the name when it is durable."""
    name = f"file {number}"
    path = folder / name
    path.write_bytes(file_bytes(name))
    return seq.add_artifact(path)


def file_bytes(name: str) -> bytes:
    """Return what is in a file of this name."""
    return name.encode() * 50_000


JOBS = {"serve": serve, "record": record}


def fork(job: dict[str, Any]) -> int:
    """Return the pid of a new process that does the job."""
    pid = os.fork()
    if pid:
        return pid
    words, status = Words(job["words"]), 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(0, 1)
        JOBS[job["job"]](job, words)
        status = 0
    except BaseException:  # noqa: BLE001 - the fork's boundary: nothing of the parent may run in it
        words.say(error=traceback.format_exc())
    finally:
        os._exit(status)


def main() -> None:
    """Do jobs until stdin ends."""
    for line in sys.stdin:
        job = json.loads(line)
        if job["job"] == "wait":
            _, status = os.waitpid(job["pid"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = fork(job)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
