"""Print the version of gapless, of Python and of the libraries it uses.

The versions are read from the installed metadata; no library is imported for it.
"""

from __future__ import annotations

import argparse
import platform
from importlib import metadata

from gapless._version import __version__
from gapless.cli import options, output

LIBRARIES = ("numpy", "pyarrow", "msgspec", "psutil", "pydantic", "crc32c", "rich", "typing-extensions")
OPTIONAL_LIBRARIES = (
    "pandas", "polars", "scikit-learn", "skops", "distributed", "av", "pint", "duckdb", "bluesky", "tiled",
)  # fmt: skip


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_json(parser)


def installed(name: str) -> str | None:
    """Return the installed version of a distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def run(args: argparse.Namespace) -> int:
    """Print the versions."""
    versions: dict[str, str | None] = {name: installed(name) for name in LIBRARIES}
    versions |= {name: found for name in OPTIONAL_LIBRARIES if (found := installed(name))}
    if args.json:
        output.say_json({"gapless": __version__, "python": platform.python_version(), "libraries": versions})
        return 0
    output.say(f"gapless {__version__}")
    rows = [("python", platform.python_version()), *((k, v or "missing") for k, v in versions.items())]
    for line in output.definition_lines(rows, indent=2):
        output.say(line)
    return 0
