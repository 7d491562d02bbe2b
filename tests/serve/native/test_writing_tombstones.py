"""Tombstones of acts over the network: none that nobody could read, and none that is overlooked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gapless.client.remote import protocol
from gapless.errors import IntegrityError, UsageError
from gapless.serve.server import Server

from .raw_writer import RawWriter


@pytest.mark.parametrize(
    "words",
    [
        {"rows": [1]},
        {"rows": {"t": "x"}},
        {"error": 5},
        {"reason": ["x"]},
        {"outcome": {}},
        {"ledger": {"produced": None}},
    ],
    ids=str,
)
def test_words_that_are_no_tombstone_are_refused(
    started: Callable[..., Server], words: dict[str, Any]
) -> None:
    """The sequence is as it was, and the store has no tombstone that it would call damaged."""
    server = started()
    with RawWriter(server.url) as writer:
        writer.open()
        with pytest.raises(UsageError, match="no tombstone"):
            writer.action(protocol.DISCARD, tombstone=words)
        assert server.served.client.list_discarded() == []
        assert writer.open()["state"] == "open"
        assert writer.action(protocol.DISCARD, tombstone={"error": "boom"}) == {"state": "discarded"}
    (stone,) = server.served.client.list_discarded()
    assert "unreadable" not in stone


def sealed_and_discarded(server: Server, writer: RawWriter) -> Path:
    """Record and seal a sequence and let a person at the server discard it; return its tombstone."""
    writer.open()
    writer.topic()
    writer.end({"t": 0})
    server.served.client.discard("run")
    return server.served.root / "discarded" / "run-1.json"


def test_what_was_discarded_after_it_was_sealed_is_not_begun_anew(started: Callable[..., Server]) -> None:
    """Whoever sends it again is told."""
    server = started()
    with RawWriter(server.url) as writer:
        sealed_and_discarded(server, writer)
        assert writer.open()["state"] == "discarded"
    assert server.served.client.list_sequences() == []


def test_a_damaged_tombstone_of_the_name_lets_nothing_begin(started: Callable[..., Server]) -> None:
    """It may be the recording's own; a good copy of it, or none at all, tells."""
    server = started()
    with RawWriter(server.url) as writer, RawWriter(server.url, "other") as other:
        kept = sealed_and_discarded(server, writer)
        trashed = server.served.root / "trash" / "run-1" / "tombstone.json"
        sound = kept.read_bytes()
        for path in (kept, trashed):
            path.write_bytes(b"{")
        with pytest.raises(IntegrityError, match="whether this recording was discarded"):
            writer.open()
        assert other.open()["state"] == "open"
        trashed.write_bytes(sound)
        assert writer.open()["state"] == "discarded"
        kept.unlink()
        trashed.unlink()
        assert writer.open()["state"] == "open"


def test_a_damaged_tombstone_of_a_layer_is_asked_about_by_its_name(started: Callable[..., Server]) -> None:
    """The folder of a layer has its number before the name."""
    server = started()
    with RawWriter(server.url, "base") as base:
        base.open()
        base.end({})
    with RawWriter(server.url, "lay", layer_of="base") as layer:
        layer.open()
        layer.action(protocol.DISCARD, layer_of="base", tombstone={"error": "boom"})
        assert layer.open()["state"] == "discarded"
        root = server.served.root
        for path in (*root.glob("discarded/*.json"), *root.glob("trash/*/tombstone.json")):
            path.write_bytes(b"{")
        with pytest.raises(IntegrityError):
            layer.open()
    with RawWriter(server.url, "lay") as sequence:
        assert sequence.open()["state"] == "open"
