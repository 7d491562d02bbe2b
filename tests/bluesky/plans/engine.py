"""Running a plan on a real RunEngine and keeping a copy of every document."""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from tests.bluesky.plans.bench import Bench

Documents = list[tuple[str, dict[str, Any]]]
Callback = Callable[[str, dict[str, Any]], None]


@functools.cache
def engine() -> Any:
    """Return the one RunEngine of this process: the devices live in its loop."""
    logging.getLogger("bluesky").setLevel(logging.CRITICAL)
    return RunEngine(context_managers=[])


def run_plan(plan: Callable[[Bench], Iterator[Any]], folder: Path, *callbacks: Callback) -> Documents:
    """Run the plan to its end, whatever that is, and return what it emitted; a pause is resumed.

    The callbacks are subscribed before the one that keeps the documents.
    """
    running = engine()
    answers = iter(["0.5", "0.25", "q"])
    running.register_command("input", _answer(answers))
    seen: Documents = []
    tokens = [running.subscribe(callback) for callback in callbacks]
    tokens.append(running.subscribe(lambda name, doc: seen.append((name, copy.deepcopy(doc)))))
    try:
        running(plan(Bench(folder)))
    except RunEngineInterrupted:
        running.resume()
    except RuntimeError as error:
        if seen[-1][1].get("reason") != str(error):
            raise
    finally:
        for token in tokens:
            running.unsubscribe(token)
    return seen


def _answer(answers: Iterator[str]) -> Callable[[Any], Any]:
    async def answer(msg: Any) -> str:
        return next(answers)

    return answer
