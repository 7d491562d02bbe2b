"""Pipelines as the page shows them: looked at by a process of their own, and again when something changed."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.page.served import until

import gapless
from gapless.features.owner import Owner
from gapless.features.registry import FeatureRegistry
from gapless.serve.http.pipeline_looks import PipelineLooks, look_apart, named_files

from .conftest import Begin, Site
from .derived_store import LOST, WALKS, Derived, derived, rework, walk
from .test_core import refusal

STATUS = "/pipelines/walks/status"


@pytest.fixture
def store(tmp_path: Path) -> Derived:
    """Return a store with a pipeline that has run."""
    made = derived(tmp_path, training=True)
    made.run()
    return made


@pytest.fixture
def site(begin: Begin, store: Derived) -> Site:
    """Return a server that was given the pipeline."""
    return begin(store.root, pipelines=(store.pipeline,))


def looked(site: Site, path: str = STATUS, **params: Any) -> dict[str, Any]:
    """Return how a pipeline stands, looked at now."""
    answer = site.api(path, params={"fresh": True, **params})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def steps_of(status: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the steps by name."""
    assert status["error"] is None, status["error"]
    return {step["name"]: step for step in status["steps"]}


def test_steps_stand_as_the_command_line_says(site: Site, store: Derived) -> None:
    """Graph, counts and states of a pipeline of which everything is computed."""
    status = looked(site)
    assert status["command"] == f"gapless features run {store.pipeline} --store {store.root}"
    steps = steps_of(status)
    assert {name: step["reads"] for name, step in steps.items()} == {
        "doubled": [], "ends": ["doubled"], "far": ["doubled"],
    }  # fmt: skip
    assert {name: step["topics"] for name, step in steps.items()} == {
        "doubled": ["tracks"],
        "ends": [],
        "far": [],
    }
    assert {name: step["state"] for name, step in steps.items()} == {
        "doubled": "ok",
        "ends": "ok",
        "far": "ok",
    }
    assert steps["doubled"]["counts"]["ok"] == 4
    assert steps["far"]["kind"] == "model"
    [named] = site.api("/pipelines").json()["pipelines"]
    assert (named["name"], named["file"]) == ("walks", str(store.pipeline))


def test_a_layer_makes_entries_stale_and_the_reason_is_told(site: Site, store: Derived) -> None:
    """The words are those of `gapless features why`, for the entry and for what reads it."""
    looked(site)
    rework(store.root, WALKS[1])
    with gapless.connect(store.root) as client:
        walk(client, "day-0/walk-9", 1.0)
    steps = steps_of(looked(site))
    assert steps["doubled"]["state"] == "stale"
    assert (steps["doubled"]["counts"]["stale"], steps["doubled"]["counts"]["pending"]) == (1, 1)
    reasons = {reason["status"]: reason for reason in steps["doubled"]["reasons"]}
    assert reasons["stale"]["sequences"] == [WALKS[1]]
    assert reasons["stale"]["why"] == "changed since: tracks"
    assert reasons["pending"]["sequences"] == ["day-0/walk-9"]
    page = site.api("/pipelines/walks/steps/doubled/entries").json()
    words = {entry["sequence"]: entry["words"] for entry in page["entries"]}
    assert words == {name: store.why("doubled", name) for name in [*WALKS, "day-0/walk-9"]}
    assert {entry["sequence"] for entry in page["entries"][:2]} == {WALKS[1], "day-0/walk-9"}
    assert page["total"] == 5
    only = site.api("/pipelines/walks/steps/doubled/entries", params={"status": "stale", "limit": 1}).json()
    assert ([entry["sequence"] for entry in only["entries"]], only["total"], only["next"]) == (
        [WALKS[1]],
        1,
        None,
    )


def test_a_failed_entry_is_told_with_its_error(site: Site, store: Derived) -> None:
    """The step is failed, and the reason is what was raised."""
    with gapless.connect(store.root) as client:
        walk(client, LOST, 1e9)
    store.run()
    step = steps_of(looked(site))["doubled"]
    assert step["state"] == "failed"
    [reason] = step["reasons"]
    assert (reason["status"], reason["sequences"]) == ("failed", [LOST])
    assert reason["why"].startswith("RuntimeError: too far away")


def test_entries_that_are_computed_now_are_told(site: Site, store: Derived) -> None:
    """Those that a living process has claimed, and no others."""
    with gapless.connect(store.root) as client:
        walk(client, "day-0/walk-9", 1.0)
    doubled = steps_of(looked(site))["doubled"]
    run = (doubled["feature"], doubled["run_id"])
    with Owner(store.root) as owner, FeatureRegistry(store.root) as registry:
        assert registry.claim(*run, [("day-0", "day-0/walk-9")], owner.id, lambda _: True)
        step = steps_of(looked(site))["doubled"]
        assert (step["state"], step["counts"]["running"], step["counts"]["pending"]) == ("running", 1, 0)
        assert site.api("/features/runs").json()["runs"][-1]["state"] == "running"
    step = steps_of(looked(site))["doubled"]
    assert (step["state"], step["counts"]["running"], step["counts"]["pending"]) == ("pending", 0, 1)


