"""The topics that feature runs made of a sequence: all are listed, and plotted from the page of their run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from playwright.sync_api import expect

from gapless.client.client import connect
from gapless.features import Dataset, Params, TableFeature, run_feature

from .harness import Screen, Site, serving
from .recorded import START_NS, S
from .sequence_view import Plots, address, fields

RUNS = 30
COLUMN = "left, \\right"


class Scaled(TableFeature):
    """A number times a factor, in a column whose name is not plain."""

    name, version = "scaled", "1.0"

    class Params(Params):
        """Each factor is a run of its own."""

        factor: float = 1.0

    params: Params

    def apply(self, df):  # type: ignore[no-untyped-def]
        """Return the times and the products."""
        return df.assign(**{COLUMN: self.params.factor * df["x"]})[["timestamp_ns", COLUMN]]


@pytest.fixture(scope="module")
def topics(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Return a store with one sequence, and its topics that feature runs made."""
    root = tmp_path_factory.mktemp("scaled") / "store"
    with connect(root) as client:
        with client.sequence_create("walk") as sequence:
            topic = sequence.topic_create("tracks", schema=pa.schema([pa.field("x", pa.float64())]))
            topic.push_columns(START_NS + np.arange(10, dtype=np.int64) * S, {"x": np.arange(10.0)})
        with Dataset(root) as data:
            for factor in range(RUNS):
                run_feature(data, Scaled(params={"factor": float(factor)}))
        return root, client.sequence_handler("walk").features


@pytest.fixture(scope="module")
def site(topics: tuple[Path, list[str]]) -> Iterator[Site]:
    """Return a server of it."""
    root, _ = topics
    with serving(root, root.parent / "server") as served:
        yield served


def test_every_topic_of_a_feature_run_is_listed(screen: Screen, topics: tuple[Path, list[str]]) -> None:
    """On the overview, and among the fields to plot."""
    _, made = topics
    assert len(made) == RUNS
    page = screen.open(address("walk"))
    table = page.get_by_role("region", name="Topics")
    for name in made:
        expect(table.get_by_role("row").filter(has_text=name)).to_have_count(1)
    page.get_by_role("tab", name="Plots").click()
    expect(page.locator(".field-tree-topics summary", has_text="features/scaled")).to_have_count(RUNS)


def test_a_column_of_any_name_is_plotted_from_the_page_of_its_run(
    screen: Screen, topics: tuple[Path, list[str]]
) -> None:
    """Commas and backslashes of a name stay what they are."""
    _, made = topics
    run_id = made[-1].rpartition("-")[2]
    page = screen.open("/features?tab=runs")
    page.get_by_role("row").filter(has_text=run_id).get_by_role("link").first.click()
    page.get_by_role("link", name="plot", exact=True).click()
    plots = Plots(screen)
    plots.wait(1)
    assert fields(page) == [f"{made[-1]}:{COLUMN}"]
    assert plots.is_exact
    expect(page.get_by_text("in this sequence")).to_have_count(0)
