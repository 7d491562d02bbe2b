"""Follow an open sequence: rows, rates, the last values and how far the data lags behind the clock.

Draws over itself on a terminal and prints a line per second elsewhere. Of a rig's run it shows what the run
says: devices, channels with units and status, queues, the countdown to a safe shutdown, events. Of any other
recording it reads what is durable. Never holds the recorder up, and ends when the sequence is sealed or
discarded; of one that is not open it says how it ended. Ctrl-C stops watching, not recording.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from gapless.cli import description, options, output
from gapless.cli.run_lines import event_line, status_line, status_lines
from gapless.cli.run_watch import RunWatch
from gapless.cli.show import state_text
from gapless.errors import IntegrityError
from gapless.store.layout import Bundle

if TYPE_CHECKING:
    import pyarrow as pa

    from gapless.store.journal_view import JournalView, Position

_FIELDS_SHOWN = 3


@dataclass
class TopicView:
    """What is shown of one topic at one moment."""

    rows: int
    rate: float | None = None
    lag_s: float | None = None
    last: dict[str, Any] = field(default_factory=dict)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_reference(parser)
    parser.add_argument(
        "--for",
        metavar="TIME",
        dest="length",
        type=options.positive_seconds,
        default=None,
        help="stop after this",
    )
    parser.add_argument(
        "--every",
        metavar="TIME",
        type=options.positive_seconds,
        default=1.0,
        help="look this often (default 1s)",
    )
    options.add_store(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Show the sequence until it ends or the time is over."""
    if options.is_server(options.store_url(args)):
        from gapless.cli.watch_server import watch

        return watch(args)
    from gapless.store.platform import PLATFORM

    _, row = options.find_sequence(args)
    bundle = Bundle(row.path)
    painter = Painter(live=output.is_terminal(sys.stdout))
    follower = _Follower(bundle)
    begin_s = time.monotonic()
    with RunWatch(bundle if row.state == "open" else None) as watched:
        while row.state == "open":
            look_s = time.monotonic()
            alive = PLATFORM.is_locked(
                bundle.lock
            )  # asked first: what was durable before its end is seen below
            status = watched.status()
            views = follower.look() if status is None or args.json else {}
            if views is None or not alive:
                break
            if status is None or args.json:
                show(args, painter, row.name, "open", views, status)
            else:
                _show_run(painter, status)
            if args.length is not None and look_s - begin_s + args.every > args.length:
                return 0
            _pause(args, painter, watched, look_s + args.every - time.monotonic())
    return _end(args, row.name, bundle)


def _pause(args: argparse.Namespace, painter: Painter, watched: RunWatch, length_s: float) -> None:
    """Wait for the next look; where lines are printed, print events as they come."""
    for event in watched.events(max(0.0, length_s)):
        if not painter.live and not args.json:
            output.say(event_line(event))
            sys.stdout.flush()


def _show_run(painter: Painter, status: dict[str, Any]) -> None:
    if painter.live:
        painter.paint(status_lines(status))
    else:
        output.say(f"{time.strftime('%H:%M:%S')} {status_line(status)}")
        sys.stdout.flush()


class _Follower:
    """Looks at the journal again and again and reads only what has come since the last look."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._view: JournalView | None = None
        self._positions: dict[str, Position] = {}
        self._views: dict[str, TopicView] = {}
        self._looked_s = 0.0

    def look(self) -> dict[str, TopicView] | None:
        """Return the user's topics as they are now, or None when the journal is gone."""
        from gapless.store.journal_view import JournalView

        try:
            if self._view is None:
                self._view = JournalView.open(self._bundle.journal)
            else:
                self._view.refresh()
            ledger = self._view.ledger
            now_s = time.monotonic()
            for name in self._view.topics:
                if not name.startswith("_"):
                    self._look_at(self._view, name, ledger[name].written, now_s)
        except FileNotFoundError:  # sealed or discarded, or a segment became a part: the next look tells
            return self._views if self._bundle.journal.is_dir() else None
        except IntegrityError:
            if self._bundle.journal.is_dir():
                raise
            return None  # sealed or discarded before the first look
        self._looked_s = now_s
        return self._views

    def _look_at(self, view: JournalView, name: str, rows: int, now_s: float) -> None:
        known = self._views.get(name)
        shown = TopicView(rows, last=known.last if known is not None else {})
        if known is not None and now_s > self._looked_s:
            shown.rate = (rows - known.rows) / (now_s - self._looked_s)
        newest: pa.RecordBatch | None = None
        for position, batch in view.batches(name, after=self._positions.get(name)):
            self._positions[name], newest = position, batch
        if newest is not None and newest.num_rows:
            shown.last = last_values(newest)
        if shown.last:
            shown.lag_s = (time.time_ns() - shown.last["timestamp_ns"]) / 1e9
        self._views[name] = shown


