"""PyAV, imported when a media topic needs it and named with its extra when it is not there."""

from __future__ import annotations

import importlib
from typing import Any

from gapless.errors import MissingExtra


def load_av(*codecs: str) -> Any:
    """Return the module ``av``, or raise MissingExtra if it or one of the codecs is not installed."""
    try:
        av = importlib.import_module("av")
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "encoded images need PyAV, which is not installed: the extra gapless[video] brings it",
            next_step="pip install 'gapless[video]'",
        ) from error
    missing = [codec for codec in codecs if codec not in av.codecs_available]
    if missing:
        raise MissingExtra(
            f"the installed PyAV has no codec {missing[0]!r}; the wheels of gapless[video] have it",
            found=f"PyAV {av.__version__}",
            next_step="pip install --only-binary av 'gapless[video]'",
        )
    return av
