"""What feature runs made of a sequence, through the handlers a user holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from tests.store.derived_run import RUN, begin_run, record_entry, speeds

import gapless
from gapless.errors import NotFound
from gapless.features.dataset import Dataset
from gapless.features.kit import TableFeature
from gapless.features.registry import FeatureRegistry

SPEED = f"features/speed@{RUN}"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[gapless.Client]:
    """Return a client of a store with the sequence `walk`, which a run gave three speeds."""
    with gapless.connect(tmp_path) as client:
        with client.sequence_create("walk", group="field") as seq:
            for n in range(3):
                seq.log("x", float(n), unit="m", timestamp_ns=10 * n)
        record_entry(begin_run(tmp_path, "speed"), "walk", speeds([0, 10, 20], [0.0, 2.5, 1.5]))
        with FeatureRegistry(tmp_path) as registry:
            registry.rebuild()
        yield client


def test_a_handler_lists_what_runs_made(client: gapless.Client) -> None:
    """`features` has the names that `topic` reads; `topics` and iteration stay the sequence's own."""
    walk = client.sequence_handler("walk")
    assert (walk.features, walk.topics, [topic.name for topic in walk]) == ([SPEED], ["x"], ["x"])
    assert SPEED in walk
    assert "features/other@1" not in walk
    assert "features/nothing" not in walk
    with pytest.raises(NotFound, match="features/speed@0"):
        walk.topic("features/other@1")


def test_an_output_reads_in_every_form(client: gapless.Client) -> None:
    """Table, frame with units, arrays, messages and curve are the output's."""
    topic = client.sequence_handler("walk").topic(SPEED)
    assert topic.metadata == {"feature": "speed", "run_id": RUN}
    assert (topic.units, topic.clock, topic.ontology_tag) == ({"speed": "m/s"}, "derived", None)
    frame = topic.to_pandas()
    assert frame["speed"].tolist() == [0.0, 2.5, 1.5]
    assert frame.attrs["units"] == {"speed": "m/s"}
    np.testing.assert_array_equal(topic.to_numpy()["moving"], [False, True, True])
    assert [(m.timestamp_ns, m.data.speed) for m in topic] == [(0, 0.0), (10, 2.5), (20, 1.5)]
    assert topic.downsample("speed").maximum.max() == 2.5
    assert "m/s" in topic.sketch().svg()
    assert topic.plot("speed").yaxis[0].axis_label == "speed [m/s]"


def test_outputs_join_recorded_topics(client: gapless.Client) -> None:
    """Merging, rows, messages and aligning take a feature topic by its name beside any other."""
    walk = client.sequence_handler("walk")
    assert [time_ns for time_ns, *_ in walk.rows(["x", SPEED], {SPEED: ["speed"]})] == [0, 0, 10, 10, 20, 20]
    assert [topic for topic, _ in walk.messages([SPEED, "x"])][:2] == [SPEED, "x"]
    table = walk.align(["x", SPEED], on="x", columns={SPEED: ["speed"]})
    assert table[f"{SPEED}:speed"].to_pylist() == [0.0, 2.5, 1.5]
    assert table.schema.field(f"{SPEED}:speed").metadata[b"unit"] == b"m/s"


def test_an_output_does_not_grow(client: gapless.Client) -> None:
    """A tail of it has the rows there are and ends."""
    topic = client.sequence_handler("walk").topic(SPEED)
    assert [batch.num_rows for batch in topic.tail(from_start=True)] == [3]
    assert list(topic.tail()) == []


def test_an_output_has_no_pictures(client: gapless.Client) -> None:
    """Asking it for frames is refused with a typed error, as for any topic without media."""
    walk = client.sequence_handler("walk")
    with pytest.raises(gapless.GaplessError) as recorded:
        list(walk.topic("x").frames())
    with pytest.raises(gapless.GaplessError) as derived:
        list(walk.topic(SPEED).frames())
    assert type(derived.value) is type(recorded.value)


def test_an_open_sequence_has_its_outputs_too(client: gapless.Client) -> None:
    """What was derived from a recording is readable although the recording goes on."""
    with client.sequence_create("live", group="field") as seq:
        seq.log("x", 1.0, timestamp_ns=0)
        seq.flush()
        folder = client.path / "features" / "speed" / RUN
        record_entry(folder, "live", speeds([0], [1.0]))
        live = client.sequence_handler("live")
        assert (live.state, live.features, live.topic(SPEED).rows) == ("open", [SPEED], 1)


class Doubled(TableFeature):
    """Twice the value of x."""

    name = "doubled"
    version = "1"
    units: ClassVar[dict[str, str]] = {"twice": "m"}

    def apply(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return a row for each row."""
        return pd.DataFrame({"twice": df["value"] * 2})


def test_what_the_engine_writes_is_a_topic(client: gapless.Client) -> None:
    """A feature that is run is listed, read with its units, found; computed again, it still is."""
    with Dataset(client, topic="x") as data:
        run = data.run_feature(Doubled())
        name = f"features/{run.feature}@{run.run_id}"
        walk = client.sequence_handler("walk")
        assert walk.features == [name, SPEED]
        topic = walk.topic(name)
        assert topic.to_arrow(["twice"]).to_pydict() == {
            "timestamp_ns": [0, 10, 20],
            "twice": [0.0, 2.0, 4.0],
        }
        assert (topic.units["twice"], topic.metadata["run_id"]) == ("m", run.run_id)
        assert client.query(f'"{name}":twice > 3')[0].topics[0].spans == [(20, 20)]
        data.run_feature(Doubled(), overwrite=True)
        assert client.query(f'"{name}":twice > 3')[0].topics[0].spans == [(20, 20)]


def test_a_query_leads_to_the_rows(client: gapless.Client) -> None:
    """What a content query names is what the handler reads."""
    [item] = client.query(f'"{SPEED}":speed > 2')
    [topic] = item.topics
    [(start_ns, end_ns)] = topic.spans
    found = client.sequence_handler(item.name).topic(topic.name).to_arrow(["speed"], start_ns, end_ns + 1)
    assert found["speed"].to_pylist() == [2.5]
