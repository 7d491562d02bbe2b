"""Times in a binary frame that are exact however far apart they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from gapless.serve.http.frame import Frame

_EXACT_NS: Final = 2**53  # an offset below it is exact as float64


def add_exact_times(frame: Frame, name: str, times_ns: npt.NDArray[np.int64]) -> None:
    """Add sorted times as offsets and, where float64 rounds one of them, as ``NAME_ns`` also as they are."""
    frame.add_times(name, times_ns)
    if len(times_ns) and max(abs(int(time_ns) - frame.base_ns) for time_ns in times_ns[[0, -1]]) > _EXACT_NS:
        frame.add(f"{name}_ns", times_ns)
