"""The page: first page, search and zoom at the server beside raw reads, the recorder's CPU with it open and closed."""

from __future__ import annotations

import http.client
import random
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from harness import ROOT, Bench, main
from many_sequences import make_sequences

from gapless import connect

sys.path.append(str(ROOT))
from tests.page.rig_run import running_rig  # the tests' helpers start a server, a run and a browser
from tests.page.served import serving

_PAGE, _POINTS = 100, 2_000
_RAW_PAGE = "SELECT * FROM sequence ORDER BY created_ns DESC, name DESC LIMIT ?"  # along an index
_CHANNELS, _RUN = 60, "furnace"
_ZOOMS = 8  # windows in a round, from all rows down to some ten thousand


def run(bench: Bench) -> None:
    """Measure over loopback HTTP: a server of its own process, one client that keeps its connection."""
    if find_spec("fastapi") is None:
        bench.skip("first page", "raw SQL", "pip install 'gapless[serve]'")
        return
    _first_page(bench)
    _zoom(bench)
    _watched_recorder(bench)


# -- many sequences -----------------------------------------------------------------------------------


def _first_page(bench: Bench) -> None:
    count = bench.size(10_000, 60)
    root = bench.folder("many") / "store"
    make_sequences(root, count)
    with (
        serving(root, bench.folder("server")) as site,
        _asking(site.url) as ask,
        _catalog(root) as raw_catalog,
    ):
        first_ms = ask("/sequences", limit=_PAGE)[0]
        bench.limit(
            f"first look at {count:,} new sequences", "wall ms", [first_ms], None,
            note="reading every manifest into an empty catalog, once",
        )  # fmt: skip
        jobs: dict[str, Callable[[], float]] = {
            "raw": lambda: _raw_page(raw_catalog),
            "page": lambda: ask("/sequences", limit=_PAGE)[0],
            "sorted": lambda: ask("/sequences", limit=_PAGE, order="-rows")[0],
            "text": lambda: ask("/sequences", limit=_PAGE, text="run-000")[0],
            "query": lambda: ask("/sequences", limit=_PAGE, query=f"metadata.run < {count // 2}")[0],
            "html": lambda: ask("/", api=False)[0],
        }
        found = bench.interleave(jobs)
    raw, html = found.pop("raw"), found.pop("html")
    words = {
        "page": f"first page of {count:,} sequences",
        "sorted": "the same, sorted by rows",
        "text": "the same, free text",
        "query": "the same, a query that half of them match",
    }
    for name, milliseconds in found.items():
        bench.compare(
            words[name], "wall ms", milliseconds, "raw SQL page", raw,
            note="the peer reads 100 rows of the catalog by an index with sqlite3, in its own process, and no JSON",
        )  # fmt: skip
    bench.limit("the HTML of the page, without data", "wall ms", html, None)


@contextmanager
def _catalog(root: Path) -> Iterator[sqlite3.Connection]:
    """Open the catalog as it lies on the disk, for reading only; the server has made it by the first question."""
    place = f"file:{quote(str(root / 'catalog.db'))}?mode=ro"
    with closing(sqlite3.connect(place, uri=True)) as database:
        yield database


def _raw_page(catalog: sqlite3.Connection) -> float:
    began_s = time.perf_counter()
    rows = catalog.execute(_RAW_PAGE, (_PAGE,)).fetchall()
    spent_ms = (time.perf_counter() - began_s) * 1e3
    assert rows
    return spent_ms


# -- a long topic -------------------------------------------------------------------------------------


def _zoom(bench: Bench) -> None:
    rows = bench.size(10_000_000, 600_000)
    root = bench.folder("long") / "store"
    _record_long(root, rows)
    with serving(root, bench.folder("server")) as site, _asking(site.url) as ask:
        jobs: dict[str, Callable[[], tuple[float, int]]] = {
            "ours": lambda: _zoom_in(ask, rows),
            "raw": lambda: _raw_zoom(root),
        }
        found = bench.interleave(jobs)
    ours, raw = ([milliseconds for milliseconds, _ in found[name]] for name in ("ours", "raw"))
    bytes_sent = max(most for _, most in found["ours"])
    bench.compare(
        f"zoom into {rows:,} rows", "wall ms/zoom", ours, "raw pyramid read", raw,
        note=f"{_ZOOMS} windows, each half of the one before; at most {bytes_sent:,} bytes each;"
        " the peer reads four row groups of the pyramid with pyarrow and sends nothing",
    )  # fmt: skip


