"""Empty the trash of what was discarded more than 24 hours ago; tombstones stay for ever."""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

from gapless.cli import options, output

KEEP_S = 24 * 3600


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_store(parser)
    options.add_dry_run(parser)


def expired(trash: Path, now_s: float) -> list[Path]:
    """Return what lies in the trash for longer than 24 hours, by the time its folder was moved or changed."""
    if not trash.is_dir():
        return []
    return sorted(entry for entry in trash.iterdir() if now_s - _moved_s(entry) > KEEP_S)


def _moved_s(entry: Path) -> float:
    """Return the later of the folder's two times: a rename changes one, a late write the other."""
    stat = entry.lstat()
    return max(stat.st_mtime, stat.st_ctime)


def _bytes(entry: Path) -> int:
    return sum(path.stat().st_size for path in entry.rglob("*") if path.is_file())


def run(args: argparse.Namespace) -> int:
    """Delete what is expired and print how much space that gave."""
    root = options.existing_store(args)
    entries = expired(root / "trash", time.time())
    freed = 0
    for entry in entries:
        size = _bytes(entry)
        freed += size
        output.say(f"{'would delete' if args.dry_run else 'deleted'} {entry.name} ({output.size(size)})")
        if not args.dry_run:
            shutil.rmtree(entry)
    verb = "would free" if args.dry_run else "freed"
    output.say(f"{verb} {output.size(freed)}" if entries else "nothing in the trash is older than 24 hours")
    return 0
