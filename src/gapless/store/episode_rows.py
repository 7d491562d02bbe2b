"""The rows that every episode has, whoever recorded or imported it: frames, tasks, its end, and their flags."""

from __future__ import annotations

from enum import IntFlag

import pyarrow as pa


class FrameFlag(IntFlag):
    """Bits of the uint8 column ``frame_flags``; 0 is an ordinary row."""

    NEW_POLICY_STEP = 1  # the action is a fresh decision of the policy, not one that is held
    POST_RESET = 2  # the scene was reset since the row before: positions may jump
    AFTER_GAP = 4  # time is missing before this row: a pause, or ticks that came too late
    BACKFILLED = 8  # no measurement: the row before it is repeated (only exports write such rows)
    REPEATED_IMAGE = 16  # the encoder was behind: the picture before it is shown again


def _field(name: str, kind: pa.DataType, description: str, unit: str | None = None) -> pa.Field:
    words = {"description": description} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, nullable=False, metadata=words)


FRAMES = pa.schema(
    [
        _field("frame_index", pa.int64(), "number of the row in its episode, from 0 without holes"),
        _field("captured_ns", pa.int64(), "when the sources were read; the row's time is the nominal grid", "ns"),
        _field(
            "frame_flags",
            pa.uint8(),
            "bits: 1 new policy step, 2 after a reset, 4 after a gap, 8 backfilled, 16 repeated image",
        ),
        _field("task_index", pa.int32(), "row of topic tasks with this index; -1: no task"),
    ]
)  # fmt: skip
TASKS = pa.schema(
    [
        _field("task_index", pa.int32(), "number of the task"),
        _field("task", pa.string(), "what the robot is to do"),
    ]
)
ENDED = pa.schema(
    [
        pa.field("success", pa.bool_(), metadata={"description": "whether the task was done; null: not judged"}),
        _field("frames", pa.int64(), "rows of topic frames"),
        _field("reason", pa.string(), "why the episode ended"),
    ]
)  # fmt: skip
