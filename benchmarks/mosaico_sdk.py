"""The Mosaico SDK in an environment of its own: where it is, and how it gets there."""

from __future__ import annotations

import argparse
import os
import subprocess
import venv
from pathlib import Path

NAME = "Mosaico SDK 0.7.0"
_FOLDER = (
    Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "gapless-bench" / "mosaicolabs-0.7.0"
)
ABSENT = f"the SDK is not in {_FOLDER}: run with --install-mosaico (needs the network)"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare where the SDK is."""
    parser.add_argument(
        "--mosaico-venv", type=Path, default=_FOLDER, metavar="DIR", help="environment of the SDK"
    )
    parser.add_argument("--install-mosaico", action="store_true", help="make that environment with pip")


def find_python(options: argparse.Namespace) -> Path | None:
    """Return the interpreter of the SDK's own environment, made when that was asked for; None without one."""
    folder: Path = options.mosaico_venv
    python = folder / "bin" / "python"
    if options.install_mosaico and not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "mosaicolabs==0.7.0"], check=True)
    if not python.exists():
        return None
    probe = subprocess.run([python, "-c", "import mosaicolabs"], capture_output=True, check=False)
    return python if probe.returncode == 0 else None
