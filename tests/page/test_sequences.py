"""The list of sequences: finding one by words and by a query, sorting, ten thousand rows, the address, live ones."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from gapless.client.client import connect
from gapless.store.folder import FolderStore

from .harness import NARROW, Screen, screen_on
from .recorded import FAILED, FLIGHT, LIVE, PENDING, SMALL, SPIKE_ROW, START_NS, UNUSUAL, S
from .served import Site, recording_live, serving

SPIKE = "IMU.acceleration.z > 40"
SPIKE_NS = START_NS + SPIKE_ROW * S // 200
MANY = 10_000


def grid(page: Page) -> Locator:
    """Return the table."""
    return page.get_by_role("grid", name="Sequences")


def rows(page: Page) -> Locator:
    """Return the rows on screen, without the header."""
    return grid(page).locator(".table-body [role=row]")


def names(page: Page) -> list[str]:
    """Return the names of the rows in the document, in order."""
    found = [(int(str(row.get_attribute("data-index"))), row) for row in rows(page).all()]
    return [row.locator(".sequence-name").inner_text() for _, row in sorted(found, key=lambda pair: pair[0])]


def search(screen: Screen, text: str) -> None:
    """Type into the search box, press Enter, and wait for the answer."""
    screen.page.get_by_label("Search", exact=True).fill(text)
    screen.page.keyboard.press("Enter")
    screen.wait_idle()


# -- finding ------------------------------------------------------------------------------------------


def test_a_query_about_rows_finds_the_sequence_and_its_span_leads_to_the_rows(screen: Screen) -> None:
    """The main task: from one row among thousands to the page zoomed to it."""
    page = screen.open("/")
    search(screen, SPIKE)
    assert names(page) == [FLIGHT]
    expect(page.locator("#told")).to_contain_text("Used as a query")
    expect(page.locator("#count")).to_have_text("1 sequence")
    span = rows(page).locator(".spans a")
    expect(span).to_contain_text("sensors/imu")
    zoom = f"from={SPIKE_NS}&to={SPIKE_NS + 1}&topic=sensors%2Fimu"
    assert span.get_attribute("href") == f"/sequences/{quote(FLIGHT, safe='')}?{zoom}"
    span.click()
    page.wait_for_url(f"**/sequences/{quote(FLIGHT, safe='')}?*from={SPIKE_NS}*")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("kestrel", [FLIGHT]),  # a value in metadata
        ("pump/pressure", sorted([FAILED, PENDING])),  # a topic
        ("knock", [FLIGHT]),  # a label
        ("ä/run #7", [UNUSUAL]),
    ],
)
def test_words_are_looked_for_everywhere(screen: Screen, words: str, found: list[str]) -> None:
    """In metadata, topics, labels and names, and no character of them is special."""
    page = screen.open("/")
    search(screen, words)
    assert sorted(names(page)) == found
    expect(page.locator("#told")).to_contain_text("Used as words")


def test_typing_searches_by_itself_but_not_with_half_a_query(screen: Screen) -> None:
    """Half a query is said to be unfinished instead of being refused."""
    page = screen.open("/")
    page.get_by_label("Search", exact=True).press_sequentially("kestrel")
    expect(page.locator("#count")).to_have_text("1 sequence")
    page.get_by_label("Search", exact=True).fill("")
    page.get_by_label("Search", exact=True).press_sequentially("metadata.vehicle.name == ")
    expect(page.locator("#told")).to_contain_text("not finished")
    page.get_by_label("Search", exact=True).press_sequentially('"mule"')
    expect(page.locator("#count")).to_have_text("1 sequence")


def test_a_wrong_query_says_where_and_can_be_used_as_words(screen: Screen) -> None:
    """The rows shown before stay, marked as not being the answer."""
    screen.allow("400")
    page = screen.open("/")
    before = names(page)
    search(screen, "metadata.pilot = = 3")
    expect(page.locator("#told [role=alert]")).to_contain_text("olumn 18")
    assert names(page) == before[: len(names(page))]  # the refusal takes the room of some
    expect(page.locator("#sequences")).to_have_attribute("data-stale", "")
    page.get_by_role("button", name="Look for these words instead").click()
    expect(page.get_by_text("No sequence matches.")).to_be_visible()
    expect(page.locator("#told")).to_contain_text("Used as words")


def test_a_phrase_with_a_word_of_the_language_is_used_as_words(screen: Screen) -> None:
    """'in' alone makes no query."""
    screen.allow("400")
    page = screen.open("/")
    search(screen, "calm in rain")
    expect(page.locator("#told")).to_contain_text("Used as words")


def test_filters_narrow_and_are_taken_back(screen: Screen) -> None:
    """By their buttons, and by the browser's own way back."""
    page = screen.open("/")
    everything = page.locator("#count").inner_text()
    page.get_by_label("Outcome").select_option("failed")
    expect(page.locator("#count")).to_have_text("1 sequence")
    assert names(page) == [FAILED]
    page.get_by_label("Status").select_option("pending")
    expect(page.get_by_text("No sequence matches.")).to_be_visible()
    page.get_by_role("button", name="Any outcome instead of failed").click()
    expect(page.locator("#count")).to_have_text("1 sequence")
    assert names(page) == [PENDING]
    page.go_back()
    expect(page.get_by_text("No sequence matches.")).to_be_visible()
    page.go_back()
    expect(rows(page)).to_have_count(1)
    assert names(page) == [FAILED]
    page.go_back()
    expect(page.locator("#count")).to_have_text(everything)


