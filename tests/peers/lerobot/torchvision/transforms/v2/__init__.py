"""Names that LeRobot's augmentations are built on; loading does not call them."""

from __future__ import annotations

import torch  # type: ignore[import-not-found]

from . import functional

__all__ = ["Transform", "functional"]


class Transform(torch.nn.Module):  # type: ignore[misc] # torch is not installed where types are checked
    """The base class of augmentations."""
