"""The page of a sequence as a test drives it: where its plots are on screen, and what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from playwright.sync_api import Locator, Page, expect

from .harness import Screen


def address(name: str, **said: str | int | Sequence[str]) -> str:
    """Return the path of the page of a sequence, with parameters of its address; a list repeats one."""
    asked = f"?{urlencode(said, doseq=True)}" if said else ""
    return f"/sequences/{quote(name, safe='')}{asked}"


@dataclass(frozen=True)
class Plots:
    """The tab of plots; x positions are pixels of the window, times ns."""

    screen: Screen

    @property
    def page(self) -> Page:
        """The page they are on."""
        return self.screen.page

    @property
    def area(self) -> Locator:
        """What holds the figures, and the keyboard."""
        return self.page.locator(".plots-area")

    @property
    def figures(self) -> Locator:
        """The figures, from top to bottom."""
        return self.area.locator(".figure")

    def wait(self, count: int) -> None:
        """Return when that many figures are drawn and at rest."""
        expect(self.figures).to_have_count(count)
        self.screen.until(lambda: self._said("left"), "the figures are not on screen")
        self.screen.wait_idle()

    def _said(self, name: str) -> str | None:
        return self.area.get_attribute(f"data-{name}")

    @property
    def span(self) -> tuple[int, int]:
        """First and last time on screen."""
        return int(self._said("from") or 0), int(self._said("to") or 0)

    @property
    def requests(self) -> int:
        """How often curves were asked for."""
        return int(self._said("requests") or 0)

    @property
    def is_exact(self) -> bool:
        """True while every row on screen is drawn by itself."""
        return self._said("exact") == "true"

    @property
    def edges(self) -> tuple[float, float]:
        """Left and right edge of the drawn area."""
        box = self.area.bounding_box()
        assert box is not None
        left, right = (float(self._said(name) or 0) for name in ("left", "right"))
        return box["x"] + left, box["x"] + right

    def x_of(self, time_ns: int) -> float:
        """Return where a time is drawn."""
        (start, end), (left, right) = self.span, self.edges
        return left + (time_ns - start) / (end - start) * (right - left)

    def ns_of(self, x: float) -> float:
        """Return the time that is drawn at an x."""
        (start, end), (left, right) = self.span, self.edges
        return start + (x - left) / (right - left) * (end - start)

    @property
    def ns_per_pixel(self) -> float:
        """How long a pixel is."""
        (start, end), (left, right) = self.span, self.edges
        return (end - start) / (right - left)

    def y_of(self, number: int = 0) -> float:
        """Scroll to a figure and return the height of its middle."""
        area = self.figures.nth(number).locator(".figure-area")
        area.scroll_into_view_if_needed()
        box = area.bounding_box()
        assert box is not None
        return box["y"] + box["height"] / 2

    def hover(self, time_ns: int, number: int = 0) -> None:
        """Move the mouse over a time in a figure."""
        y = self.y_of(number)
        self.page.mouse.move(self.x_of(time_ns), y)

    def drag(self, from_x: float, to_x: float, number: int = 0) -> None:
        """Drag the mouse in a figure."""
        y = self.y_of(number)
        self.page.mouse.move(from_x, y)
        self.page.mouse.down()
        self.page.mouse.move((from_x + to_x) / 2, y)
        self.page.mouse.move(to_x, y)
        self.page.mouse.up()

    def read_out(self, number: int = 0) -> Locator:
        """Return what the cursor reads in a figure, of its first field."""
        return self.figures.nth(number).locator(".figure-value").first

    def exact(self, number: int = 0) -> str | None:
        """Return the exact value that the cursor reads in a figure, None where it is over a bucket."""
        value = self.read_out(number).locator("[data-value]")
        return value.get_attribute("data-value") if value.count() else None


def parameters(page: Page) -> Mapping[str, str]:
    """Return the parameters of the address that is shown."""
    found: dict[str, str] = page.evaluate("Object.fromEntries(new URLSearchParams(location.search))")
    return found


def fields(page: Page) -> list[str]:
    """Return the fields in the address that is shown."""
    found: list[str] = page.evaluate("new URLSearchParams(location.search).getAll('fields')")
    return found