def test_the_group_filter_knows_the_groups(screen: Screen) -> None:
    """It offers those that the store has."""
    page = screen.open("/")
    page.get_by_label("Group", exact=True).focus()
    offered = page.locator("#groups option")
    expect(offered).not_to_have_count(0)
    assert sorted(str(one.get_attribute("value")) for one in offered.all()) == [
        "bench",
        "drive",
        "flights",
        "oven",
    ]
    page.get_by_label("Group", exact=True).fill("bench")
    page.keyboard.press("Enter")
    expect(page.locator("#count")).to_have_text("3 sequences")


# -- completions --------------------------------------------------------------------------------------


def test_completions_of_paths_values_and_fields_are_taken_with_the_keyboard(screen: Screen) -> None:
    """Known paths, the values they have, and fields with their units."""
    page = screen.open("/")
    box = page.get_by_role("combobox", name="Search")
    box.press_sequentially("metadata.veh")
    options = page.get_by_role("listbox", name="Completions").get_by_role("option")
    expect(options.filter(has_text="metadata.vehicle.name")).to_be_visible()
    expect(box).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Escape")
    expect(page.get_by_role("listbox")).to_be_hidden()
    box.press_sequentially("icle.na")
    expect(options).to_have_count(1)
    page.keyboard.press("ArrowDown")
    assert box.get_attribute("aria-activedescendant") == options.first.get_attribute("id")
    page.keyboard.press("Enter")
    expect(box).to_have_value("metadata.vehicle.name")
    box.press_sequentially(" == ")
    expect(options.filter(has_text='"kestrel"')).to_be_visible()
    options.filter(has_text='"kestrel"').click()
    expect(box).to_have_value('metadata.vehicle.name == "kestrel"')
    expect(page.locator("#count")).to_have_text("1 sequence")
    box.fill("IMU.acceleration.")
    expect(options.filter(has_text="IMU.acceleration.z")).to_contain_text("m/s")


# -- the table ----------------------------------------------------------------------------------------


def test_a_row_tells_how_the_sequence_stands(screen: Screen) -> None:
    """Figures, badges, and the curve of its first number."""
    page = screen.open(f"/?query={quote(FLIGHT)}")
    row = rows(page).first
    for key, words in {
        "status": "completed", "rows": "4,5", "topics": "4", "labels": "2", "group": "flights",
        "health": "7 missing", "duration": "20.0 s",
    }.items():  # fmt: skip
        expect(row.locator(f"[data-key={key}]")).to_contain_text(words)
    expect(row.locator(".sparkline-line")).to_have_attribute("d", re.compile(r"^M.*L"))


def test_columns_sort_and_the_order_is_in_the_address(screen: Screen) -> None:
    """One way, the other way, and as it was."""
    page = screen.open("/")
    plain = names(page)
    header = grid(page).get_by_role("columnheader", name="Rows")
    header.get_by_role("button").click()
    screen.wait_idle()
    expect(header).to_have_attribute("aria-sort", "descending")
    assert names(page)[0] == FLIGHT
    assert "order=-rows" in page.url
    page.reload()
    screen.wait_idle()
    assert names(page)[0] == FLIGHT
    header.get_by_role("button").click()
    expect(header).to_have_attribute("aria-sort", "ascending")
    header.get_by_role("button").click()
    expect(header).to_have_attribute("aria-sort", "none")
    screen.wait_idle()
    assert names(page) == plain


