"""Forks writing children from a clean process with one thread, kills each at a random time, and tells what they said.

Run as a script: for each JSON line on stdin ``{"store", "name", "seed", "kill_after_s", "recover"}`` one child
records (or, with a path under ``recover``, recovers that bundle) until it is killed. The answer on stdout is a
JSON line with its acknowledged rows: the greatest count of each topic that it reported as durable.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import gapless
import gapless.catalog.catalog  # every import is paid once, before the first fork
from gapless.client.topic_writer import TopicWriter
from gapless.errors import GaplessError
from gapless.store import journal
from gapless.store.declaration import TopicDeclaration
from gapless.store.durability import Durability
from gapless.store.folder import FolderStore
from gapless.store.layout import Cuts
from gapless.store.platform import PLATFORM
from gapless.store.recover import recover
from gapless.store.writer import BundleWriter
from gapless.testing.sample import IMAGES, TOPICS

SMALL = Cuts(group_rows=64, group_bytes=16 << 10, part_groups=2, part_bytes=64 << 10)


def report(pipe: int, counts: list[int]) -> None:
    """Write the durable rows of each topic; short enough that the pipe takes it whole or not at all."""
    os.write(pipe, (" ".join(map(str, counts)) + "\n").encode())


def record_with_client(store: str, name: str, dice: random.Random, pipe: int) -> None:
    """Record through the public API: rows, columns, batches, logs; slow or fast; flushes now and then."""
    knobs: dict[str, Any] = {
        "flush_ms": dice.choice([2, 20, 250]),
        "flush_bytes": dice.choice([4 << 10, 1 << 20]),
    }
    slow = dice.random() < 0.4
    with (
        gapless.connect(store, **knobs) as client,
        client.sequence_create(name, metadata={"a": [1, {"b": "ü"}]}) as seq,
    ):
        topics = [seq.topic_create(topic.name, schema=topic.schema) for topic in TOPICS]
        pushed = [0] * len(TOPICS)
        while True:
            which = dice.choice([0, 0, 0, 0, 1, 2, 3])
            pushed[which] += push_some(topics[which], which, pushed[which], dice, 5 if slow else 300)
            if dice.random() < 0.1:
                before = list(pushed)
                (seq if dice.random() < 0.5 else topics[0]).flush()
                report(pipe, before)
            elif dice.random() < 0.3:
                report(pipe, [topic.durable_rows for topic in topics])
            if slow:
                time.sleep(dice.random() * 0.003)


def push_some(writer: TopicWriter, which: int, start: int, dice: random.Random, most: int) -> int:
    """Push some rows of a sample topic, one by one or as a block, and return how many."""
    topic = TOPICS[which]
    count = dice.randint(1, most if topic is not IMAGES else 1 + most // 50)
    if dice.random() < 0.3:
        writer.push_batch(topic.batch(start, start + count))
        return count
    for k in range(start, start + count):
        writer.push_row(*topic.row(k))
    return count


def record_with_small_parts(store: str, name: str, dice: random.Random, pipe: int) -> None:
    """Record with tiny segments and parts, so that kills meet rolls, background sealing and carried segments."""
    bundle = FolderStore(Path(store)).reserve(name)
    writer = BundleWriter(
        bundle,
        journal.make_header(name, platform=PLATFORM),
        durability=Durability(flush_ms=dice.choice([2, 20])),
        segment_bytes=dice.choice([4 << 10, 16 << 10]),
        cuts=SMALL,
    )
    states = [
        writer.declare(
            TopicDeclaration(16 + i, topic.name, topic.schema, {"tag": None, "version": 1, "fingerprint": ""})
        )
        for i, topic in enumerate(TOPICS)
    ]
    lanes = [writer.lane(state) for state in states]
    pushed = [0] * len(TOPICS)
    weights = [60, 20, 1, 3]
    while True:
        (which,) = dice.choices(range(len(TOPICS)), weights)
        for _ in range(dice.randint(1, 30)):
            lanes[which].push_row(*TOPICS[which].row(pushed[which]))
            pushed[which] += 1
        if dice.random() < 0.3:
            before = list(pushed)
            writer.flush()
            report(pipe, before)
        else:
            report(pipe, [state.durable_rows for state in states])


def child(job: dict[str, Any], pipe: int) -> None:
    """Record until killed."""
    dice = random.Random(job["seed"])
    if job["recover"] is not None:
        recover(Path(job["recover"]), cuts=SMALL)
        return
    record = record_with_small_parts if job["seed"] % 2 else record_with_client
    record(job["store"], job["name"], dice, pipe)


def run_one(job: dict[str, Any]) -> list[int]:
    """Fork a child, kill it after its time, and return the greatest acknowledged count of each topic."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        status = 1
        try:
            child(job, write)
            status = 0
        except (GaplessError, OSError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            os.write(write, f"error {error!r}\n".encode()[:4000])
        finally:
            os._exit(status)
    os.close(write)
    acknowledged = [0] * len(TOPICS)
    with os.fdopen(read, "rb") as pipe:
        end = time.monotonic() + job["kill_after_s"]
        lines: list[bytes] = []
        os.set_blocking(pipe.fileno(), False)
        held = b""
        while time.monotonic() < end:
            held += pipe.read() or b""
            time.sleep(0.001)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.set_blocking(pipe.fileno(), True)
        lines = (held + pipe.read()).splitlines()
    for line in lines:
        if line.startswith(b"error"):
            raise SystemExit(line.decode())
        acknowledged = [max(a, int(b)) for a, b in zip(acknowledged, line.split(), strict=True)]
    return acknowledged


def main() -> None:
    """Serve jobs until stdin ends."""

    for line in sys.stdin:
        job = json.loads(line)
        print(json.dumps(run_one(job)), flush=True)


if __name__ == "__main__":
    main()
