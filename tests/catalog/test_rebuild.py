"""A catalog that was deleted is made again from the folder and answers as before."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gapless
from gapless import IMU, Message, OnErrorPolicy, Sequence, Topic, Vector3d
from gapless.catalog.catalog import Catalog

SITES = ["north", "south", "east"]


def record_store(root: Path) -> None:
    """Record sealed, layered, annotated, pending and discarded sequences."""
    dice = random.Random(7)
    with gapless.connect(root) as client:
        for number in range(12):
            metadata = {
                "site": dice.choice(SITES),
                "run": {"number": number, "ok": number % 3 == 0},
                "tags": ["a", str(number % 4)],
            }
            with client.sequence_create(f"s{number:02d}", metadata, group=f"g{number % 2}") as seq:
                imu = seq.topic_create("imu", {"port": f"p{number % 3}"}, ontology_type=IMU)
                for row in range(50):
                    acceleration = Vector3d(dice.gauss(0, 1) + number, dice.gauss(0, 1), 9.81)
                    imu.push(Message(row * 1_000_000, IMU(acceleration=acceleration)))
                seq.log("level", float(number), unit="m")
        with client.sequence_update("s03", "recalibrated") as layer:
            values = np.full(5, 99.0)
            columns = {f"acceleration.{axis}": values for axis in "xyz"}
            layer.topic_create("imu", ontology_type=IMU).push_columns(np.arange(5), columns)
        client.annotate("s04", 0, 10, "bump", kind="defect", author="me")
        for name, policy in (("kept", OnErrorPolicy.Report), ("gone", OnErrorPolicy.Delete)):
            with pytest.raises(RuntimeError, match="boom"):
                fail_to_record(client, name, policy)


def fail_to_record(client: gapless.Client, name: str, policy: OnErrorPolicy) -> None:
    """Begin a sequence and let an exception end it."""
    with client.sequence_create(name, {"site": "west"}, on_error=policy) as seq:
        seq.log("level", 1.0)
        raise RuntimeError("boom")


def random_expressions(count: int) -> list[Any]:
    """Return queries over metadata, topics and content, many of which find something."""
    dice = random.Random(11)

    def one() -> Any:
        makers: list[Callable[[], Any]] = [
            lambda: Sequence.Q.user_metadata["site"].eq(dice.choice([*SITES, "west"])),
            lambda: Sequence.Q.user_metadata["run.number"].between(
                *sorted([dice.randrange(12), dice.randrange(12)])
            ),
            lambda: Sequence.Q.user_metadata["run.ok"].eq(dice.random() < 0.5),
            lambda: Sequence.Q.user_metadata["tags"].eq(str(dice.randrange(5))),
            lambda: Sequence.Q.name.match(f"s{dice.randrange(2)}*"),
            lambda: Sequence.Q.group.eq(f"g{dice.randrange(3)}"),
            lambda: Topic.Q.user_metadata["port"].eq(f"p{dice.randrange(4)}"),
            lambda: IMU.Q.acceleration.x.gt(dice.uniform(-2, 15)),
            lambda: IMU.Q.acceleration.y.lt(dice.uniform(-2, 2)),
        ]
        return dice.choice(makers)()

    return [one() & one() if dice.random() < 0.5 else one() | one() for _ in range(count)]


def answers(client: gapless.Client, expressions: list[Any]) -> list[Any]:
    """Return what each query finds: sequences, topics and spans."""
    return [
        [(item.name, [(topic.name, list(topic.spans)) for topic in item.topics]) for item in client.query(e)]
        for e in expressions
    ]


def listed(root: Path) -> list[Any]:
    """Return what `ls` and `ls --discarded` would show."""
    with Catalog(root) as catalog:
        catalog.reconcile()
        rows = [
            (r.name, r.state, r.outcome, r.group, r.rows, r.layers, r.content_digest)
            for r in catalog.sequences()
        ]
        gone = [(t["name"], t["rows"], t["error"]) for t in catalog.discarded()]
        labels = len(catalog.annotations())
    return [rows, gone, labels]


def test_a_rebuilt_catalog_answers_as_before(tmp_path: Path) -> None:
    """200 random queries and every list are the same after catalog.db was deleted and made again."""
    record_store(tmp_path)
    expressions = random_expressions(200)
    with gapless.connect(tmp_path) as client:
        before = answers(client, expressions)
    lists = listed(tmp_path)
    for path in tmp_path.glob("catalog.db*"):
        path.unlink()
    with Catalog(tmp_path) as catalog:
        catalog.reindex()
    with gapless.connect(tmp_path) as client:
        assert answers(client, expressions) == before
    assert listed(tmp_path) == lists
    assert sum(bool(found) for found in before) > 50
    assert [row[0] for row in lists[0] if row[1] == "pending"] == ["kept"]
    assert [row[0] for row in lists[1]] == ["gone"]
