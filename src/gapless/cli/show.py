"""Show one sequence: state, outcome, times, topics, ledger, metadata.

--topic shows the fields of one topic; --plot draws one field with characters, which works over ssh. What
feature runs made from the sequence are topics too, called features/FEATURE@RUN.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from gapless.cli import options, output
from gapless.errors import UsageError

if TYPE_CHECKING:
    from gapless.client.sequence_handler import SequenceHandler

_VALUE_SHOWN = 160


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_reference(parser, optional=True)
    options.add_store(parser)
    options.add_json(parser)
    parser.add_argument(
        "--topic", metavar="TOPIC", default=None, help="show this topic only, with its fields"
    )
    parser.add_argument(
        "--plot",
        metavar="TOPIC:FIELD",
        nargs="?",
        const=True,
        default=False,
        help="draw a field over time; without a name the one that --topic and --field say",
    )
    parser.add_argument(
        "--field",
        metavar="FIELD",
        default=None,
        help="the field to draw (implies --plot; else the first number)",
    )


def run(args: argparse.Namespace) -> int:
    """Print the description, or the plot."""
    _settle_names(args)
    plot = args.plot or args.field is not None
    if plot and args.json:
        raise UsageError("a plot has no JSON", next_step="leave out --json, or --plot and --field")
    with options.open_store(args) as store:
        row = store.row(args.ref)
        if plot:
            return _plot(args, store.handler(row))
        known = store.describe(row)
        if args.topic is None:
            known["features"] = store.feature_topics(known)
            lines = _sequence_lines(known)
        else:
            topic = store.topic_of(known, args.topic)
            known, lines = {"name": args.topic, **topic}, _topic_lines(args.topic, topic)
    if args.json:
        output.say_json(known)
        return 0
    for line in lines:
        output.say(line)
    return 0


def _plot(args: argparse.Namespace, handler: SequenceHandler) -> int:
    from gapless.cli.curve import curve_lines

    columns, braille = min(120, output.terminal_columns()), output.is_unicode(sys.stdout)
    for line in curve_lines(handler, args.topic, args.field, columns=columns, braille=braille):
        output.say(line)
    return 0


def _settle_names(args: argparse.Namespace) -> None:
    """Take `--plot NAME` apart: the sequence if none is named before, else topic and field."""
    if args.ref is None and isinstance(args.plot, str):
        args.ref, args.plot = args.plot, True
    if args.ref is None:
        raise UsageError("name a sequence", next_step="`gapless ls` lists them; @last is the newest")
    if isinstance(args.plot, str):
        if args.topic is not None or args.field is not None:
            raise UsageError(
                "the plot is named twice", found=args.plot, next_step="leave out --topic and --field"
            )
        topic, colon, field = args.plot.rpartition(":")
        args.topic, args.field = (topic, field) if colon else (args.plot, None)
        args.plot = True


def _sequence_lines(known: dict[str, Any]) -> list[str]:
    """Return the page on a sequence."""
    span = known["end_ns"] - known["start_ns"] if known["start_ns"] is not None else None
    producer = known["producer"] or {}
    rows = [
        ("state", state_text(known)),
        ("cause", known["cause"] or ""),
        ("group", known["group"] or ""),
        ("started", f"{output.local_time(known['start_ns'])}, for {output.duration(span)}"),
        ("recorded by", f"{producer.get('host')}, process {producer.get('pid')}" if producer else ""),
        ("size", output.size(known["bytes"])),
        ("ledger", ledger_text(known["ledger"])),
        ("digest", known["content_digest"] or ""),
        ("folder", known["path"] or ""),
    ]
    lines = [output.styled(known["name"], "bold")]
    lines += output.definition_lines([(k, v) for k, v in rows if v], indent=2)
    if known["metadata"]:
        lines += [
            "",
            output.styled("metadata", "bold"),
            *output.definition_lines(flat(known["metadata"]), indent=2),
        ]
    lines += ["", *_topics_table(known["topics"])]
    lines += _lists(known)
    return lines


def state_text(known: dict[str, Any]) -> str:
    """Return state and outcome as one phrase, with the next step for what has no owner."""
    if known["state"] == "open":
        return _open_text(known["name"], known)
    if known["state"] == "pending":
        name = known["name"]
        return f"pending: gapless seal {name}, or gapless discard {name}"
    return f"{known['state']}, {known['outcome']}"


def _layer_text(name: str, layer: dict[str, Any]) -> str:
    """Return the state of a layer that is not sealed, with the next step."""
    if layer["state"] == "pending":
        return f"pending: gapless seal {name}"
    return _open_text(name, layer)


def _open_text(name: str, known: dict[str, Any]) -> str:
    if known["owner_alive"]:
        return "open, being recorded"
    awaited_ns = known.get("awaited_until_ns")
    if awaited_ns is not None:
        return f"open, its client is away and may come back until {output.local_time(awaited_ns)}"
    if known.get("client_away"):  # of a layer on a server, which does not say until when
        return "open, its client is away and may come back"
    return f"open, owner gone: gapless recover {name}"


def ending_lines(known: dict[str, Any]) -> list[str]:
    """Return how a sequence ended and its balance, each on a line of its own so that neither wraps."""
    return [f"{known['name']}: {state_text(known)}", f"  {ledger_text(known['ledger'])}"]


def ledger_text(ledger: dict[str, Any]) -> str:
    """Return the balance of a ledger as an equation."""
    parts = {key: output.count(ledger.get(key)) for key in ("produced", "written", "dropped", "gapped")}
    return "{produced} produced = {written} written + {dropped} dropped + {gapped} gapped".format(**parts)


def flat(metadata: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return nested metadata as (path, text) pairs, in the paths that queries use."""
    pairs: list[tuple[str, str]] = []
    for key, value in metadata.items():
        path = prefix + str(key).replace("\\", "\\\\").replace(".", "\\.")
        if isinstance(value, dict) and value:
            pairs += flat(value, f"{path}.")
        else:
            pairs.append((path, _value_text(value)))
    return pairs


