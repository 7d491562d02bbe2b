"""Report the quality of the data: rows, rate, jitter, gaps, drops, duplicates, clock steps, dead columns.

`verify` asks whether the bytes are what was written; this verb asks whether what was written is good. Ends
with exit code 1 when the verdict is bad.

JITTER is how much the time between two rows varies, LONGEST the longest time between two rows, LOST and
DROPPED the rows that are missing without and with a policy. Shown when there are any: TWICE exact copies,
LATE rows that came after a later one, NAN and NULL values, DEAD columns that never change.
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

from gapless.cli import options, output

if TYPE_CHECKING:
    from gapless.store.quality import QualityFinding, TopicQuality

_STYLES = {
    "good": "green",
    "doubtful": "yellow",
    "bad": "red",
    "problem": "red",
    "warning": "yellow",
    "info": "dim",
}


_RARE = frozenset({"TWICE", "LATE", "NAN", "NULL", "DEAD"})


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_reference(parser)
    options.add_store(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the report."""
    with options.open_store(args) as store:
        row = store.row(args.ref)
        report = store.check(row)
    bad = report.verdict == "bad"
    if args.json:
        output.say_json({"name": row.name, **dataclasses.asdict(report)})
        return int(bad)
    output.say(f"{output.styled(row.name, 'bold')}  {output.styled(report.verdict, _STYLES[report.verdict])}")
    output.say()
    for line in _topic_table(report.topics):
        output.say(line)
    if report.findings:
        output.say()
    for finding in report.findings:
        output.say(_finding_line(finding))
    return int(bad)


def _topic_table(topics: dict[str, TopicQuality]) -> list[str]:
    """Return one line per topic; columns of rare faults that no topic has are left out."""
    if not topics:
        return ["no topics"]
    headers = [
        "TOPIC",
        "ROWS",
        "RATE/s",
        "JITTER",
        "LONGEST",
        "LOST",
        "DROPPED",
        "TWICE",
        "LATE",
        "NAN",
        "NULL",
        "DEAD",
    ]
    rows = [
        [
            name,
            output.count(figures.rows),
            "-" if figures.rate_hz is None else f"{figures.rate_hz:.4g}",
            _interval(figures.jitter_ns),
            _interval(figures.interval_max_ns),
            output.count(figures.missing),
            output.count(figures.dropped),
            output.count(figures.duplicates),
            output.count(figures.out_of_order),
            output.count(figures.nan_values),
            output.count(figures.null_values),
            output.count(len(figures.dead_columns)),
        ]
        for name, figures in topics.items()
    ]
    shown = [
        i for i, header in enumerate(headers) if header not in _RARE or any(row[i] != "0" for row in rows)
    ]
    return output.table(
        [headers[i] for i in shown],
        [[row[i] for i in shown] for row in rows],
        right=frozenset(range(1, len(shown))),
    )


def _interval(length_ns: float | None) -> str:
    return "-" if length_ns is None else output.duration(round(length_ns))


def _finding_line(finding: QualityFinding) -> str:
    code = output.styled(finding.code, _STYLES.get(finding.severity, "dim"))
    text = finding.message
    if finding.topic and not text.startswith(finding.topic):
        text = f"{finding.topic}: {text}"
    return f"  {code} {finding.severity}  {text}"
