"""Report the quality of the data: rows, rate, jitter, gaps, drops, duplicates, clock steps, dead columns.

`verify` asks whether the bytes are what was written; this verb asks whether what was written is good. Ends
with exit code 1 when the verdict is bad.
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from gapless.cli import options, output
from gapless.cli.verify import finding_line


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_reference(parser)
    options.add_store(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the report."""
    from gapless.store.quality import check

    _, row = options.find_sequence(args)
    report = check(row.path)
    fields: dict[str, Any] = {"name": row.name, **dataclasses.asdict(report)}
    bad = str(fields["verdict"]) == "bad"
    if args.json:
        output.say_json(fields)
        return int(bad)
    output.say(f"{output.styled(row.name, 'bold')}  {verdict_text(str(fields['verdict']))}")
    output.say()
    for line in _topic_table(fields["topics"]):
        output.say(line)
    if fields["findings"]:
        output.say()
    for finding in fields["findings"]:
        output.say(finding_line({"file": finding.get("topic"), "rows": None, **finding}))
    return int(bad)


def verdict_text(verdict: str) -> str:
    """Return the verdict in the colour of its meaning."""
    style = {"good": "green", "bad": "red"}.get(verdict, "yellow")
    return output.styled(verdict, style)


def _topic_table(topics: Any) -> list[str]:
    """Return one line per topic; the columns are those of the report."""
    entries = list(topics.values()) if isinstance(topics, dict) else list(topics)
    if not entries:
        return ["no topics"]
    names = (
        list(topics)
        if isinstance(topics, dict)
        else [entry.get("topic", entry.get("name")) for entry in entries]
    )
    keys = [
        k
        for k, v in entries[0].items()
        if k not in ("topic", "name") and isinstance(v, (int, float, type(None)))
    ]
    rows = [
        [str(name), *("-" if entry[key] is None else _cell(entry[key]) for key in keys)]
        for name, entry in zip(names, entries, strict=True)
    ]
    headers = ["TOPIC", *(key.replace("_", " ").upper() for key in keys)]
    return output.table(headers, rows, right=frozenset(range(1, len(headers))))


def _cell(value: float) -> str:
    return output.count(value) if isinstance(value, int) else output.number(value, 4)
