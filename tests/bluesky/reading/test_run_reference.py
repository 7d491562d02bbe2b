"""A run is found by what a person writes for it."""

from __future__ import annotations

import pytest
from tests.bluesky.writer.runs import run_of

from gapless.bluesky.run_reference import referred_run
from gapless.bluesky.run_writer import RunWriter
from gapless.client.client import Client
from gapless.errors import NotFound, UsageError


def record(client: Client, uid: str, name: str) -> None:
    """Record a run of one event under a name."""
    (_, start), *rest = run_of(events=1)
    writer = RunWriter(client, start | {"uid": uid}, name=name)
    for kind, doc in rest:
        writer(kind, doc)


@pytest.fixture
def runs(client: Client) -> Client:
    """Return a client of a store with three runs and a sequence that is none."""
    record(client, "abcdef-1", "morning-{uid}")
    record(client, "abcdef-2", "evening-{uid}")
    record(client, "123456[x]", "night-{uid8}")
    with client.sequence_create("flight") as sequence:
        sequence.log("x", 1.0)
    return client


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("morning-abcdef-1", "morning-abcdef-1"),
        ("even", "evening-abcdef-2"),
        ("abcdef-2", "evening-abcdef-2"),
        ("123456", "night-123456[x"),
        ("123456[x", "night-123456[x"),
        ("@last-1", "night-123456[x"),
    ],
)
def test_a_run_has_a_name_and_a_uid(runs: Client, reference: str, name: str) -> None:
    """In full or as they begin; what a glob would take for a wildcard is a letter."""
    assert referred_run(runs, reference) == name


def test_a_name_in_full_wins_over_a_uid(runs: Client) -> None:
    """A run whose name is how another one's uid begins."""
    record(runs, "another", "abcdef-1{uid}")
    record(runs, "abcdef-1another-too", "{uid}-x")
    assert referred_run(runs, "abcdef-1another") == "abcdef-1another"


@pytest.mark.parametrize(
    ("reference", "refused"),
    [
        ("abcdef", UsageError),  # of two runs
        ("abcde", NotFound),  # too short for a uid
        ("*abcdef", NotFound),
        ("flight", NotFound),  # no run
        ("@first", NotFound),
    ],
)
def test_what_means_no_run_or_several_is_refused(
    runs: Client, reference: str, refused: type[Exception]
) -> None:
    """With a typed error."""
    with pytest.raises(refused):
        referred_run(runs, reference)
