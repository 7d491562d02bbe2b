"""A client of the real Tiled server over a store, in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tiled.client import from_context
from tiled.client.context import Context

from gapless.bluesky.tiled import application
from gapless.client.client import Client, connect

Serve = Callable[[], Any]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Client]:
    """A client of an empty store."""
    with connect(tmp_path / "store") as client:
        yield client


@pytest.fixture
def serve(store: Client, tmp_path: Path) -> Iterator[Serve]:
    """Return a function that starts Tiled over the store and returns its own client.

    External files are served from the test's folder.
    """
    with ExitStack() as stack:

        def start() -> Any:
            app = application(store.path, api_key="secret", external_roots=[tmp_path])
            return from_context(stack.enter_context(Context.from_app(app)))

        yield start
