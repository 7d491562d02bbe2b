"""Trainings that tell of their progress: lists, events, and a stream that ends with the training."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from gapless.features.run_folder import now_text
from gapless.features.training.model_run import ModelRun
from gapless.features.training.progress_file import SQLiteProgressCallback
from gapless.store.platform import PLATFORM

from .conftest import Site
from .test_core import refusal

JOB = "night 1/a"
PATH = f"/jobs/{quote(JOB, safe='')}"
RUN = ("mean", "1.0-0123456789ab")


@contextmanager
def training(root: Path) -> Iterator[SQLiteProgressCallback]:
    """Be a training that goes on: begun, and its lock held."""
    run = ModelRun.of(root / "models", *RUN)
    run.lock.parent.mkdir(parents=True)
    fd = PLATFORM.lock(run.lock)
    try:
        callback = SQLiteProgressCallback(root, JOB)
        callback.on_begin(*RUN)
        yield callback
    finally:
        PLATFORM.close(fd)


def heard(answer: httpx.Response) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield name, data and id of each event of a stream."""
    event, identity = "", ""
    for line in answer.iter_lines():
        word, _, rest = line.partition(": ")
        if word == "event":
            event = rest
        elif word == "id":
            identity = rest
        elif word == "data":
            yield event, json.loads(rest), identity


def test_a_store_without_trainings_has_none(site: Site) -> None:
    """No file is made by asking, and an unknown training is not found."""
    before = sorted(path.name for path in site.root.iterdir())
    assert site.api("/jobs").json() == {"jobs": []}
    refusal(site.api(PATH), 404, "NotFound")
    refusal(site.api(f"{PATH}/stream"), 404, "NotFound")
    assert sorted(path.name for path in site.root.iterdir()) == before


def test_a_training_stands_as_it_told(site: Site) -> None:
    """Running while its lock is held, interrupted when its process died, else as it ended."""
    with training(site.root) as callback:
        [job] = site.api("/jobs").json()["jobs"]
        assert (job["job_id"], job["state"], job["events"]) == (JOB, "running", 0)
        assert (job["model"], job["run_id"]) == RUN
        callback.on_phase("fit", "slowly")
    assert site.api(PATH).json()["state"] == "interrupted"
    callback.on_end("failed")
    told = site.api(PATH).json()
    assert (told["state"], told["events"]) == ("failed", 1)
    assert told["ended_at"] >= told["last_at"]
    callback.on_begin(*RUN)
    callback.on_end("finished")
    assert site.api(PATH).json()["state"] == "finished"


def test_a_training_whose_process_died_after_the_end(site: Site) -> None:
    """What its manifest says counts, if it is of this training."""
    run = ModelRun.of(site.root / "models", *RUN)
    with training(site.root) as callback:
        run.path.mkdir()
    assert site.api(PATH).json()["state"] == "interrupted"
    manifest = run.path / "manifest.json"
    for finished_at, state in (("2020-01-01T00:00:00+00:00", "interrupted"), (now_text(), "finished")):
        manifest.write_text(json.dumps({"status": "finished", "finished_at": finished_at}), encoding="utf-8")
        assert site.api(PATH).json()["state"] == state
    callback.on_begin(*RUN)
    assert site.api(PATH).json()["state"] == "interrupted"


def test_a_callback_that_never_said_what_it_trains(site: Site) -> None:
    """Its events are there, and it runs as long as they are young."""
    SQLiteProgressCallback(site.root, JOB).on_epoch_end(1, 2, {"loss": 0.5})
    told = site.api(PATH).json()
    assert (told["state"], told["model"]) == ("running", None)
    [event] = told["progress"]
    assert (event["step_type"], event["step_index"], event["metrics"]) == ("epoch", 1, {"loss": 0.5})


def test_events_come_by_page(site: Site) -> None:
    """Each once; a number that is not finite is null."""
    callback = SQLiteProgressCallback(site.root, JOB)
    for epoch in range(5):
        callback.on_epoch_end(epoch, 5, {"loss": float("nan") if epoch == 3 else epoch / 2})
    numbers: list[tuple[int, Any]] = []
    after: int | None = 0
    while after is not None:
        page = site.api(PATH, params={"after": after, "limit": 2}).json()
        numbers += [(event["number"], event["metrics"]["loss"]) for event in page["progress"]]
        after = page["next"]
    assert numbers == [(1, 0.0), (2, 0.5), (3, 1.0), (4, None), (5, 2.0)]


def test_the_stream_tells_each_event_once_and_ends(site: Site) -> None:
    """What was told before comes first, then what is told meanwhile, and the last word is how it ended."""
    with training(site.root) as callback:
        callback.on_epoch_end(0, 3, {"loss": 1.0})
        found: list[tuple[str, dict[str, Any], str]] = []
        first = threading.Event()

        def listen() -> None:
            with site.http.stream("GET", f"{site.url}/api/v1{PATH}/stream") as answer:
                assert answer.headers["content-type"].startswith("text/event-stream")
                for told in heard(answer):
                    found.append(told)
                    first.set()

        listener = threading.Thread(target=listen)
        listener.start()
        assert first.wait(60)
        for epoch in (1, 2):
            callback.on_epoch_end(epoch, 3, {"loss": 1.0 - epoch / 4})
        callback.on_end("finished")
        listener.join(60)
        assert not listener.is_alive()
    assert [(event, identity) for event, _, identity in found[:-1]] == [
        ("progress", str(n)) for n in (1, 2, 3)
    ]
    assert [data["metrics"]["loss"] for _, data, _ in found[:-1]] == [1.0, 0.75, 0.5]
    event, data, _ = found[-1]
    assert (event, data["state"], data["events"]) == ("end", "finished", 3)


def test_a_browser_that_comes_back_goes_on_where_it_was(site: Site) -> None:
    """Last-Event-ID is the number of the last event that it has."""
    callback = SQLiteProgressCallback(site.root, JOB)
    callback.on_begin(*RUN)
    for epoch in range(4):
        callback.on_epoch_end(epoch, 4, {})
    callback.on_end("finished")
    with site.http.stream("GET", f"{site.url}/api/v1{PATH}/stream", headers={"Last-Event-ID": "3"}) as answer:
        assert [(event, data.get("number")) for event, data, _ in heard(answer)] == [
            ("progress", 4),
            ("end", None),
        ]
    refusal(site.api(f"{PATH}/stream", headers={"Last-Event-ID": "three"}), 422, "QuestionRefused")


def test_the_end_of_the_server_ends_the_stream(site: Site) -> None:
    """A browser is told why."""
    with (
        training(site.root) as callback,
        site.http.stream("GET", f"{site.url}/api/v1{PATH}/stream") as answer,
    ):
        callback.on_phase("fit", "")
        events = heard(answer)
        assert next(events)[0] == "progress"
        site.operations.stop()
        event, data, _ = next(events)
        assert (event, data["error"]) == ("refused", "ServerClosing")
        assert list(events) == []


def test_trainings_are_for_keys_of_all_groups(site: Site) -> None:
    """They tell of the whole store."""
    SQLiteProgressCallback(site.root, JOB).on_phase("fit", "")
    key, grouped = site.key("read"), site.key("read", "day-0")
    for path in ("/jobs", PATH, f"{PATH}/stream"):
        refusal(site.api(path, key=grouped), 403, "RightMissing")
        refusal(site.api(path), 401, "KeyRefused")
    assert len(site.api("/jobs", key=key).json()["jobs"]) == 1
