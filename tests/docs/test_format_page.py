"""Holds docs/format.md against the code: every offset, size, type and kind that the page states."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from crc32c import crc32c

from gapless.store import frame, layout, watermark

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "format.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    """Return the text of a section of the page up to the next heading."""
    found = re.search(rf"^#+ {re.escape(heading)}$(.*?)(?=^#|\Z)", PAGE, re.M | re.S)
    assert found is not None
    return found[1]


def stated_fields(heading: str) -> list[tuple[int, int, str]]:
    """Return (offset, bytes, struct code) of each row of a byte table."""
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\w+) \|", section(heading), re.M)
    return [(int(offset), int(size), code) for offset, size, code in rows]


def assert_contiguous(fields: list[tuple[int, int, str]]) -> None:
    """Each field begins where the one before ends and is as long as its type."""
    end = 0
    for offset, size, code in fields:
        assert (offset, struct.calcsize(f"<{code}")) == (end, size)
        end = offset + size


def test_frame_header_is_as_stated() -> None:
    """The frame table is the struct that the code packs, and 64 bytes long."""
    fields = stated_fields("Frame")
    assert_contiguous(fields)
    assert "<" + "".join(code for _, _, code in fields) == frame._BODY.format + frame._CRC.format.lstrip("<")
    assert sum(size for _, size, _ in fields) == frame.HEADER_BYTES == 64


def test_frame_kinds_are_as_stated() -> None:
    """The page lists every kind of frame with its number."""
    stated = re.findall(r"^\| (\d+) \| ([A-Z]+) \|", section("Frame"), re.M)
    assert {(int(number), name) for number, name in stated} == {
        (kind.value, kind.name) for kind in frame.Kind
    }


def test_watermark_is_as_stated() -> None:
    """The watermark table is the struct that the code packs, inside 64 bytes."""
    fields = stated_fields("Watermark")
    assert_contiguous(fields)
    codes = "<" + "".join(code for _, _, code in fields)
    assert codes == watermark._BODY.format + watermark._CRC.format.lstrip("<")
    assert watermark.SIZE_BYTES == 64


def test_a_header_is_found_at_the_stated_offsets() -> None:
    """A frame written by the code reads back with nothing but the offsets of the page."""
    payload = b"123456789"
    raw = frame.encode_header(frame.Kind.ARROW, 7, 3, 2, -5, 11, payload, 99)
    offsets = {code_offset: code for code_offset, _, code in stated_fields("Frame")}
    values = [struct.unpack_from(f"<{code}", raw, offset)[0] for offset, code in offsets.items()]
    assert values[:4] == [b"GLF\x01", 1, 4, 0]
    assert values[4:12] == [7, 3, 2, -5, 11, 0, len(payload), 99]
    assert values[12] == crc32c(payload) == 0xE3069283
    assert values[13] == crc32c(raw[:60])


def test_sizes_are_as_stated() -> None:
    """The limits named on the page are those of the code."""
    assert layout.FORMAT == 1
    assert "Format version 1." in PAGE
    assert layout.SEGMENT_BYTES == 64 << 20
    assert "begins at 64 MiB" in PAGE
    assert (layout.ROW_GROUP_ROWS, layout.ROW_GROUP_BYTES) == (65_536, 16 << 20)
    assert (layout.PART_ROW_GROUPS, layout.PART_BYTES) == (16, 256 << 20)
    assert "65,536 rows or 16 MiB of values, a part 16 row groups or 256 MiB" in PAGE
    assert layout.CLOSING_BYTES == 64 << 10
    assert frame.MAX_PAYLOAD_BYTES == 2**30
