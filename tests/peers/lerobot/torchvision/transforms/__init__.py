"""``ToTensor``, the one transform that loading uses, and the names that LeRobot imports."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch  # type: ignore[import-not-found]

from . import functional, v2

__all__ = ["ToTensor", "functional", "v2"]


class ToTensor:
    """Turns a PIL image into a tensor ``[c, h, w]``: 8 bits become float32 from 0 to 1, others stay integers."""

    def __call__(self, image: Any) -> Any:
        """Return the tensor."""
        array = np.array(image, np.int16) if image.mode == "I;16" else np.array(image)
        if array.ndim == 2:
            array = array[:, :, None]
        tensor = torch.from_numpy(array).permute(2, 0, 1).contiguous()
        return tensor.float() / 255 if array.dtype == np.uint8 else tensor
