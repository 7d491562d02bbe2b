"""A NumPy file as rows: one array for each event, or one array of all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gapless.bluesky.external.external_file import LoadedFile, unreadable


class NpyFile(LoadedFile):
    """Maps one array into memory; its first axis is the rows, and a scalar is one row.

    Raises IntegrityError for a file that is no array. Objects are never unpickled.
    """

    def __init__(self, path: Path, uri: str, parameters: Mapping[str, Any]) -> None:
        try:
            values = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise unreadable(uri, error) from error
        whole = parameters.get("template") is not None
        super().__init__(values[np.newaxis] if whole or values.ndim == 0 else values)
