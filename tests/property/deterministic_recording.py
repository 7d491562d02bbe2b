"""Records the same producer-stamped rows in a way that dice decide, and prints the digests of what was sealed.

``python deterministic_recording.py FOLDER SEED``: once through the public API, once with small segments and
parts, with another mix of rows, batches, flushes and threads' timing for every seed.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import gapless
from gapless.store import journal
from gapless.store.declaration import TopicDeclaration
from gapless.store.durability import Durability
from gapless.store.layout import Bundle, Cuts
from gapless.store.platform import PLATFORM
from gapless.store.seal import seal
from gapless.store.writer import BundleWriter
from gapless.testing.sample import COUNTS, IMAGES, MOTION, NOTES, SampleTopic

ROWS = {MOTION: 2500, COUNTS: 700, NOTES: 90, IMAGES: 150}


def late(topic: SampleTopic, k: int) -> int:
    """Return which row comes ``k``-th: now and then two blocks of ten change places."""
    block, place = divmod(k, 10)
    if block % 7 == 3 and (k - place + 20) <= ROWS[topic]:
        return (block + 1) * 10 + place
    if block % 7 == 4:
        return (block - 1) * 10 + place
    return k


def with_client(folder: Path, dice: random.Random) -> str:
    """Record through the public API and return the content digest."""
    knobs: dict[str, Any] = {
        "flush_ms": dice.choice([1, 30, 250]),
        "flush_bytes": dice.choice([2000, 1 << 20]),
    }
    with gapless.connect(folder, **knobs) as client:
        with client.sequence_create("same", group="g", metadata={"b": 1, "a": {"z": None, "y": "ü"}}) as seq:
            writers = {t: seq.topic_create(t.name, {"x": 1}, schema=t.schema) for t in ROWS}
            done = dict.fromkeys(ROWS, 0)
            while left := [t for t in ROWS if done[t] < ROWS[t]]:
                topic = dice.choice(left)
                count = min(ROWS[topic] - done[topic], dice.choice([1, 7, 100, 900]))
                first = done[topic]
                if dice.random() < 0.5:
                    rows = [topic.row(late(topic, k)) for k in range(first, first + count)]
                    columns = dict(
                        zip(topic.schema.names[1:], list(zip(*rows, strict=True))[1:], strict=True)
                    )
                    writers[topic].push_columns(
                        [r[0] for r in rows], {n: list(v) for n, v in columns.items()}
                    )
                else:
                    for k in range(first, first + count):
                        writers[topic].push_row(*topic.row(late(topic, k)))
                done[topic] += count
                if dice.random() < 0.2:
                    seq.flush()
                if dice.random() < 0.1:
                    time.sleep(dice.random() / 300)
        return str(seq.content_digest)


def with_small_parts(folder: Path, dice: random.Random) -> str:
    """Record with small parts, sealed in the background in segments of another size, and return the digest."""
    folder.mkdir()
    header = journal.make_header("same", platform=PLATFORM)
    writer = BundleWriter(
        Bundle(folder),
        header,
        durability=Durability(flush_ms=dice.choice([1, 20])),
        segment_bytes=dice.choice([3000, 20_000, 1 << 20]),
        cuts=Cuts(group_rows=100, group_bytes=16 << 10, part_groups=3, part_bytes=128 << 10),
    )
    ontology = {"tag": None, "version": 1, "fingerprint": ""}
    lanes = {
        t: writer.lane(writer.declare(TopicDeclaration(16 + i, t.name, t.schema, ontology)))
        for i, t in enumerate(ROWS)
    }
    done = dict.fromkeys(ROWS, 0)
    while left := [t for t in ROWS if done[t] < ROWS[t]]:
        topic = dice.choice(left)
        for _ in range(min(ROWS[topic] - done[topic], dice.choice([1, 50, 400]))):
            lanes[topic].push_row(*topic.row(late(topic, done[topic])))
            done[topic] += 1
        if dice.random() < 0.4:
            writer.flush()
    writer.close({"outcome": "completed", "cause": None})
    assert writer.sealer is not None
    sealer = writer.sealer.stop(10)
    sealer.take(sealer.read_segment(writer.segments.close()))
    manifest = seal(Bundle(folder), header, sealer, PLATFORM)
    writer.release()
    return str(manifest["content_digest"])


def files(folder: Path) -> dict[str, str]:
    """Return the digest of every topic and pyramid file but ``_health``, whose rows tell of timing."""
    found = sorted(p for kind in ("topics", "pyramids") for p in folder.glob(f"{kind}/**/*.parquet"))
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in found
        if "health" not in p.as_posix()
    }


def main() -> None:
    """Record twice and print the digests as one JSON line."""
    folder, dice = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
    digests = [with_client(folder / "store", dice), with_small_parts(folder / "small", dice)]
    contents = [files(folder / "store" / "sequences" / "same"), files(folder / "small")]
    print(json.dumps([digests, contents]))


if __name__ == "__main__":
    main()
