"""The bits of ``frame_flags``: what is special about a row or a picture. Their numbers never change."""

from __future__ import annotations

from enum import IntFlag


class FrameFlag(IntFlag):
    """Bits of the uint8 column ``frame_flags``; 0 is an ordinary row."""

    NEW_POLICY_STEP = 1  # the action is a fresh decision of the policy, not one that is held
    POST_RESET = 2  # the scene was reset since the row before: positions may jump
    AFTER_GAP = 4  # time is missing before this row: a pause, or ticks that came too late
    BACKFILLED = 8  # no measurement: the row before it is repeated (only exports write such rows)
    REPEATED_IMAGE = 16  # the encoder was behind: the picture before it is shown again
