"""`gapless gc`."""

from __future__ import annotations

import time
from pathlib import Path

from gapless.cli.gc import KEEP_S, expired

from .conftest import Cli


def test_only_what_is_old_expires(tmp_path: Path) -> None:
    """A folder expires 24 hours after it came into the trash, not before."""
    (tmp_path / "mission").mkdir()
    now_s = time.time()
    assert expired(tmp_path, now_s + KEEP_S - 60) == []
    assert expired(tmp_path, now_s + KEEP_S + 60) == [tmp_path / "mission"]
    assert expired(tmp_path / "none", now_s) == []


def test_fresh_trash_stays(cli: Cli, tmp_path: Path) -> None:
    """`gapless gc` leaves what was discarded a moment ago."""
    trash = tmp_path / "gapless-data" / "trash" / "mission"
    trash.mkdir(parents=True)
    (tmp_path / "gapless-data" / "sequences").mkdir()
    done = cli("gc")
    assert (done.returncode, trash.is_dir()) == (0, True)
    assert "nothing" in done.stdout
