"""Tiled's own web page over a store, in a real browser: run list, metadata, table, image."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.acquire.debian import find_program
from tests.bluesky.tiled.sample import IMAGE_KEY, RunSample, record_flight
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_socket

from gapless.client.client import connect

pytestmark = pytest.mark.slow
DEADLINE_S = 60
SHOWN_IMAGE = """
[...document.querySelectorAll('canvas, img')].map(i => [i.naturalWidth || i.width, i.naturalHeight || i.height])
"""
CHROMIUM = find_program("chromium", "chromium")


class Browser:
    """A page of a headless Chromium, driven over its debugging socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._asked = 0

    def ask(self, method: str, **params: Any) -> Any:
        """Send one command and return its result."""
        self._asked += 1
        self._socket.send(json.dumps({"id": self._asked, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv(DEADLINE_S))
            if answer.get("id") == self._asked:
                return answer["result"]

    def run(self, script: str) -> Any:
        """Run a script in the page and return its value."""
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def show(self, url: str, words: str, *, click: str | None = None) -> str:
        """Open a page and the tab of that name, wait until the words are there; return all its text.

        The tab is clicked until they are, since the page goes back to its first tab when its data come.
        """
        self.ask("Page.navigate", url=url)
        tab = (
            f"[...document.querySelectorAll('[role=tab]')].find(t => t.innerText.toUpperCase() == '{click}')"
        )
        while_waiting = f"(tab => tab && tab.click())({tab})" if click is not None else "null"
        wait_for(lambda: words in self.text or self.run(while_waiting))
        return self.text

    @property
    def text(self) -> str:
        """What a reader of the page sees."""
        return str(self.run("document.body.innerText"))

    def picture(self) -> bytes:
        """Return a screenshot as PNG."""
        return base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])


@contextmanager
def browser_in(folder: Path) -> Iterator[Browser]:
    """Start Chromium with its profile in a folder, and end it."""
    assert CHROMIUM is not None
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--window-size=1300,900"]
    process = subprocess.Popen(
        [CHROMIUM, *flags, "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"HOME": str(folder)},
    )
    try:
        told = wait_for((folder / "DevToolsActivePort").read_text, FileNotFoundError)
        with urllib.request.urlopen(f"http://127.0.0.1:{told.split()[0]}/json", timeout=DEADLINE_S) as answer:
            page = next(found for found in json.load(answer) if found["type"] == "page")
        with connect_socket(page["webSocketDebuggerUrl"], max_size=None) as socket:
            yield Browser(socket)
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def wait_for(look: Any, *ignored: type[Exception]) -> Any:
    """Return what a look finds, looking again until it finds something."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        try:
            found = look()
        except ignored:
            found = None
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"it did not come: {found}")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Return the URL of a served store and the uid of a run in it."""
    folder = tmp_path_factory.mktemp("page")
    with connect(folder / "store") as client:
        run = RunSample(client, scan_id=4711, sample="Quartz")
        run.describe(img=IMAGE_KEY)
        for seq_num in range(1, 6):
            run.event(seq_num)
        run.images(folder / "images.h5", 5)
        run.stop()
        record_flight(client)
    words = [
        "serve",
        str(folder / "store"),
        "--tiled",
        "--port",
        "0",
        "--public",
        "--external-root",
        str(folder),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "gapless.cli.main", *words],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"HOME": str(folder)},
    )
    assert process.stdout is not None
    found = re.search(r"http://\S+", process.stdout.readline())
    assert found is not None
    yield found[0], run.uid
    process.terminate()
    process.communicate(timeout=DEADLINE_S)


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium and it cannot be installed here")
def test_the_page_lists_and_shows(site: tuple[str, str], tmp_path: Path) -> None:
    """The list has every key, the metadata tab the start document, the table its rows, the image pixels."""
    url, uid = site
    pictures = Path(os.environ.get("GAPLESS_TEST_PICTURES", tmp_path))
    with browser_in(tmp_path / "profile") as browser:
        text = browser.show(f"{url}/ui/browse/", uid)
        assert "flight-1" in text
        (pictures / "run_list.png").write_bytes(browser.picture())
        text = browser.show(f"{url}/ui/browse/{uid}", "4711", click="METADATA")
        assert "Quartz" in text
        (pictures / "metadata.png").write_bytes(browser.picture())
        text = browser.show(f"{url}/ui/browse/{uid}/primary/internal", "é4")
        assert "No rows" not in text
        (pictures / "table.png").write_bytes(browser.picture())
        browser.show(f"{url}/ui/browse/{uid}/primary/img", "planar cut")
        wait_for(lambda: [10, 8] in browser.run(SHOWN_IMAGE))
        (pictures / "image.png").write_bytes(browser.picture())
