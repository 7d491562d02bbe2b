"""The rows that go with a camera's pictures, one for each: its number, when it was taken, what is special.

Live cameras have a topic of receipts, whose pictures another program may encode; a stepping simulation has
a frame table beside each media topic, row for row.
"""

from __future__ import annotations

import pyarrow as pa

RECEIPTS = pa.schema(
    [
        pa.field("timestamp_ns", pa.int64(), nullable=False),
        pa.field("frame_idx", pa.int64(), nullable=False),
        pa.field("t_utc_ns", pa.int64(), nullable=False, metadata={"unit": "ns"}),
        pa.field("capture_latency_s", pa.float64(), metadata={"unit": "s"}),
    ]
)


def _described(name: str, kind: pa.DataType, description: str, unit: str | None = None) -> pa.Field:
    words = {"description": description} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, nullable=False, metadata=words)


FRAME_TABLE = pa.schema(
    [
        _described("frame_index", pa.int64(), "number of the picture in its episode, from 0 without holes"),
        _described(
            "captured_ns", pa.int64(), "when it was captured; the row's time is the nominal grid", "ns"
        ),
        _described("frame_flags", pa.uint8(), "bits: 2 after a reset, 4 after a gap, 16 repeated picture"),
    ]
)


def frame_table_of(camera: str) -> str:
    """Return the topic that holds the frame table of a camera's topic."""
    return f"{camera}/frames"