def test_the_keyboard_finds_and_opens_a_sequence(screen: Screen) -> None:
    """The row, the links in it, and back."""
    page = screen.open(f"/?query={quote(SPIKE)}")
    grid(page).focus()
    page.keyboard.press("ArrowDown")
    active = grid(page).get_attribute("aria-activedescendant")
    assert active == rows(page).first.get_attribute("id")
    page.keyboard.press("ArrowRight")
    expect(rows(page).locator(".sequence-name")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(rows(page).locator(".spans a")).to_be_focused()
    page.keyboard.press("Escape")
    expect(grid(page)).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/sequences/{quote(FLIGHT, safe='')}*")


def test_a_name_with_every_character_opens_its_own_page(screen: Screen) -> None:
    """Slashes, blanks, '#' and '?' are parts of a name."""
    page = screen.open("/?query=%237")
    assert names(page) == [UNUSUAL]
    rows(page).locator(".sequence-name").click()
    page.wait_for_url(f"**/sequences/{quote(UNUSUAL, safe='')}")


def test_at_390_px_a_row_says_the_most_important_in_two_lines(browser: Browser, site: Site) -> None:
    """The columns that do not fit are under the name."""
    with screen_on(browser, site, size=NARROW) as screen:
        page = screen.open(f"/?query={quote(SPIKE)}")
        expect(rows(page).locator(".sequence-facts")).to_contain_text("completed")
        expect(rows(page).locator(".spans a")).to_be_visible()
        assert grid(page).get_by_role("columnheader").all_inner_texts() == ["Name", "Signal"]
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW[0]


# -- ten thousand -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Serve ten thousand sealed sequences, of which all but the first are a manifest only."""
    work = tmp_path_factory.mktemp("many")
    with connect(work / "store") as client, client.sequence_create("run-00000", group="many") as sequence:
        sequence.log("note", "one row", timestamp_ns=START_NS)
    store = FolderStore(work / "store")
    manifest = json.loads(store.bundle("run-00000").manifest.read_bytes())
    for number in range(1, MANY):
        manifest["content"]["name"] = f"run-{number:05d}"
        bundle = store.sequences / f"run-{number:05d}"
        bundle.mkdir()
        (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with serving(work / "store", work / "server") as served:
        yield served


@pytest.mark.slow
def test_ten_thousand_rows_are_a_hundred_in_the_document_and_the_place_is_kept(
    browser: Browser, many: Site
) -> None:
    """From the first to the last, somewhere between, and back there after reloading."""
    with screen_on(browser, many) as screen:
        screen.allow("sparkline")  # there are no rows to draw
        page = screen.open("/?order=name")
        expect(page.locator("#count")).to_have_text("10,000 sequences")
        expect(grid(page)).to_have_attribute("aria-rowcount", str(MANY + 1))
        assert names(page)[0] == "run-00000"
        assert rows(page).count() < 100
        grid(page).focus()
        page.keyboard.press("End")
        expect(page.get_by_text(f"run-{MANY - 1:05d}", exact=True)).to_be_visible()
        assert rows(page).count() < 100
        expect(rows(page).locator("[data-active]")).to_have_count(0)  # the row is marked, not a part of it
        active = grid(page).get_attribute("aria-activedescendant")
        assert page.locator(f"[id='{active}']").inner_text().startswith(f"run-{MANY - 1:05d}")
        page.keyboard.press("Home")
        expect(page.get_by_text("run-00000", exact=True)).to_be_visible()
        grid(page).evaluate("(grid) => { grid.scrollTop = 5000 * 36; }")
        expect(page.get_by_text("run-05000", exact=True)).to_be_visible()
        screen.until(lambda: "at=5000" in page.url, "the place is not in the address")
        page.reload()
        expect(page.get_by_text("run-05000", exact=True)).to_be_visible()
        screen.wait_idle()
        assert rows(page).count() < 100
        search(screen, "run-04711")
        assert names(page) == ["run-04711"]


class Asked:
    """Requests for curves: ``names`` of the paths, and the ``most`` that were on the way at once."""

    def __init__(self, page: Page) -> None:
        self.names: list[str] = []
        self.most = 0
        self._under_way = 0
        page.on("request", lambda request: self._begun(request.url))
        page.on("requestfinished", lambda request: self._ended(request.url))
        page.on("requestfailed", lambda request: self._ended(request.url))

    def _begun(self, url: str) -> None:
        if url.endswith("/sparkline"):
            self.names.append(url)
            self._under_way += 1
            self.most = max(self.most, self._under_way)

    def _ended(self, url: str) -> None:
        if url.endswith("/sparkline"):
            self._under_way -= 1


@pytest.mark.slow
def test_curves_are_asked_for_where_somebody_looks_and_a_few_at_a_time(browser: Browser, many: Site) -> None:
    """No row is asked about twice, none that is not near the screen, and the server is not flooded."""
    with screen_on(browser, many) as screen:
        screen.allow("sparkline")  # there are no rows to draw
        asked = Asked(screen.page)
        page = screen.open("/?order=name")
        assert 0 < len(asked.names) < 60
        assert len(set(asked.names)) == len(asked.names)
        grid(page).focus()
        page.keyboard.press("End")
        expect(page.get_by_text(f"run-{MANY - 1:05d}", exact=True)).to_be_visible()
        screen.wait_idle()
        assert len(asked.names) < 120
        assert 1 < asked.most <= 4


def test_an_order_that_there_is_not_is_refused_in_the_servers_words(screen: Screen) -> None:
    """A link that was written by hand says what is wrong with it."""
    screen.allow("422")
    page = screen.open("/?order=colour")
    expect(grid(page).locator("xpath=..").get_by_role("alert")).to_contain_text("order")
    grid(page).get_by_role("columnheader", name="Name").get_by_role("button").click()
    expect(rows(page)).not_to_have_count(0)
    expect(page.get_by_role("alert")).to_have_count(0)


# -- what comes and goes ------------------------------------------------------------------------------


def test_a_live_sequence_comes_to_the_top_by_itself_and_then_is_one_of_the_others(
    screen: Screen, store: Path
) -> None:
    """Nobody reloads: its rows grow, and its outcome appears."""
    page = screen.open("/")
    live = rows(page).filter(has_text=LIVE)
    expect(live).to_have_count(0)
    with recording_live(store, store.parent):
        expect(live.locator("[data-key=status] .badge[data-level=live]")).to_be_visible()
        expect(live).to_have_attribute("data-index", "0")
        before = live.locator("[data-key=rows]").inner_text()
        expect(live.locator("[data-key=rows]")).not_to_have_text(before)
    expect(live.locator("[data-key=status]")).to_have_text("completed")


def test_an_empty_store_says_how_to_record_and_shows_what_is_recorded(
    browser: Browser, serve: Callable[..., Site], tmp_path: Path
) -> None:
    """The first recording appears by itself."""
    root = tmp_path / "empty"
    with connect(root):
        served = serve(root)
    with screen_on(browser, served) as screen:
        page = screen.open("/")
        expect(page.get_by_text("Nothing is recorded in this store yet.")).to_be_visible()
        expect(page.get_by_text("gapless demo")).to_be_visible()
        with connect(root) as client, client.sequence_create("first") as sequence:
            sequence.log("a", 1.0)
        expect(rows(page)).to_have_count(1)
        assert names(page) == ["first"]


@pytest.mark.slow
def test_a_server_that_is_gone_is_told_and_its_return_too(
    browser: Browser, store: Path, tmp_path: Path
) -> None:
    """What was shown stays, with what to do about it."""
    with serving(store, tmp_path / "first") as first:
        port = first.url.rpartition(":")[2]
        with screen_on(browser, first) as screen:
            screen.allow("ERR_CONNECTION_REFUSED", "ERR_EMPTY_RESPONSE", "ERR_CONNECTION_RESET", "503")
            page = screen.open("/")
            first.process.terminate()
            expect(page.locator("#told [role=alert]")).to_contain_text("gapless serve")
            assert names(page)
            first.process.wait(60)
            with serving(store, tmp_path / "second", "--http-port", port):
                expect(page.locator("#told [role=alert]")).to_have_count(0)


def test_every_sequence_of_a_page_has_a_row(screen: Screen) -> None:
    """In order, none twice, none left out."""
    page = screen.open("/?group=oven&order=name")
    assert [name for name in names(page) if name in SMALL] == list(SMALL)[: len(names(page))]


# -- the room that there is ----------------------------------------------------------------------------


def test_names_are_whole_on_the_screen_of_a_laptop(browser: Browser, site: Site) -> None:
    """What tells rows apart is not cut while other columns stand empty."""
    name = "demo-20261121-215501-one"
    with connect(site.root) as client, client.sequence_create(name) as sequence:
        sequence.log("a", 1.0, timestamp_ns=START_NS)
    with screen_on(browser, site, size=(1280, 800)) as screen:
        page = screen.open(f"/?query={name}")
        shown = rows(page).locator(".sequence-name")
        assert shown.evaluate("(link) => link.scrollWidth <= link.clientWidth")
        expect(grid(page).get_by_role("columnheader", name="Started")).to_be_visible()
        expect(rows(page).locator("[data-key=start] time")).to_have_text("2023-11-14 22:13:20")


def test_a_refused_query_is_not_counted(screen: Screen) -> None:
    """The number of the search before is not taken for that of the one that failed."""
    screen.allow("400")
    page = screen.open("/")
    search(screen, "metadata.pilot = ada")
    expect(page.locator("#told [role=alert]")).to_be_visible()
    expect(page.locator("#count")).to_have_text("of the search before")