def last_values(batch: pa.RecordBatch) -> dict[str, Any]:
    """Return the time and the first few small fields of the newest row."""
    names = ["timestamp_ns", *shown_fields(batch.schema)]
    return {name: batch.column(name)[-1].as_py() for name in names}


def shown_fields(schema: pa.Schema) -> list[str]:
    """Return the names of the first few small fields; images do not fit a line."""
    import pyarrow as pa

    large = (pa.types.is_nested, pa.types.is_binary, pa.types.is_large_binary)
    small = [field.name for field in schema if not any(test(field.type) for test in large)]
    return [name for name in small if name not in ("timestamp_ns", "_seq")][:_FIELDS_SHOWN]


def show(
    args: argparse.Namespace,
    painter: Painter,
    name: str,
    state: str,
    views: dict[str, TopicView],
    status: dict[str, Any] | None = None,
) -> None:
    """Show the topics once, in the form that was asked for."""
    if args.json:
        known: dict[str, Any] = {
            "name": name,
            "state": state,
            "topics": {topic: asdict(view) for topic, view in views.items()},
        }
        if status is not None:
            known["run"] = status
        output.say(json.dumps(output.plain(known), allow_nan=False))
    elif painter.live:
        painter.paint([f"{name}  {state}", *_table(views)])
    else:
        parts = (
            f"{topic} {v.rows:,}{'' if v.rate is None else f' ({output.rate(v.rate)}/s)'}"
            for topic, v in views.items()
        )
        output.say(f"{time.strftime('%H:%M:%S')} {state}  {', '.join(parts)}")
    sys.stdout.flush()


def _table(views: dict[str, TopicView]) -> list[str]:
    rows = [
        [
            topic,
            output.count(view.rows),
            output.rate(view.rate),
            "-" if view.lag_s is None else f"{view.lag_s:.1f} s",
            "  ".join(
                f"{key}={output.number(value)}" for key, value in view.last.items() if key != "timestamp_ns"
            ),
        ]
        for topic, view in views.items()
    ]
    return output.table(["TOPIC", "ROWS", "RATE/s", "LAG", "LAST"], rows, right=frozenset({1, 2, 3}))


def _end(args: argparse.Namespace, name: str, bundle: Bundle) -> int:
    """Say what became of the sequence."""
    if not bundle.path.is_dir():
        output.note(f"{name} was discarded")
        return 0
    return show_end(args, name, description.describe(bundle.path))


def show_end(args: argparse.Namespace, name: str, known: dict[str, Any]) -> int:
    """Say how a described sequence ended."""
    if args.json:
        user = {
            topic: TopicView(t["rows"]) for topic, t in known["topics"].items() if not topic.startswith("_")
        }
        show(args, Painter(live=False), name, known["state"], user)
    else:
        rows = sum(topic["rows"] for topic in known["topics"].values())
        output.say(f"{name}: {state_text(known)}, {output.count(rows)} rows")
    return 0


def _cut(line: str, width: int) -> str:
    """Return what fits of a line, cut between two values."""
    if len(line) <= width:
        return line
    whole = line[: width - 1].rfind("  ")
    return f"{line[:whole].rstrip()}  …" if 0 < whole <= width - 3 else line[:width]


class Painter:
    """Paints lines over those painted before."""

    def __init__(self, *, live: bool) -> None:
        self.live = live
        self._painted = 0

    def paint(self, lines: list[str]) -> None:
        """Replace what was painted; lines are cut at the width of the terminal so that none wraps."""
        width = output.terminal_columns()
        if self._painted:
            sys.stdout.write(f"\x1b[{self._painted}F\x1b[J")
        sys.stdout.write("".join(f"{_cut(line, width)}\n" for line in lines))
        sys.stdout.flush()
        self._painted = len(lines)