def _record_long(root: Path, rows: int) -> None:
    values = np.cumsum(np.random.default_rng(5).normal(size=rows))
    block = 500_000
    with connect(root) as client, client.sequence_create("long") as sequence:
        topic = sequence.topic_create("signal", schema=pa.schema([("value", pa.float64())]))
        for start in range(0, rows, block):
            part = values[start : start + block]
            times = np.arange(start, start + len(part), dtype=np.int64) * 1_000_000
            topic.push_columns(times, {"value": part})


def _zoom_in(ask: Ask, rows: int) -> tuple[float, int]:
    """Return the mean time of a zoom in milliseconds, and the most bytes of one."""
    dice, spent, most = random.Random(rows), 0.0, 0
    for turn in range(_ZOOMS):
        width = rows // 2**turn
        start = dice.randrange(rows - width + 1)
        milliseconds, body = ask(
            "/sequences/long/curves", fields="signal:value", points=_POINTS,
            start_ns=start * 1_000_000, end_ns=(start + width) * 1_000_000,
        )  # fmt: skip
        assert body[:4] == b"GLF1"
        spent, most = spent + milliseconds, max(most, len(body))
    return spent / _ZOOMS, most


def _raw_zoom(root: Path) -> tuple[float, int]:
    (path,) = (root / "sequences" / "long" / "pyramids").glob("*.parquet")
    columns = ["start_ns", "end_ns", "rows", "value:min", "value:max", "value:mean"]
    began_s = time.perf_counter()
    for _ in range(_ZOOMS):
        with pq.ParquetFile(path) as file:
            groups = list(range(min(4, file.num_row_groups)))
            size = file.read_row_groups(groups, columns=columns).nbytes
    return (time.perf_counter() - began_s) * 1e3 / _ZOOMS, size


# -- a run that is watched ----------------------------------------------------------------------------


def _watched_recorder(bench: Bench) -> None:
    what = f"recorder of {_CHANNELS} channels at 20 Hz, page open"
    if find_spec("playwright") is None:
        bench.skip(what, "page closed", "pip install playwright")
        return
    from tests.page.harness import CHROMIUM

    if CHROMIUM is None:
        bench.skip(what, "page closed", "there is no Chromium")
        return
    seconds = bench.size(20, 2)
    root = bench.folder("watched") / "store"
    work = bench.folder("work")
    with (
        connect(root),
        running_rig(root, work, _RUN, _CHANNELS) as recorder,
        serving(root, work / "s") as site,
    ):
        found: dict[str, list[float]] = {"closed": [], "open": [], "server": []}
        for _ in range(bench.rounds):
            found["closed"].append(_load_of(recorder.pid, seconds))
            with _open_page(CHROMIUM, site.url, work):
                server = _Load(site.process.pid)
                found["open"].append(_load_of(recorder.pid, seconds))
                found["server"].append(server.percent())
    bench.compare(what, "% of one core", found["open"], "page closed", found["closed"])
    bench.limit(
        "the server meanwhile, one page open", "% of one core", found["server"], None,
        note=f"{seconds} s in each round; the browser itself is not counted",
    )  # fmt: skip


class _Load:
    """What a process and its children spend from now on."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._began_s, self._spent_s = time.perf_counter(), self._spent()

    def percent(self) -> float:
        """Return the processor time since the beginning, in percent of one core."""
        return 100 * (self._spent() - self._spent_s) / (time.perf_counter() - self._began_s)

    def _spent(self) -> float:
        every = [self._process, *self._process.children(recursive=True)]
        return sum(sum(process.cpu_times()[:2]) for process in every)


def _load_of(pid: int, seconds: float) -> float:
    load = _Load(pid)
    time.sleep(seconds)
    return load.percent()


@contextmanager
def _open_page(chromium: str, url: str, home: Path) -> Iterator[None]:
    """Show the run in a browser; its values must be on the screen before anything is measured."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"], env={"HOME": str(home)}
        )
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{url}/live/{_RUN}")
        page.get_by_text(f"zone_{_CHANNELS - 1}").first.wait_for(timeout=60_000)
        yield
        browser.close()


# -- asking -------------------------------------------------------------------------------------------


class Ask:
    """A client of the API over one connection."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=600)

    def __call__(self, path: str, *, api: bool = True, **words: Any) -> tuple[float, bytes]:
        """Return the wall time of a request in milliseconds, and the body of its answer."""
        target = f"{'/api/v1' if api else ''}{path}{f'?{urlencode(words)}' if words else ''}"
        began_s = time.perf_counter()
        self._connection.request("GET", target)
        answer = self._connection.getresponse()
        body = answer.read()
        spent_ms = (time.perf_counter() - began_s) * 1e3
        assert answer.status == 200, body
        return spent_ms, body

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _asking(url: str) -> closing[Ask]:
    return closing(Ask(url))


if __name__ == "__main__":
    raise SystemExit(main(run))
