"""Compare the bytes on disk with the manifest.

Ends with exit code 4 when bytes differ or cannot be read (findings of severity error), with 1 when there
are warnings alone: no recorder (V014), damage met when it was sealed (V015), a file too many (V006).

Without REF, examines every sealed sequence of the store. --deep reads every row as well. The files that a
Bluesky run points to must exist and hold what the run says; --deep opens each of them.

REF may be the folder of a LeRobot dataset: its rows, videos, tasks and statistics are compared with each
other and, where gapless exported it, with the digests of the export; --deep decodes every picture and
computes the statistics.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.cli import options, output

if TYPE_CHECKING:
    from gapless.catalog.catalog import SequenceRow

EXIT_WARNINGS = 1
EXIT_INTEGRITY = 4


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_reference(parser, optional=True)
    parser.add_argument("--all", action="store_true", help="every sealed sequence (the default without REF)")
    parser.add_argument("--deep", action="store_true", help="decode every row and recompute every digest")
    options.add_store(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the findings per sequence, or of a dataset."""
    if args.ref is not None and (Path(args.ref) / "meta" / "info.json").is_file():
        return _dataset(args)
    with options.open_store(args) as store:
        return _verify(args, store)


def _verify(args: argparse.Namespace, store: options.OpenedStore) -> int:
    rows = chosen(args, store)
    status = output.StatusLine()
    results: list[dict[str, Any]] = []
    skipped: list[str] = []
    for number, row in enumerate(rows, 1):
        if row.state != "sealed" and args.ref is None:
            skipped.append(row.name)
            continue
        status.show(f"verify {number}/{len(rows)} {row.name}")
        findings = [finding.to_json() for finding in store.examine(row, deep=args.deep)]
        results.append({"name": row.name, "ok": not findings, "findings": findings})
    status.clear()
    bad = any(not result["ok"] for result in results)
    if args.json:
        output.say_json({"ok": not bad, "sequences": results, "skipped": skipped})
    else:
        _print(results, skipped)
    return _exit_code(results)


def _dataset(args: argparse.Namespace) -> int:
    """Examine a LeRobot dataset."""
    from gapless.exchange.lerobot.verify import verify_dataset

    findings = [finding.to_json() for finding in verify_dataset(Path(args.ref), deep=args.deep)]
    results = [{"name": args.ref, "ok": not findings, "findings": findings}]
    if args.json:
        output.say_json({"ok": not findings, "datasets": results})
    else:
        _print(results, [])
    return _exit_code(results)


def _exit_code(results: list[dict[str, Any]]) -> int:
    if any(finding["severity"] == "error" for result in results for finding in result["findings"]):
        return EXIT_INTEGRITY
    return EXIT_WARNINGS if any(not result["ok"] for result in results) else 0


def chosen(args: argparse.Namespace, store: options.OpenedStore) -> list[SequenceRow]:
    """Return the sequence of the reference, or all sequences without one."""
    return store.rows() if args.ref is None else [store.row(args.ref)]


def _verdict(findings: list[dict[str, Any]]) -> str:
    if any(finding["severity"] == "error" for finding in findings):
        return output.styled("DAMAGED", "red")
    return output.styled("warnings", "yellow") if findings else output.styled("ok", "green")


def _finding_line(finding: dict[str, Any]) -> str:
    style = "red" if finding["severity"] == "error" else "yellow"
    place = f"  {finding['file']}" if finding["file"] else ""
    rows = "  rows {} to {}".format(*finding["rows"]) if finding["rows"] else ""
    return (
        f"  {output.styled(finding['code'], style)} {finding['severity']}{place}{rows}: {finding['message']}"
    )


def _print(results: list[dict[str, Any]], skipped: list[str]) -> None:
    for result in results:
        output.say(f"{result['name']}: {_verdict(result['findings'])}")
        for finding in result["findings"]:
            output.say(_finding_line(finding))
    for name in skipped:
        output.say(f"{name}: not sealed, not verified")
    if not results and not skipped:
        output.say("the store holds no sequence yet; `gapless demo` records one")
