"""The process that looks at a pipeline for somebody else: ``python -m … STORE FILE`` prints one JSON document.

A pipeline is the user's code. What it prints, raises, ends or changes in its process stays in this one, and each
look sees the files as they are now. The document is one line on stdout, ``{"report", "error", "watched"}``: the
report, or what is the matter as ``{"error", "code", "message", "found", "expected", "next"}``, and the files of
code that were loaded and the folders of outputs with their times (ns; null: not there). What the code prints goes
to stderr.
"""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

from gapless.errors import ArgumentRefused, GaplessError, MissingExtra

_NICE = 5  # whoever records on this machine comes first


def main() -> int:
    """Look at the pipeline, print the document and return 0 whatever the document says."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    if hasattr(os, "nice"):
        os.nice(_NICE)
    root, file = sys.argv[1:]
    report, error, places = None, None, []
    try:
        report = _looked(Path(root), Path(file))
        places = [Path(place) for place in report.pop("places")]
    except BaseException as failure:  # noqa: BLE001 - the user's code ends here, and its failure is the answer
        error = told_error(failure)
    with out:
        out.write(
            json.dumps({"report": report, "error": error, "watched": _times([*_code(Path(file)), *places])})
        )
    return 0


def told_error(error: BaseException) -> dict[str, Any]:
    """Return an error as JSON holds it."""
    if isinstance(error, GaplessError):
        return {
            "error": type(error).__name__,
            "code": error.code,
            "message": error.message,
            "found": None if error.found is None else str(error.found),
            "expected": None if error.expected is None else str(error.expected),
            "next": error.advice,
        }
    return {
        "error": type(error).__name__,
        "code": GaplessError.code,
        "message": "the pipeline cannot be looked at",
        "found": f"{type(error).__name__}: {error}",
        "expected": None,
        "next": "`gapless features status PIPELINE` in a terminal tells more",
    }


def _looked(root: Path, file: Path) -> dict[str, Any]:
    try:
        from gapless.features.pipeline_file import load_pipeline, refused_in
        from gapless.features.pipeline_report import pipeline_report
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "features need pandas and scikit-learn", found=str(error),
            next_step="pip install 'gapless[features]' where the server runs",
        ) from error  # fmt: skip
    loaded = load_pipeline(file)
    with loaded.dataset(root) as ds:
        try:
            return pipeline_report(ds, loaded)
        except ArgumentRefused as error:
            raise refused_in(file, error) from error


def _code(file: Path) -> list[Path]:
    """Return the pipeline's file and the modules that it brought, which are no installed ones."""
    installed = {Path(place).resolve() for place in sysconfig.get_paths().values()}
    installed.add(Path(__file__).resolve().parents[1])
    files = {file.resolve()}
    for module in list(sys.modules.values()):
        place = getattr(module, "__file__", None)
        if isinstance(place, str):
            files.add(Path(place).resolve())
    return sorted(path for path in files if not installed & set(path.parents))


def _times(places: list[Path]) -> list[tuple[str, int | None]]:
    return [(str(place), place.stat().st_mtime_ns if place.exists() else None) for place in places]


if __name__ == "__main__":
    sys.exit(main())
