"""Pictures of every view, light and dark, 1440 and 390 px wide: ``python -m tests.page.screenshots FOLDER [NAME…]``.

For people to look at; nothing compares them. NAME takes those places only.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from itertools import product
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from .furnished import EMPTY, LOGIN, Place, empty, furnished, places
from .harness import CHROMIUM, NARROW, WIDE, screen_on
from .recorded import record_store
from .served import Site

_HIGHEST = 4_000
_DRAWING_MS = 1_500  # live plots have something to show then


def main(folder: Path, names: list[str]) -> int:
    """Record and serve a store, and write ``NAME-WIDTH-light.png`` and ``-dark.png`` of each place."""
    if CHROMIUM is None:
        print("there is no Chromium: apt-get install chromium", file=sys.stderr)
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gapless-screenshots-") as work:
        root = Path(work) / "store"
        record_store(root)
        with ExitStack() as ending:
            full = ending.enter_context(furnished(root, Path(work)))
            new = ending.enter_context(empty(Path(work) / "new"))
            asking = ending.enter_context(empty(Path(work) / "asking", key=True))
            playwright = ending.enter_context(sync_playwright())
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox"], env={"HOME": work, "TZ": "UTC"}
            )
            for site, shown in ((full, places(full)), (new, EMPTY), (asking, LOGIN)):
                _take(browser, site, [place for place in shown if not names or place.name in names], folder)
            browser.close()
    return 0


def _take(browser: Browser, site: Site, shown: list[Place], folder: Path) -> None:
    for size, dark in product((WIDE, NARROW), (False, True)):
        with screen_on(browser, site, size=size, dark=dark) as screen:
            screen.allow("")  # a view that is not right is what one wants to see
            for place in shown:
                page = screen.open(place.path)
                page.wait_for_timeout(_DRAWING_MS)
                target = folder / f"{place.name}-{size[0]}-{'dark' if dark else 'light'}.png"
                page.set_viewport_size({"width": size[0], "height": _height(page, size[1])})
                page.screenshot(path=target)
                page.set_viewport_size({"width": size[0], "height": size[1]})
                print(target)


def _height(page: Page, least: int) -> int:
    """Return how high a window shows the whole page: what is fixed to its edges then covers nothing."""
    return min(max(least, int(page.evaluate("document.documentElement.scrollHeight"))), _HIGHEST)


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), sys.argv[2:]))
