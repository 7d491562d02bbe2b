"""Programs that tests talk to and that Debian brings: installed on first need where that is possible."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

_PLACES = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def find_program(name: str, package: str) -> str | None:
    """Return a program's path, installing its package as root if need be; None where that cannot be done."""
    found = shutil.which(name, path=_PLACES)
    if found is not None or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return found
    with (Path(tempfile.gettempdir()) / "gapless-tests-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test workers take turns
        if shutil.which(name, path=_PLACES) is None:
            environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            for command in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", package]):
                subprocess.run(["apt-get", *command], check=False, capture_output=True, env=environment)
    return shutil.which(name, path=_PLACES)
