"""Spools at the bounds of what a frame, a server and a path take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.client.remote.write_server import NUMBERS, ServerProcess, assert_counted, server, spooling, stored

import gapless
from gapless.cli.main import main
from gapless.client.remote import lane_parcel
from gapless.client.remote.lane_parcel import Parcel
from gapless.client.remote.spool import SpoolStore
from gapless.serve.limits import Limits
from gapless.serve.server import Server
from gapless.store.frame import Frame, Kind, scan
from gapless.store.recover import read_header, segment_paths
from gapless.testing.network import Link

MOST = 3


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Where the spool is."""
    return tmp_path / "spool"


def counts(spool: Path, name: str) -> list[int]:
    """Return how many rows each count of a spool gives up."""
    bundle = SpoolStore(spool).bundle(name)
    nonce = read_header(bundle)["nonce"]
    items = [item for path in segment_paths(bundle) for item in scan(path, nonce)]
    return [i.header.rows for i in items if isinstance(i, Frame) and i.header.kind == Kind.DROP]


def test_more_accepted_rows_than_a_frame_counts_are_several_counts(
    root: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here a frame counts three."""
    monkeypatch.setattr(lane_parcel, "DROP_ROWS", MOST)
    with server(root) as running:
        with Link(("127.0.0.1", running.port)) as link:
            url = f"grpc://127.0.0.1:{link.port}"
            with spooling(url, spool, flush_ms=10) as client, client.sequence_create("long") as seq:
                topic = seq.topic_create("t", schema=NUMBERS)
                for n in range(10):
                    topic.push_row(n, 0.0, n)
                seq.flush()
                link.cut()
                topic.push_row(10, 0.0, 10)
        assert counts(spool, "long") == [3, 3, 3, 1]
        assert main(["deliver", "--spool", str(spool), "--to", running.url]) == 0
    assert_counted(stored(root, "long", "t"), 11)


def test_a_count_is_no_larger_than_a_server_takes() -> None:
    """In pieces that follow each other."""
    pieces = list(Parcel(5, 2**32, cause="lost").pieces())
    assert [piece.rows for piece in pieces] == [2**31 - 1, 2**31 - 1, 2]
    assert [piece.first_seq for piece in pieces] == [5, 5 + 2**31 - 1, 5 + 2**32 - 2]
    assert {piece.cause for piece in pieces} == {"lost"}


def test_a_delivery_sends_no_more_at_once_than_its_server_takes(root: Path, spool: Path) -> None:
    """It asks how much that is."""
    url = ServerProcess(root).url
    rows = 100_000
    with spooling(url, spool) as client, client.sequence_create("night") as seq:
        topic = seq.topic_create("t", schema=NUMBERS)
        topic.push_columns(np.arange(rows), {"x": np.zeros(rows), "n": np.arange(rows)})
    with Server(root, "127.0.0.1", 0, limits=Limits(max_batch_bytes=1 << 20)) as running:
        assert main(["deliver", "--spool", str(spool), "--to", running.url]) == 0
    assert_counted(stored(root, "night", "t"), rows)


@pytest.mark.parametrize(("base", "layer"), [("b" * 150, "l" * 60), ("é" * 30, "ü" * 20)])
def test_a_layer_may_have_a_long_name_on_a_long_name(root: Path, spool: Path, base: str, layer: str) -> None:
    """Its folder in the spool has the beginning of both; it comes to the server under its own."""
    with server(root) as running:
        with Link(("127.0.0.1", running.port)) as link:
            url = f"grpc://127.0.0.1:{link.port}"
            with spooling(url, spool, flush_ms=10) as client:
                with client.sequence_create(base) as seq:
                    seq.topic_create("x", schema=NUMBERS)
                with client.sequence_update(base, layer) as seq:
                    topic = seq.topic_create("t", schema=NUMBERS)
                    topic.push_row(0, 0.0, 0)
                    seq.flush()
                    link.cut()
                    topic.push_row(1, 0.0, 1)
        assert main(["deliver", "--spool", str(spool), "--to", running.url]) == 0
    assert_counted(stored(root, base, "t"), 2)
    with gapless.connect(root) as local:
        assert local.sequence_handler(base).layers == [layer]


def test_a_long_name_that_is_taken_in_the_spool_gets_another_folder(root: Path, spool: Path) -> None:
    """Two recordings of one name wait beside each other, and both come to the server."""
    name, away = "n" * 195, "grpc://127.0.0.1:9"
    for n in range(2):
        with spooling(away, spool) as client, client.sequence_create(name) as seq:
            seq.topic_create("t", schema=NUMBERS).push_row(n, 0.0, n)
    first, second = sorted(SpoolStore(spool).names(), key=len, reverse=True)
    assert (first, second[:40]) == (name, name[:40])
    with server(root) as running:
        assert main(["deliver", "--spool", str(spool), "--to", running.url, "--rename", f"{first}=two"]) == 0
    with gapless.connect(root) as local:
        assert sorted(local.list_sequences()) == sorted([name, "two"])
