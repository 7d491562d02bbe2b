"""A stand-in for torchvision: only what LeRobot's loader touches, on PyAV. For tests, where no CPU build fits."""

from __future__ import annotations

from . import io, transforms

__all__ = ["io", "set_video_backend", "transforms"]


def set_video_backend(backend: str) -> None:
    """Accept the only backend there is."""
    if backend != "pyav":
        raise ValueError(f"the stand-in decodes with pyav, not {backend}")
