"""Runs every benchmark, prints the tables, and writes JSON and the figures of docs/benchmarks.md when asked."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import ROOT, cells

HERE = Path(__file__).parent
PAGE = ROOT / "docs" / "benchmarks.md"
_BEGIN, _END = "<!-- figures: written by benchmarks/run.py --docs -->", "<!-- end of figures -->"


def scripts() -> list[Path]:
    """Return the benchmark scripts in the order of the page."""
    return sorted(HERE.glob("bench_*.py"))


def main() -> int:
    """Run the benchmarks that were asked for, one process each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="which: push, columns, … (default: all)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that they run")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rows and the machine facts")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where to write while measuring")
    parser.add_argument("--mosaico-venv", type=Path, metavar="DIR", help="environment of the Mosaico SDK")
    parser.add_argument("--docs", action="store_true", help="write the figures into docs/benchmarks.md")
    args = parser.parse_args()
    chosen = [s for s in scripts() if not args.names or s.stem.removeprefix("bench_") in args.names]
    found, failed = [], []
    for script in chosen:
        print(f"== {script.stem.removeprefix('bench_')}", flush=True)
        document = _run(script, args)
        if document is None:
            failed.append(script.name)
        else:
            found.append(document)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if args.docs:
        _write_page(found)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _run(script: Path, args: argparse.Namespace) -> dict[str, Any] | None:
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "rows.json"
        command = [sys.executable, str(script), "--json", str(answer)]
        command += ["--quick"] if args.quick else []
        command += ["--rounds", str(args.rounds)] if args.rounds else []
        command += ["--work", str(args.work)] if args.work else []
        if args.mosaico_venv and script.stem in ("bench_push", "bench_remote"):
            command += ["--mosaico-venv", str(args.mosaico_venv)]
        if subprocess.run(command, check=False).returncode:
            return None
        document: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return document


def _write_page(found: Sequence[Mapping[str, Any]]) -> None:
    """Replace what stands between the two marks of the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    PAGE.write_text(f"{before}{_BEGIN}\n{figures(found)}{_END}{after}", encoding="utf-8")


def figures(found: Sequence[Mapping[str, Any]]) -> str:
    """Return the machine and one table per benchmark as Markdown."""
    facts = found[0]["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items() if version)
    lines = [
        f"Measured on {facts['date']}: {facts['cpus']} × {facts['processor']}, {facts['memory_gib']} GiB,"
        f" {facts['file_system']}, {facts['system']}, Python {facts['python']}; {packages}.",
        "",
    ]
    for document in found:
        missed = sum(row["verdict"] == "MISSED" for row in document["rows"])
        lines += [
            f"### {document['benchmark'].replace('_', ' ')}",
            "",
            f"{document['summary']} {document['rounds']} rounds"
            + (f"; **{missed} missed**." if missed else "."),
            "",
            "| job | figure | gapless | peer or limit | its figure | ratio | spread | budget | |",
            "|---|---|--:|---|--:|--:|---|---|---|",
        ]
        lines += ["| " + " | ".join(_escaped(cell) for cell in cells(row)) + " |" for row in document["rows"]]
        notes = dict.fromkeys(row["note"] for row in document["rows"] if row["note"])
        lines += ["", *(f"- {note}." for note in notes), ""] if notes else [""]
    return "\n".join(lines)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")


if __name__ == "__main__":
    raise SystemExit(main())
