"""Serves the recorded store of the browser tests; the page finds it under ``$URL``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from tests.page.recorded import record_store
from tests.page.served import serving

record_store(Path("store"))
ending = ExitStack()
_site = ending.enter_context(serving(Path("store"), Path("server")))
variables = {"URL": _site.url}
