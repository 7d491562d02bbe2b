"""Programs that tests talk to and that Debian brings: installed on first need where that is possible."""

from __future__ import annotations

import ctypes.util
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

_EGL_VENDORS = [Path("/usr/share/glvnd/egl_vendor.d/50_mesa.json"), Path("/usr/lib/libEGL_mesa.so.0")]
_PLACES = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def find_program(name: str, package: str) -> str | None:
    """Return a program's path, installing its package as root if need be; None where that cannot be done."""
    _install(lambda: shutil.which(name, path=_PLACES) is not None, package)
    return shutil.which(name, path=_PLACES)


def can_draw() -> bool:
    """Tell whether MuJoCo can draw without a screen, installing Mesa's EGL as root if need be."""

    def there() -> bool:
        return ctypes.util.find_library("EGL") is not None and any(map(Path.exists, _EGL_VENDORS))

    _install(there, "libegl1", "libegl-mesa0", "libgl1-mesa-dri")
    return there()


def _install(there: Callable[[], bool], *packages: str) -> None:
    if there() or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    with (Path(tempfile.gettempdir()) / "gapless-tests-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test workers take turns
        if not there():
            environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            for command in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", *packages]):
                subprocess.run(["apt-get", *command], check=False, capture_output=True, env=environment)
