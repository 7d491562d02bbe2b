"""The page of features: a step that goes stale and why, a training while it goes on, lineage from sequence to model."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from tests.serve.http.derived_store import LOST, WALKS, Derived, derived, rework, walk

import gapless
from gapless.catalog.state_database import StateDatabase
from gapless.features import Dataset, train_model
from gapless.features.training.progress_file import StoreProgress
from gapless.serve.keys import make_key
from gapless.serve.rights import Right

from .harness import DEADLINE_S, NARROW, Screen, Site, screen_on, serving


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory) -> Derived:
    """Return a store with a pipeline of two features and a model, all computed."""
    made = derived(tmp_path_factory.mktemp("walks"), training=True)
    made.run()
    return made


@pytest.fixture(scope="module")
def site(walks: Derived) -> Iterator[Site]:
    """Return a server of it that was given the pipeline."""
    with serving(walks.root, walks.root.parent / "server", "--pipeline", str(walks.pipeline)) as served:
        yield served


def step(page: Page, name: str) -> Locator:
    """Return the node of a step in the graph."""
    return page.locator(f'[data-step="{name}"]')


@pytest.mark.slow
def test_a_step_goes_stale_and_says_why(screen: Screen, walks: Derived) -> None:
    """Record, run, add a layer: the page says by itself which entries are stale, because of what, and what to do."""
    page = screen.open("/features")
    for name in ("doubled", "ends", "far"):
        expect(step(page, name)).to_have_attribute("data-state", "ok")
    expect(step(page, "doubled")).to_contain_text("4 ok")
    rework(walks.root, WALKS[1])
    expect(step(page, "doubled")).to_have_attribute("data-state", "stale")
    expect(step(page, "doubled")).to_contain_text("1 stale")
    expect(step(page, "ends")).not_to_have_attribute("data-state", "ok")
    step(page, "doubled").click()
    expect(page).to_have_url(re.compile(r"[?&]step=doubled"))
    reason = page.locator('.reasons [data-status="stale"]')
    expect(reason).to_contain_text("changed since: tracks")
    expect(reason).to_contain_text(WALKS[1])
    panel = page.get_by_label("Step", exact=True)
    expect(panel).to_contain_text(f"gapless features run {walks.pipeline} --store {walks.root}")
    expect(page.get_by_text("Each sequence with the topic tracks")).to_be_visible()
    entry = panel.locator(f'tr[data-name="{WALKS[1]}"]')
    expect(entry).to_contain_text("stale")
    expect(entry).to_contain_text(walks.why("doubled", WALKS[1]).removeprefix("stale: "))
    expect(panel.locator(f'tr[data-name="{WALKS[0]}"]')).to_contain_text("up to date")
    page.reload()
    expect(page.locator('.reasons [data-status="stale"]')).to_contain_text("changed since: tracks")
    walks.run()
    for name in ("doubled", "ends", "far"):
        expect(step(page, name)).to_have_attribute("data-state", "ok")


def test_the_graph_is_walked_with_the_keyboard(screen: Screen) -> None:
    """Tab goes through the steps in their order, Enter chooses one, and the address holds it."""
    page = screen.open("/features?step=doubled")
    expect(step(page, "doubled")).to_have_attribute("aria-pressed", "true")
    step(page, "doubled").focus()
    page.keyboard.press("Tab")
    expect(step(page, "ends")).to_be_focused()
    page.keyboard.press("Enter")
    expect(step(page, "ends")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_label("Step", exact=True).get_by_role("heading", name="ends")).to_be_visible()
    expect(step(page, "ends")).to_be_focused()
    page.go_back()
    expect(step(page, "doubled")).to_have_attribute("aria-pressed", "true")


def test_no_edge_runs_under_a_node(screen: Screen) -> None:
    """Nodes do not overlap, and an edge over several layers passes between them, in both directions of layout."""
    page = screen.open("/features")
    for down in (False, True):
        laid = page.evaluate(LAY_OUT, [list(GRAPH), [list(edge) for edge in EDGES], down])
        boxes = {name: (x, y, x + 100, y + 50) for name, (x, y) in laid["places"].items()}
        assert sorted(boxes) == sorted(GRAPH)
        for one, other in combinations(boxes.values(), 2):
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        for (start, end), route in zip(EDGES, laid["routes"], strict=True):
            for name, (left, top, right, bottom) in boxes.items():
                if name not in (start, end):
                    assert not any(left < x < right and top < y < bottom for x, y in middles(route)), (
                        start,
                        end,
                        name,
                    )


GRAPH = "abcdef"
EDGES = (("a", "b"), ("b", "c"), ("c", "d"), ("a", "d"), ("a", "e"), ("e", "d"), ("b", "f"))
LAY_OUT = """async ([ids, edges, down]) => {
  const { placed } = await import("/static/js/features/layers.js");
  const laid = placed(ids, edges, { width: 100, height: 50, gap: 10, stride: 40, down });
  return {
    places: Object.fromEntries([...laid.places].map(([id, { x, y }]) => [id, [x, y]])),
    routes: laid.routes.map((route) => route.map(({ x, y }) => [x, y])),
  };
}"""


def middles(route: list[list[float]]) -> list[tuple[float, float]]:
    """Return points along the straight parts of a route, which are those that cross a layer."""
    pairs = zip(route[1::2], route[2::2], strict=False)
    return [((a[0] + b[0]) / 2, (a[1] + b[1]) / 2) for a, b in pairs]


def test_a_failed_entry_and_its_traceback(screen: Screen, walks: Derived) -> None:
    """From the step to its run, and there to the line that raised."""
    with gapless.connect(walks.root) as client:
        walk(client, LOST, 1e9)
    walks.run()
    try:
        page = screen.open("/features?step=doubled")
        expect(step(page, "doubled")).to_have_attribute("data-state", "failed")
        expect(page.locator('.reasons [data-status="failed"]')).to_contain_text("RuntimeError: too far away")
        page.get_by_label("Step", exact=True).get_by_role("link", name=re.compile("^double 1.0-")).click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("double")
        failures = page.get_by_label("Failures")
        failures.get_by_text(f"{LOST}: RuntimeError: too far away").click()
        expect(failures).to_contain_text('raise RuntimeError("too far away")')
        page.get_by_label("Status").select_option("failed")
        expect(page.get_by_label("Entries of the run").locator("tbody tr")).to_have_count(1)
        assert screen.axe() == []
    finally:
        with gapless.connect(walks.root) as client:
            client.discard(LOST)


def test_lineage_leads_to_the_model_and_back(screen: Screen) -> None:
    """The list of runs, one run, the model that learned from it, and the sequences at the beginning."""
    page = screen.open("/features?tab=runs")
    page.get_by_role("link", name="double", exact=True).click()
    lineage = page.get_by_label("Lineage", exact=True)
    expect(lineage.get_by_text("recorded")).to_be_visible()
    lineage.get_by_role("link", name=re.compile("^one-vs-rest")).first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("one-vs-rest")
    expect(page.get_by_label("Metrics").first).to_contain_text("far")
    expect(
        page.get_by_label("Lineage", exact=True).get_by_role("link", name=re.compile("^double"))
    ).to_be_visible()
    page.get_by_label("Lineage", exact=True).get_by_role("link", name=WALKS[0]).click()
    expect(page).to_have_url(re.compile(re.escape(quote(WALKS[0], safe=""))))


@dataclass
class Curve:
    """A model whose epochs end when the test says so."""

    inputs: Any = ("tracks",)
    name = "curve"
    version = "1.0"

    def train(self, ds: Any, run_root: Path, config: dict[str, Any], callback: Any) -> Mapping[str, Any]:
        """Tell of three epochs and wait before the last one."""
        callback.on_phase("fit", "three epochs")
        for epoch in range(3):
            if epoch == 2:
                assert GO_ON.wait(DEADLINE_S)
            callback.on_epoch_end(epoch, 3, {"loss": 1.0 / (epoch + 1), "accuracy": epoch / 3})
        return {"loss": 1 / 3}

    def load(self, run_root: Path) -> None:
        """Nothing was learned."""

    def predict(self, df: Any) -> Any:
        """Predict nothing."""
        return df


GO_ON = threading.Event()


def test_a_training_curve_appears_while_it_is_trained(screen: Screen, walks: Derived) -> None:
    """Points come one by one, each metric has its newest value, and in the end the page says how it ended."""
    GO_ON.clear()
    with Dataset(walks.root) as ds:
        trainer = threading.Thread(
            target=train_model, args=(ds, Curve()), kwargs={"progress_callback": StoreProgress(walks.root)}
        )
        trainer.start()
        try:
            page = screen.open("/features?tab=training")
            detail = page.get_by_label("Training", exact=True).last
            expect(detail).to_contain_text("running")
            expect(detail.locator("[data-points]")).to_have_attribute("data-points", "2")
            expect(detail.locator('[data-metric="loss"]')).to_contain_text("0.5")
            expect(detail.locator("[data-points] canvas").first).to_be_visible()
        finally:
            GO_ON.set()
            trainer.join(DEADLINE_S)
        assert not trainer.is_alive()
        expect(detail.locator("[data-points]")).to_have_attribute("data-points", "3")
        expect(detail).to_contain_text("finished")
        expect(detail.locator('[data-metric="accuracy"]')).to_contain_text(repr(2 / 3))
        detail.get_by_label("accuracy").uncheck()
        assert screen.axe() == []


def test_a_key_for_a_group_sees_runs_and_models_only(browser: Browser, tmp_path: Path) -> None:
    """What is about the whole store is not there, and nothing on the page breaks over it."""
    made = derived(tmp_path)
    made.run()
    with StateDatabase(made.root) as database:
        key = make_key(database, Right.READ, groups=["day-0"])[1]
    with (
        serving(made.root, tmp_path / "server", "--pipeline", str(made.pipeline)) as served,
        screen_on(browser, served, size=NARROW, bearer=key) as screen,
    ):
        page = screen.open("/features")
        expect(page.get_by_role("tab")).to_have_text(["Runs", "Models"])
        row = page.locator('tr[data-name^="double@"]')
        expect(row).to_contain_text("2 ok")
        assert screen.axe() == []


def test_a_pipeline_that_cannot_be_loaded_is_shown_with_its_error(browser: Browser, tmp_path: Path) -> None:
    """In the words of the command line; a store without runs says how to make some."""
    broken = tmp_path / "broken.toml"
    broken.write_text("[[steps]]\nname = 'a'\nfeature = 'no-such-feature'\n", encoding="utf-8")
    gapless.connect(tmp_path / "store").close()
    with (
        serving(tmp_path / "store", tmp_path / "server", "--pipeline", str(broken)) as served,
        screen_on(browser, served) as screen,
    ):
        page = screen.open("/features")
        expect(page.get_by_role("alert")).to_contain_text("There is no feature of that name")
        expect(page.get_by_role("alert")).to_contain_text("no-such-feature")
        page.get_by_role("tab", name="Runs").click()
        expect(page.get_by_text("No feature run is here.")).to_be_visible()
        page.get_by_role("tab", name="Training").click()
        expect(page.get_by_text("No training has told of its progress yet.")).to_be_visible()
