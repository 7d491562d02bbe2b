"""A delivered run leaves the local store with the layers that were delivered, and with no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import gapless
from gapless.bluesky.tiled_sink import leaving
from gapless.bluesky.tiled_sink.leaving import leave
from gapless.client.client import Client
from gapless.client.sequence_writer import SequenceWriter
from gapless.client.tombstone import tombstone_of

pytestmark = pytest.mark.filterwarnings("ignore:.* not on the Tiled server")


def recorded(client: Client) -> None:
    """Record a sequence with one late layer."""
    with client.sequence_create("run") as sequence:
        sequence.log("x", 1.0)
    add_layer(client, 2.0)


def add_layer(client: Client, value: float) -> None:
    """Record a layer of one row."""
    with client.sequence_update("run", "late") as layer:
        layer.log("x", value)


def test_a_run_leaves_with_its_layers(tmp_path: Path) -> None:
    """It is in the trash with a tombstone, and its name is free."""
    with gapless.connect(tmp_path) as client:
        recorded(client)
        assert leave(client, client.sequence_handler("run"))
        assert client.was_discarded("run")
        assert client.list_sequences() == []


def test_a_layer_that_the_reader_did_not_see_keeps_the_run(tmp_path: Path) -> None:
    """Sealed after the run was read, or only begun: in both cases there is more than was delivered."""
    with gapless.connect(tmp_path) as client:
        recorded(client)
        before = client.sequence_handler("run")
        add_layer(client, 3.0)
        assert not leave(client, before)
        with client.sequence_update("run", "late") as layer:
            assert not leave(client, client.sequence_handler("run"))
            layer.log("x", 4.0)
        assert not client.was_discarded("run")
        assert client.sequence_handler("run").topic("x").rows == 4


@pytest.mark.parametrize("is_sealed", [True, False])
def test_a_layer_that_comes_in_the_last_moment_brings_the_run_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_sealed: bool
) -> None:
    """Between the look and the move; a layer that is still being written then is written to its end."""
    writers: list[SequenceWriter] = []

    def last_moment(name: str, bundle: Any) -> dict[str, Any]:
        if is_sealed:
            add_layer(client, 3.0)
        else:
            writers.append(client.sequence_update("run", "late").__enter__())
        return tombstone_of(name, bundle)

    with gapless.connect(tmp_path) as client:
        recorded(client)
        monkeypatch.setattr(leaving, "tombstone_of", last_moment)
        assert not leave(client, client.sequence_handler("run"))
        for layer in writers:
            layer.log("x", 3.0)
            layer.__exit__(None, None, None)
        assert not client.was_discarded("run")
        assert client.list_discarded() == []
        assert client.list_sequences() == ["run"]
        assert client.sequence_handler("run").topic("x").rows == 3
        assert client.verify("run", deep=True) == []
        monkeypatch.undo()
        assert leave(client, client.sequence_handler("run"))
