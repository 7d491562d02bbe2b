"""The end of `gapless demo --ui`: the page of the store that was recorded into, until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from gapless.cli import output
from gapless.errors import MissingExtra

_PORT = 8686
_MODULES = ("fastapi", "uvicorn", "jinja2", "bokeh", "websockets")


def check_extra() -> None:
    """Raise MissingExtra where the page cannot be served: said before anything is recorded."""
    missing = [module for module in _MODULES if find_spec(module) is None]
    if missing:
        raise MissingExtra(
            "the page needs what is not installed", found=missing, next_step="pip install 'gapless[serve]'"
        )


def show_page(root: Path, name: str, *, may_open: bool) -> int:
    """Serve the store until it is stopped and return the exit code; a person at a desktop gets a browser, too."""
    from gapless.cli import serve
    from gapless.cli.serve_store import serve_store

    def opened(url: str | None) -> None:
        assert url is not None, "the extra is there, so there is a page"
        place = f"{url}/sequences/{quote(name, safe='')}"
        output.say(f"look    {place}  (Ctrl-C ends)")
        sys.stdout.flush()
        if may_open and sys.stdout.isatty() and _has_desktop():
            webbrowser.open(place)

    parser = argparse.ArgumentParser()
    serve.configure(parser)
    words = ["--store", str(root), "--host", "127.0.0.1", "--port", "0", "--http-port", str(_free_port())]
    return serve_store(parser.parse_args(words), 0, opened=opened)


def _has_desktop() -> bool:
    """Return whether a browser would have a window; elsewhere one in the terminal might take it over."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _free_port() -> int:
    """Return the page's usual port, or 0 for any other where a server of this machine has it."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", _PORT))
        except OSError:
            return 0
    return _PORT
