"""What of the Tiled part works, and what is said, where Tiled is not installed or not needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import environment

import gapless

_SAYS = """
import sys
import gapless.bluesky.tiled as served
assert not {"tiled", "fastapi", "dask", "h5py", "pandas"} & set(sys.modules), "not light"
sys.modules["tiled"] = None
from gapless.errors import MissingExtra
try:
    served.tree(sys.argv[1])
except MissingExtra as error:
    print(error)
"""

_WRITES = """
import sys
from gapless.bluesky import TiledWriter, Writer
from gapless.errors import MissingExtra
sys.modules["tiled"] = sys.modules["httpx"] = None
for begin in (lambda: TiledWriter(object()), lambda: Writer("http://localhost:8000")):
    try:
        begin()
    except MissingExtra as error:
        print(error)
"""


def test_it_is_light_to_import_and_names_the_extra(tmp_path: Path) -> None:
    """Importing costs none of Tiled's packages; without Tiled the error says what to install."""
    with gapless.connect(tmp_path / "store") as client, client.sequence_create("walk") as sequence:
        sequence.log("x", 1.0)
    done = subprocess.run(
        [sys.executable, "-c", _SAYS, str(tmp_path / "store")], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "pip install 'gapless[bluesky]'" in done.stdout


def test_writing_to_a_server_names_the_extra(tmp_path: Path) -> None:
    """Both ways to send documents to Tiled say what to install before they load any of its libraries."""
    done = subprocess.run(
        [sys.executable, "-c", _WRITES],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("pip install 'gapless[bluesky]'") == 2
