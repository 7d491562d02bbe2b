"""Layers that were left unsealed: they are recovered with their base, and one that cannot be harms no other."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

import gapless
from gapless.catalog import Catalog
from gapless.errors import GaplessError, IntegrityError, SequenceOwned
from gapless.store import journal
from gapless.store.durability import Durability
from gapless.store.layout import Bundle
from gapless.store.platform import PLATFORM
from gapless.store.writer import BundleWriter

SCHEMA = pa.schema([pa.field("timestamp_ns", pa.int64(), nullable=False), pa.field("x", pa.float64())])


def base(client: gapless.Client, name: str = "s") -> Bundle:
    """Seal a sequence of one row."""
    with client.sequence_create(name) as sequence:
        sequence.topic_create("a", schema=SCHEMA).push_row(1, 1.0)
    return Bundle(client.path / "sequences" / name)


def interrupted_layer(below: Bundle, number: int, name: str) -> Bundle:
    """Leave a layer whose owner is gone."""
    bundle = Bundle(below.layers / f"{number:05d}-{name}")
    bundle.path.mkdir(parents=True)
    digest = journal.read_json(below.manifest)["content_digest"]
    header = journal.make_header(name, platform=PLATFORM, base={"name": "s", "content_digest": digest})
    writer = BundleWriter(bundle, header, durability=Durability())
    writer.close({"outcome": "interrupted", "cause": None})
    writer.release()
    return bundle


def pending_layer(client: gapless.Client, name: str) -> None:
    """Leave a layer that was kept after an error."""
    with pytest.raises(RuntimeError, match="out"):
        add_until_failure(client, name)


def add_until_failure(client: gapless.Client, name: str) -> None:
    """Add a layer of one row, then fail."""
    with client.sequence_update("s", name, on_error=gapless.OnErrorPolicy.Report) as layer:
        layer.topic_create("b", schema=SCHEMA).push_row(2, 2.0)
        raise RuntimeError("burner out")


def statuses(root: Path) -> dict[str, str]:
    """Return what the catalog says of each sequence."""
    with Catalog(root) as catalog:
        catalog.reconcile()
        return {row.name: row.status for row in catalog.sequences()}


def test_unsealed_layers_are_seen_and_sealed(tmp_path: Path) -> None:
    """The catalog and the handler name them; recover takes what has no owner, seal what is pending."""
    with gapless.connect(tmp_path) as client:
        below = base(client)
        pending_layer(client, "kept")
        lost = interrupted_layer(below, 7, "lost")
        assert statuses(tmp_path) == {"s": "sealed, layer open, owner gone"}
        assert client.sequence_handler("s").unsealed_layers == {"kept": "pending", "lost": "open"}
        assert client.recover("s")["content"]["name"] == "s"
        assert lost.manifest.exists()
        assert statuses(tmp_path) == {"s": "sealed, layer pending"}
        client.seal("s")
        assert statuses(tmp_path) == {"s": "sealed"}
        handler = client.sequence_handler("s")
        assert (handler.layers, handler.unsealed_layers) == (["kept", "lost"], {})
        assert handler.topic("b").rows == 1


@pytest.mark.parametrize("verb", ["recover", "seal"])
def test_a_layer_that_cannot_be_recovered_does_not_stop_the_others(tmp_path: Path, verb: str) -> None:
    """The error is raised when all others are sealed."""
    with gapless.connect(tmp_path) as client:
        below = base(client)
        (below.layers / "00001-empty" / "journal").mkdir(parents=True)
        torn = interrupted_layer(below, 2, "torn")
        for path in torn.journal.glob("*.*"):
            path.write_bytes(b"x")
        good = interrupted_layer(below, 3, "good")
        (below.layers / "00004-reserved").mkdir()
        with pytest.raises(IntegrityError):
            getattr(client, verb)("s")
        assert good.manifest.exists()
        assert not torn.manifest.exists()
        with client.sequence_create("next"):
            pass
        assert set(client.unrecovered) <= {"00001-empty", "00002-torn"}


def test_a_base_that_cannot_be_recovered_does_not_stop_its_layers(tmp_path: Path) -> None:
    """Also a base without a readable manifest lets its layers be sealed."""
    with gapless.connect(tmp_path) as client:
        below = base(client)
        good = interrupted_layer(below, 1, "good")
        below.manifest.write_bytes(b"x")
        with pytest.raises(GaplessError):
            client.recover("s")
        assert good.manifest.exists()


def test_a_layer_being_written_is_left_alone(tmp_path: Path) -> None:
    """Its owner lives: recover says so, and the layer goes on."""
    with gapless.connect(tmp_path) as client:
        base(client)
        with client.sequence_update("s", "now") as layer:
            topic = layer.topic_create("b", schema=SCHEMA)
            topic.push_row(1, 1.0)
            assert statuses(tmp_path) == {"s": "sealed, layer open"}
            with pytest.raises(SequenceOwned), gapless.connect(tmp_path) as other:
                other.recover("s")
            topic.push_row(2, 2.0)
        assert client.sequence_handler("s").topic("b").rows == 2
