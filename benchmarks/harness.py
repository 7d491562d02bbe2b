"""What every benchmark shares: interleaved rounds, medians, ratios against budgets, a table and JSON.

In each round every variant runs once, so that whatever the machine does meanwhile meets all of them.
A row compares medians; its spread is the smallest and largest ratio of a single round. Nothing is
asserted: a missed budget is a word in a table.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[1]
_PACKAGES = (
    "gapless", "numpy", "pyarrow", "crc32c", "msgspec", "mcap", "duckdb", "polars", "pandas", "joblib",
    "tsdownsample", "typer",
)  # fmt: skip


@dataclass
class Row:
    """One line of the table: our figure beside a peer's, and whether their ratio is within the budget."""

    what: str
    figure: str
    ours: float | None = None
    peer_name: str = ""
    peer: float | None = None
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    budget: str = ""
    verdict: str = "-"
    note: str = ""


@dataclass
class Cost:
    """What a stretch of code cost: CPU time of the process with all its threads, and wall time."""

    cpu_ns: int = 0
    wall_ns: int = 0


@contextmanager
def cost() -> Iterator[Cost]:
    """Measure the block; rubbish of what ran before is collected first and not counted."""
    gc.collect()
    spent = Cost()
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    yield spent
    spent.cpu_ns, spent.wall_ns = time.process_time_ns() - cpu, time.perf_counter_ns() - wall


