"""What a server process counts and logs about real requests."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pyarrow import flight

import gapless
from gapless.catalog.state_database import StateDatabase
from gapless.errors import KeyRefused
from gapless.serve.keys import make_key
from gapless.serve.metrics import Metrics
from gapless.serve.rights import Right
from gapless.store.folder import FolderStore

from .conftest import DEADLINE_S, Begin, Running, asked


def found(server: Running, name: str, **labels: str) -> float:
    """Return one figure of a server; -1 for one that is absent."""
    for family in text_string_to_metric_families(asked(f"{server.url}/metrics")[1]):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return float(sample.value)
    return -1


def test_a_recording_is_counted_and_told(begin: Begin) -> None:
    """Rows are counted once they are durable, the writer while it is open, each act has a line."""
    server = begin()
    with gapless.connect(server.place) as client, client.sequence_create("walking") as writer:
        for number in range(500):
            writer.log("oven/pv", float(number))
        writer.flush()
        assert found(server, "gapless_accepted_rows_total") == 500
        assert found(server, "gapless_open_writers") == 1
        assert found(server, "gapless_unaccepted_bytes", door="native") == 0
        assert found(server, "gapless_sealer_backlog_bytes", door="native") == 0
        assert found(server, "gapless_sync_lag_seconds", door="native") >= 0
    opens = found(server, "gapless_action_seconds_count", action="gapless.write.open")
    assert opens >= 1
    assert found(server, "gapless_action_seconds_bucket", action="gapless.write.open", le="+Inf") == opens
    assert found(server, "gapless_unaccepted_bytes", door="mosaico") == 0
    for what in ("create walking", "seal walking"):
        assert server.heard("act", what)["outcome"] == "done"


def test_what_is_refused_has_a_line_and_no_key(begin: Begin, tmp_path: Path) -> None:
    """Who is not let in, and what fails, is told by its code; a key in a name is hidden."""
    FolderStore(tmp_path / "store")
    with StateDatabase(tmp_path / "store") as database:
        _, token = make_key(database, Right.READ, label="reader")
    server = begin()
    with closing(flight.connect(server.place)) as client:
        for shown in (None, token):
            headers = [] if shown is None else [(b"authorization", f"Bearer {shown}".encode())]
            options = flight.FlightCallOptions(headers=headers, timeout=DEADLINE_S)
            with pytest.raises((flight.FlightError, pa.ArrowException)):
                list(client.do_action(flight.Action(token, b""), options=options))
    assert server.heard("refused")["code"] == KeyRefused.code
    assert "gapless_***" in server.heard("failed")["message"]
    assert token.split("_")[2] not in "".join(server.text)
    assert found(server, "gapless_requests_refused_total", method="do_action") == 1


def test_durations_fall_into_their_buckets() -> None:
    """Each bucket counts what is not above its bound, the last one everything."""
    metrics = Metrics()
    for seconds in (0.001, 0.02, 99.0):
        metrics.observe("x", seconds, of="it")
    values: dict[str, Any] = {
        dict(labels)["le"]: value
        for (name, labels), value in metrics.snapshot().items()
        if name == "x_bucket"
    }
    assert (values["0.001"], values["0.01"], values["0.03"], values["30.0"], values["+Inf"]) == (
        1,
        1,
        2,
        2,
        3,
    )
    assert metrics.value("x_count", of="it") == 3
    assert metrics.value("x_sum", of="it") == pytest.approx(99.021)
