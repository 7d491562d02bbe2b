"""What a notebook shows of a sequence and of an answer."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

import gapless

SCHEMA = pa.schema([pa.field("timestamp_ns", pa.int64(), nullable=False), pa.field("x", pa.float64())])
NAME = "<script>alert(1)</script>&"


@pytest.fixture
def client(tmp_path: Path) -> gapless.Client:
    """Return a client of a store with one sequence whose names are hostile."""
    made = gapless.connect(tmp_path)
    with made.sequence_create(NAME) as sequence:
        sequence.topic_create("<b>t", schema=SCHEMA).push_row(5, 1.0)
        sequence.topic_create("empty", schema=SCHEMA)
    return made


def test_a_sequence_is_a_table_of_its_topics(client: gapless.Client) -> None:
    """Topic, rows and times, escaped and without a script."""
    with client:
        page = client.sequence_handler(NAME)._repr_html_()
    assert "<script" not in page
    assert "<td>&lt;b&gt;t</td><td>-</td><td>1</td><td>5</td><td>5</td>" in page
    assert "<td>empty</td><td>-</td><td>0</td><td>-</td><td>-</td>" in page


def test_an_answer_is_a_table_of_its_sequences(client: gapless.Client) -> None:
    """Sequence, state, topics and number of spans, escaped and without a script."""
    with client:
        answer = client.query("rows >= 1")
        page = answer._repr_html_()
    assert "<script" not in page
    assert "<td>&lt;script&gt;alert(1)&lt;/script&gt;&amp;</td><td>sealed</td>" in page