@dataclass
class Bench:
    """One benchmark being run: its sizes, its working folder and the rows found so far."""

    name: str
    quick: bool
    rounds: int
    work: Path
    options: argparse.Namespace
    rows: list[Row] = field(default_factory=list)

    def size(self, full: int, quick: int) -> int:
        """Return how much to do: ``quick`` only shows that the benchmark runs."""
        return quick if self.quick else full

    def interleave(
        self, variants: Mapping[str, Callable[[], T]], rounds: int | None = None
    ) -> dict[str, list[T]]:
        """Run every variant once a round, in turn, and return what each returned; a first round is not counted.

        What is imported or compiled on first use would else be charged to whoever comes first.
        """
        if not self.quick:
            for run in variants.values():
                run()
        found: dict[str, list[T]] = {name: [] for name in variants}
        for _ in range(rounds or self.rounds):
            for name, run in variants.items():
                found[name].append(run())
        return found

    def compare(
        self,
        what: str,
        figure: str,
        ours: Sequence[float],
        peer_name: str,
        peer: Sequence[float],
        *,
        at_most: float | None = None,
        at_least: float | None = None,
        note: str = "",
    ) -> None:
        """Add a row: ours over the peer's, or with ``at_least`` how many times less we need than it."""
        row = Row(what, figure, statistics.median(ours), peer_name, statistics.median(peer), note=note)
        pairs = [(p / o) if at_least else (o / p) for o, p in zip(ours, peer, strict=True) if o and p]
        row.spread = (min(pairs), max(pairs)) if pairs else None
        if row.ours and row.peer:
            row.ratio = row.peer / row.ours if at_least else row.ours / row.peer
        if at_least is not None:
            row.budget = f"≥ {at_least:g}× faster"
            row.verdict = "ok" if row.ratio is not None and row.ratio >= at_least else "MISSED"
        elif at_most is not None:
            row.budget = f"≤ {at_most:g}×"
            row.verdict = "ok" if row.ratio is not None and row.ratio <= at_most else "MISSED"
        self.rows.append(row)

    def limit(
        self, what: str, figure: str, ours: Sequence[float], at_most: float | None, *, note: str = ""
    ) -> None:
        """Add a row whose budget is a number of its own; the worst round counts."""
        row = Row(what, figure, max(ours), "limit" if at_most is not None else "", at_most, note=note)
        if at_most is not None:
            row.ratio = max(ours) / at_most if at_most else None
            row.budget = f"≤ {at_most:g}"
            row.verdict = "ok" if max(ours) <= at_most else "MISSED"
        self.rows.append(row)

    def skip(self, what: str, peer_name: str, reason: str) -> None:
        """Add a row that says why it has no figures."""
        self.rows.append(Row(what, "", peer_name=peer_name, verdict="skipped", note=reason))

    def folder(self, name: str) -> Path:
        """Return a new empty folder inside the working folder."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.work))


def main(
    run: Callable[[Bench], None], *, options: Callable[[argparse.ArgumentParser], None] | None = None
) -> int:
    """Run one benchmark script: parse its arguments, print its table, write its JSON."""
    module = sys.modules["__main__"]
    name = Path(str(module.__file__)).stem.removeprefix("bench_")
    parser = argparse.ArgumentParser(description=(module.__doc__ or "").strip().splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes: shows that it runs, figures mean nothing"
    )
    parser.add_argument("--rounds", type=int, help="rounds (default 5; 1 with --quick)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write rows and machine facts")
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="where to write (default: the temporary folder)"
    )
    if options is not None:
        options(parser)
    args = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix=f"gapless-bench-{name}-", dir=args.work) as work:
        bench = Bench(name, args.quick, args.rounds or (1 if args.quick else 5), Path(work), args)
        run(bench)
        facts = machine(Path(work))
    print(table(bench.rows))
    if args.json:
        document = {
            "benchmark": name,
            "summary": (module.__doc__ or "").strip().splitlines()[0],
            "quick": args.quick,
            "rounds": bench.rounds,
            "seconds": round(time.perf_counter() - began, 1),
            "machine": facts,
            "rows": [asdict(row) for row in bench.rows],
        }
        args.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


def table(rows: Sequence[Row]) -> str:
    """Return the rows as aligned text."""
    lines: list[tuple[str, ...]] = [("job", "figure", "gapless", "peer", "", "ratio", "spread", "budget", "")]
    lines += [cells(row) for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = []
    for line, row in zip(lines, [None, *rows], strict=True):
        text.append("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        if row is not None and row.note:
            text.append(f"    {row.note}")
    return "\n".join(text)


def cells(row: Row | Mapping[str, Any]) -> tuple[str, ...]:
    """Return the columns of one row as text."""
    known = row if isinstance(row, Mapping) else asdict(row)
    ratio, spread = known["ratio"], known["spread"]
    return (
        known["what"],
        known["figure"],
        number(known["ours"]),
        known["peer_name"],
        number(known["peer"]),
        "" if ratio is None else f"{number(ratio)}×",
        "" if spread is None else f"{number(spread[0])}–{number(spread[1])}",
        known["budget"],
        known["verdict"],
    )


def number(value: float | None) -> str:
    """Return a figure with three significant digits."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


# -- processes of their own -------------------------------------------------------------------------


def in_child(script: Path, *arguments: str, python: Path | str = sys.executable) -> dict[str, Any]:
    """Run a script in a process of its own and return the JSON of its last line."""
    done = subprocess.run(
        [str(python), str(script), *arguments], capture_output=True, text=True, check=False, timeout=1800
    )
    if done.returncode:
        raise RuntimeError(f"{script.name} {' '.join(arguments)} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def peak_rss_bytes() -> int:
    """Return the largest resident size of this process so far.

    On Linux from ``VmHWM``: the figure of getrusage begins with the size of the process that started this one.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


# -- the machine ------------------------------------------------------------------------------------


def machine(work: Path) -> dict[str, Any]:
    """Return what a reader must know of the machine to judge the figures."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "system": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "file_system": _file_system(work),
        "load_1min": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": sys.version.split()[0],
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        if package == "gapless":
            from gapless import __version__

            return __version__
        return None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


def _file_system(path: Path) -> str | None:
    """Return the type of the file system that was written to: a sync in memory costs nothing."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return None
    held = [m for m in mounts if path.resolve().is_relative_to(m[1])]
    return str(max(held, key=lambda m: len(m[1]))[2]) if held else None