def test_a_look_holds_until_something_changes(site: Site, store: Derived) -> None:
    """Nothing is looked at twice while nothing changes; other code, and nothing else, is seen at once."""

    def settled() -> dict[str, Any] | None:
        status = dict(site.api(STATUS).json())
        return status if status["is_current"] else None

    first = until(settled, "a look never holds")
    assert [site.api(STATUS).json()["looked_ns"] for _ in range(5)] == [first["looked_ns"]] * 5
    store.module.write_text(
        store.module.read_text(encoding="utf-8").replace("2 * df", "3 * df"), encoding="utf-8"
    )

    def changed() -> dict[str, Any] | None:
        status = dict(site.api(STATUS).json())
        return status if steps_of(status)["doubled"]["code_changed"] else None

    status = until(changed, "other code is not seen")
    assert steps_of(status)["doubled"]["code_changed"] == 4
    assert "source code changed" in steps_of(status)["doubled"]["why"]


def test_many_who_ask_at_once_cause_one_look(site: Site) -> None:
    """All of them are told what the one process found."""
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: site.api(STATUS).json()["looked_ns"], range(8)))
    assert len(set(found)) == 1
    assert found[0] is not None


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "typo.toml",
            "[[steps]]\nname = 'a'\nfeature = 'no-such-feature'\n",
            "there is no feature of that name",
        ),
        ("torn.toml", "[[steps", "is no TOML"),
        ("raises.py", "raise ValueError('not today')\n", "the pipeline raises.py cannot be run"),
        ("leaves.py", "import sys\nsys.exit(3)\n", "the pipeline cannot be looked at"),
        ("dies.py", "import os\nos._exit(9)\n", "broke off"),
        ("other.py", "pipeline = 5\n", "makes no pipeline"),
        ("gone.toml", None, "there is no such file"),
    ],
)
def test_a_pipeline_that_cannot_be_loaded_says_why(
    begin: Begin, store: Derived, tmp_path: Path, name: str, text: str | None, words: str
) -> None:
    """It is an answer of 200 with the words of the command line, and the other pipelines are there."""
    file = tmp_path / name
    if text is not None:
        file.write_text(text, encoding="utf-8")
    site = begin(store.root, pipelines=(file, store.pipeline))
    status = looked(site, f"/pipelines/{file.stem}/status")
    assert status["steps"] is None
    assert words in status["error"]["message"]
    assert status["error"]["next"]
    assert steps_of(looked(site))["doubled"]["state"] == "ok"


def test_what_a_pipeline_prints_is_no_report(begin: Begin, store: Derived, tmp_path: Path) -> None:
    """Words on its standard output do not get between."""
    file = tmp_path / "talks.py"
    file.write_text(
        f"print('hello')\nfrom {store.module.stem} import Double\n"
        "from gapless.features import FeatureStep, Pipeline\n"
        "pipeline = Pipeline().add(FeatureStep('doubled', Double))\n",
        encoding="utf-8",
    )
    site = begin(store.root, pipelines=(file,))
    assert steps_of(looked(site, "/pipelines/talks/status"))["doubled"]["state"] == "ok"


def test_pipelines_are_for_keys_of_all_groups(site: Site) -> None:
    """A key for a group is told that it is one; an unknown pipeline or step is not found."""
    refusal(site.api("/pipelines/nobody/status"), 404, "NotFound")
    refusal(site.api("/pipelines/walks/steps/nobody/entries"), 404, "NotFound")
    key, grouped = site.key("read"), site.key("read", "day-0")
    for path in ("/pipelines", STATUS, "/pipelines/walks/steps/doubled/entries"):
        assert site.api(path, key=key).status_code == 200
        refusal(site.api(path, key=grouped), 403, "RightMissing")
        refusal(site.api(path), 401, "KeyRefused")


def test_the_end_of_the_server_ends_a_look(store: Derived, tmp_path: Path) -> None:
    """A pipeline that never ends holds nothing up, and its process is gone."""
    file, number = tmp_path / "stuck.py", tmp_path / "pid"
    file.write_text(
        f"import os, pathlib, time\npathlib.Path({str(number)!r}).write_text(str(os.getpid()))\ntime.sleep(3600)\n",
        encoding="utf-8",
    )
    draining = threading.Event()
    looks = PipelineLooks(store.root, (file,), draining)
    assert looks.look("stuck").report is None
    pid = int(until(lambda: number.read_text() if number.exists() else "", "it never began"))
    draining.set()
    until(lambda: not _lives(pid), "the process of the look is still there")
    assert looks.look("stuck", wait_s=0.0).is_looking in (True, False)


def test_a_look_apart_is_a_document(store: Derived) -> None:
    """Reports name the code that they were made with, so that a change of it is noticed."""
    document = look_apart(store.root, store.pipeline, threading.Event())
    watched = [Path(place).name for place, _ in document["watched"]]
    assert {store.pipeline.name, store.module.name, "state.db"} <= set(watched)
    assert document["error"] is None


def test_files_of_one_stem_have_names_of_their_own(tmp_path: Path) -> None:
    """In the order in which they were given."""
    files = [tmp_path / "a" / "walks.toml", tmp_path / "b" / "walks.toml", tmp_path / "walks.py"]
    assert named_files(files) == {"walks": files[0], "walks-2": files[1], "walks-3": files[2]}


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
