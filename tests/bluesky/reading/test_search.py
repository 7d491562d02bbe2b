"""Runs are found by what their documents say."""

from __future__ import annotations

import pytest
from tests.bluesky.writer.runs import run_of

import gapless
from gapless.bluesky.run_writer import RunWriter
from gapless.client.client import Client
from gapless.errors import QueryRefused
from gapless.model.expression import ontology_root
from gapless.model.query_text import parse


@pytest.fixture
def uid(client: Client) -> str:
    """Record a run and return its uid."""
    (_, start), *rest = run_of(events=3)
    writer = RunWriter(client, start)
    for name, doc in rest:
        writer(name, doc)
    return str(start["uid"])


@pytest.mark.parametrize(
    "text",
    ['metadata.start.plan_name == "count"', "primary:x > 2", 'without (metadata.start.plan_name == "scan")'],
)
def test_a_run_is_found(client: Client, uid: str, text: str) -> None:
    """By its start document and by its events."""
    assert client.query(parse(text)).names == [uid]


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ('start.plan_name == "count"', "write metadata.start.plan_name"),
        ('name match "*" or start.plan_name == "count"', "write metadata.start.plan_name"),
        ('without (start.plan_name == "count")', "write metadata.start.plan_name"),
        ("primary.x > 2", "write primary:x"),
    ],
)
def test_what_would_be_a_type_that_nobody_has_is_refused_with_what_was_meant(
    client: Client, uid: str, text: str, advice: str
) -> None:
    """It would find nothing, or with ``without`` everything, and not say why."""
    assert uid
    with pytest.raises(QueryRefused) as refused:
        client.query(parse(text))
    assert refused.value.advice == advice


def test_a_type_that_only_an_open_sequence_has_is_one(client: Client, uid: str) -> None:
    """Though metadata have the same name; a type that nothing is called after finds nothing, without an error."""
    assert client.query(parse("nobody.x > 2")).names == []
    with client.sequence_create("open", {"IMU": {"acceleration": {"x": 1}}}) as sequence:
        with pytest.raises(QueryRefused):
            client.query(ontology_root("IMU").acceleration.x.gt(100))
        sequence.topic_create("imu", ontology_type=gapless.IMU)
        sequence.flush()
        assert client.query(ontology_root("IMU").acceleration.x.gt(100)).names == []
    assert client.query(parse('metadata.start.plan_name == "count"')).names == [uid]