def _value_text(value: Any) -> str:
    """Return a value of metadata; lists and the like as JSON, cut where they would fill the page."""
    if isinstance(value, str):
        return value
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE_SHOWN else f"{text[:_VALUE_SHOWN]}… (--json shows all)"


def _topics_table(topics: dict[str, dict[str, Any]]) -> list[str]:
    rows = []
    for name, topic in topics.items():
        if name.startswith("_") and not topic["rows"]:
            continue
        span = None if topic["start_ns"] is None else topic["end_ns"] - topic["start_ns"]
        rate = output.rate((topic["rows"] - 1) * 1e9 / span) if span else "-"
        rows.append(
            [
                name,
                topic["ontology"].get("tag") or "-",
                output.count(topic["rows"]),
                rate,
                output.duration(span),
                str(topic["clock"]),
                output.size(topic["bytes"]),
            ]
        )
    if not rows:
        return ["no topics"]
    return output.table(
        ["TOPIC", "TYPE", "ROWS", "RATE/s", "SPAN", "CLOCK", "SIZE"], rows, right=frozenset({2, 3, 4, 6})
    )


def _lists(known: dict[str, Any]) -> list[str]:
    """Return what only some sequences have: features, layers, artifacts, annotations, notifications."""
    lines: list[str] = []
    if known["features"]:
        lines += ["", output.styled("features", "bold")]
        lines += output.definition_lines(
            ((name, f"{output.count(topic['rows'])} rows") for name, topic in known["features"].items()),
            indent=2,
        )
    if known["layers"]:
        lines += ["", output.styled("layers", "bold")]
        lines += output.definition_lines(
            ((x["name"], x["content_digest"] or _layer_text(known["name"], x)) for x in known["layers"]),
            indent=2,
        )
    if known["artifacts"]:
        lines += ["", output.styled("artifacts", "bold")]
        lines += output.definition_lines(
            (
                (name, f"{a['media_type']}, {output.size(a['bytes'])}")
                for name, a in known["artifacts"].items()
            ),
            indent=2,
        )
    if known["annotations"]:
        lines += ["", output.styled("annotations", "bold")]
        for note in known["annotations"]:
            span = output.duration(note["end_ns"] - note["start_ns"])
            lines.append(f"  {output.local_time(note['start_ns'])}  {span:>9}  {note['name']}")
    if known["notifications"]:
        lines += ["", output.styled("notifications", "bold")]
        lines += [f"  {n.get('message', n) if isinstance(n, dict) else n}" for n in known["notifications"]]
    return lines


def _topic_lines(name: str, topic: dict[str, Any]) -> list[str]:
    """Return the page on one topic."""
    span = None if topic["start_ns"] is None else topic["end_ns"] - topic["start_ns"]
    ontology = topic["ontology"]
    rows = [
        (
            "type",
            f"{ontology['tag']} version {ontology['version']}" if ontology.get("tag") else "schema only",
        ),
        ("rows", output.count(topic["rows"])),
        ("started", f"{output.local_time(topic['start_ns'])}, for {output.duration(span)}"),
        ("clock", str(topic["clock"])),
        ("ledger", ledger_text(topic["ledger"])),
        *((f"metadata {path}", text) for path, text in flat(topic["metadata"])),
    ]
    fields = [
        [f["name"], f["type"], str(f.get("unit") or "-"), str(f.get("description") or "")]
        for f in topic["fields"]
    ]
    lines = [output.styled(name, "bold"), *output.definition_lines(rows, indent=2), ""]
    return lines + output.table(["FIELD", "TYPE", "UNIT", "DESCRIPTION"], fields, right=frozenset())
