"""Memory for a row group, some ten MiB, that does not stay with the process.

Of what another thread than the first one frees, the C library keeps tens of MiB for ever; Arrow's
allocator gives it back when it is asked to (:meth:`Platform.release_memory`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa


def scratch_bytes(size_bytes: int) -> memoryview:
    """Return writable memory; what is in it is not defined."""
    return memoryview(pa.allocate_buffer(size_bytes)).cast("B")


def scratch_array(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return an array, in C order, of values that are not defined."""
    size_bytes = int(np.prod(shape)) * dtype.itemsize
    return np.frombuffer(scratch_bytes(size_bytes), dtype).reshape(shape)
