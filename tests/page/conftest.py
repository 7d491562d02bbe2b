"""Chromium, a recorded store, and a server of it.

The browser lasts as long as a module: while Playwright's loop runs in a thread, nothing else there may run one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from .furnished import furnished
from .harness import CHROMIUM, DEADLINE_S, Screen, Site, recording_live, screen_on, serving
from .recorded import record_store

Serve = Callable[..., Site]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Return Debian's Chromium, headless."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium and it cannot be installed here: apt-get install chromium, as root")
    expect.set_options(timeout=DEADLINE_S * 1_000)
    home = tmp_path_factory.mktemp("browser-home")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM, headless=True, args=flags, env={"HOME": str(home), "TZ": "UTC"}
        )
        yield started
        started.close()


@pytest.fixture(scope="session")
def recorded_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the store of ``recorded.py``, made once; tests get copies."""
    root = tmp_path_factory.mktemp("recorded") / "store"
    record_store(root)
    return root


@pytest.fixture(scope="module")
def store(recorded_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the recorded store that belongs to the module; nothing in it is open."""
    root = tmp_path_factory.mktemp("page") / "store"
    shutil.copytree(recorded_root, root)
    return root


@pytest.fixture(scope="module")
def live_store(store: Path) -> Iterator[Path]:
    """Return the module's store while another process records ``recorded.LIVE`` into it."""
    with recording_live(store, store.parent):
        yield store


@pytest.fixture(scope="module")
def site(store: Path) -> Iterator[Site]:
    """Return the module's store as a server without keys serves it."""
    with serving(store, store.parent / "server") as served:
        yield served


@pytest.fixture(scope="module")
def full(recorded_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return a site that has something to show on every page: runs, features, a hub."""
    work = tmp_path_factory.mktemp("full")
    shutil.copytree(recorded_root, work / "store")
    with furnished(work / "store", work) as site:
        yield site


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Return a function ``serve(root, *words)`` that serves a store until the test ends: with keys, a hub, …"""
    with ExitStack() as ending:
        count = iter(range(1_000))

        def begin(root: Path, *words: str) -> Site:
            return ending.enter_context(serving(root, tmp_path / f"server-{next(count)}", *words))

        yield begin


@pytest.fixture
def screen(browser: Browser, site: Site) -> Iterator[Screen]:
    """Return an empty page on the module's site, 1440 px wide, light; nothing may go wrong in it."""
    with screen_on(browser, site) as opened:
        yield opened


@pytest.fixture
def page(screen: Screen) -> Page:
    """Return the Playwright page of ``screen``."""
    return screen.page
