"""Follow an open sequence on a server: what `gapless watch` shows of a folder, asked for over the network."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from gapless.cli import options, output
from gapless.cli.watch import Painter, TopicView, last_values, show, show_end, shown_fields

if TYPE_CHECKING:
    from gapless.client.sequence_handler import SequenceHandler
    from gapless.client.topic_handler import TopicHandler


def watch(args: argparse.Namespace) -> int:
    """Show the sequence until it ends or the time is over."""
    painter = Painter(live=output.is_terminal(sys.stdout))
    begin_s = time.monotonic()
    with options.open_store(args) as store:
        row = store.row(args.ref)
        handler = store.handler(row)
        views: dict[str, TopicView] = {}
        looked_s = begin_s
        while handler.state == "open" and handler.owner_alive:
            look_s = time.monotonic()
            views = _look(handler, views, look_s - looked_s)
            looked_s = look_s
            show(args, painter, row.name, "open", views)
            if args.length is not None and look_s - begin_s + args.every > args.length:
                return 0
            time.sleep(max(0.0, look_s + args.every - time.monotonic()))
            handler.reload()  # topics may have come, or the end
        return show_end(args, row.name, store.describe(row))


def _look(handler: SequenceHandler, before: dict[str, TopicView], since_s: float) -> dict[str, TopicView]:
    """Return the topics as they are now, with the rates since the look before."""
    views: dict[str, TopicView] = {}
    for topic in handler:
        known, rows = before.get(topic.name), topic.rows
        views[topic.name] = view = TopicView(rows, last={} if known is None else known.last)
        if known is not None and since_s > 0:
            view.rate = (rows - known.rows) / since_s
        if rows and (known is None or rows != known.rows):
            view.last = _last(topic)
        if view.last:
            view.lag_s = (time.time_ns() - view.last["timestamp_ns"]) / 1e9
    return views


def _last(topic: TopicHandler) -> dict[str, object]:
    """Return time and a few fields of the last row in time."""
    last: dict[str, object] = {}
    for batch in topic.scan(shown_fields(topic.schema), topic.end_ns):
        last = last_values(batch)
    return last
