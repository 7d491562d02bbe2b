"""Arrays in an ``.npz`` file whose bytes depend on the arrays alone, and that never needs pickle."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gapless.errors import ArtifactMissing, UsageError

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest time that a zip member can have


def write_arrays(path: Path, arrays: Mapping[str, ArrayLike]) -> None:
    """Write arrays by name; the same arrays give the same bytes. UsageError for an array of objects."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            array = np.asanyarray(arrays[name])
            if array.dtype.hasobject:
                raise UsageError("an array of objects cannot be kept", field=name, found=str(array.dtype))
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _EPOCH), buffer.getvalue())


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return all arrays of a file; ArtifactMissing if it is not there."""
    if not path.is_file():
        raise ArtifactMissing("the file of arrays is not there", found=str(path))
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
