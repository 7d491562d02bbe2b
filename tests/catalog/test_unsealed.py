"""Open sequences are found by what is durable in them, without disturbing their writer."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

import gapless
from gapless.catalog import Catalog
from gapless.model.expression import Field, Sequence, Topic


def test_an_open_sequence_is_listed_and_searched(tmp_path: Path) -> None:
    """Another catalog sees the state, the metadata and the durable rows of a sequence being written."""
    schema = pa.schema([("timestamp_ns", pa.int64()), ("x", pa.float64())])
    with gapless.connect(str(tmp_path)) as client:
        with client.sequence_create("live", metadata={"a": {"b": 1}}) as sequence:
            topic = sequence.topic_create("s/imu", schema=schema, metadata={"vendor": "x"})
            for number in range(100):
                topic.push_row(number * 10, float(number))
            sequence.flush()
            catalog = Catalog(tmp_path)
            row = catalog.sequence("@last")
            assert (row.state, row.status, row.owner_alive, row.metadata) == (
                "open",
                "open",
                True,
                {"a": {"b": 1}},
            )
            content = Field("s/*", "x").gt(50) & Sequence.Q.metadata["a.b"].eq(1)
            assert catalog.query(content)[0].topics[0].spans == [(510, 990)]
            assert catalog.query(content & Topic.Q.metadata["vendor"].eq("y")).names == []
            assert catalog.query(Topic.Q.metadata["vendor"].eq("x"))[0].topics[0].name == "s/imu"
            assert [topic.name for topic in catalog.query(Sequence.Q.name.eq("live"))[0].topics] == ["s/imu"]
            assert catalog.query(Field("s/*", "x").gt(500)).names == []
        catalog.reconcile(quick=True)
        assert catalog.sequence("live").state == "sealed"
        assert catalog.query(content)[0].topics[0].spans == [(510, 990)]
