"""Exports a group and kills itself before one of the steps: ``export_child.py STORE GROUP PATH STEP``.

Steps are the renames and links that the export makes, counted from 0.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import gapless
from gapless.exchange.lerobot.export_dataset import export_lerobot
from gapless.store.platform import Platform

_taken = 0


def counted(step: Callable[..., Any], fatal: int) -> Callable[..., Any]:
    """Return the step, which is never reached the wanted time."""

    def take(*arguments: Any) -> Any:
        global _taken
        if _taken == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        _taken += 1
        return step(*arguments)

    return take


def main() -> None:
    """Export."""
    store, group, path, fatal = sys.argv[1:]
    with gapless.connect(store) as client:
        for name in ("replace", "exchange", "link", "remove_tree"):
            setattr(Platform, name, counted(getattr(Platform, name), int(fatal)))
        export_lerobot(client, group, path)


if __name__ == "__main__":
    main()
