"""Frames: found again after damage, refused when a single bit is wrong."""

from __future__ import annotations

import random
from pathlib import Path

from gapless.store.frame import (
    HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    Damage,
    Frame,
    Kind,
    decode_header,
    encode_header,
    read_payload,
    scan,
)

NONCE = 12345


def frame(payload: bytes, seq: int = 0, nonce: int = NONCE) -> bytes:
    """Return one frame of packed rows."""
    return encode_header(Kind.PACKED, nonce, 1, 16, seq, len(payload), payload, len(payload)) + payload


def test_a_segment_of_whole_frames_reads_back(tmp_path: Path) -> None:
    """Every frame with its payload, in order, and no damage."""
    payloads = [b"", b"a", b"GLF\x01" * 30, bytes(1000)]
    path = tmp_path / "s"
    path.write_bytes(b"".join(frame(p, k) for k, p in enumerate(payloads)))
    found = [item for item in scan(path, NONCE) if isinstance(item, Frame)]
    assert [read_payload(path, f) for f in found] == payloads
    assert [f.header.first_seq for f in found] == [0, 1, 2, 3]


def test_any_flipped_bit_of_a_frame_is_damage_and_its_neighbours_survive(tmp_path: Path) -> None:
    """The frame before and the frame behind are read whichever bit of the middle one flips."""
    first, middle, last = frame(b"first", 0), frame(b"the middle one", 1), frame(b"last", 2)
    path = tmp_path / "s"
    for bit in range(8 * len(middle)):
        broken = bytearray(middle)
        broken[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(first + broken + last)
        items = list(scan(path, NONCE))
        assert [i.header.first_seq for i in items if isinstance(i, Frame)] == [0, 2]
        (damage,) = [i for i in items if isinstance(i, Damage)]
        assert (damage.start, damage.end) == (len(first), len(first) + len(middle))


def test_garbage_between_frames_is_one_damage(tmp_path: Path) -> None:
    """Random bytes, also with the magic in them, never become frames."""
    dice = random.Random(3)
    path = tmp_path / "s"
    for _ in range(50):
        garbage = dice.randbytes(dice.randint(1, 300)) + b"GLF\x01" + dice.randbytes(dice.randint(0, 100))
        path.write_bytes(frame(b"a", 0) + garbage + frame(b"b", 1))
        items = list(scan(path, NONCE))
        assert [type(i) for i in items] == [Frame, Damage, Frame]


def test_frames_of_another_sequence_are_damage(tmp_path: Path) -> None:
    """A nonce tells this journal's frames from those that lay in the same blocks before."""
    path = tmp_path / "s"
    path.write_bytes(frame(b"a", 0) + frame(b"old", 7, nonce=99) + frame(b"b", 1))
    assert [i.header.first_seq for i in scan(path, NONCE) if isinstance(i, Frame)] == [0, 1]


def test_a_header_with_an_absurd_length_is_no_header() -> None:
    """A length above the limit is damage even where the CRC is right."""
    header = encode_header(Kind.PACKED, NONCE, 1, 16, 0, 1, b"", 0)
    assert decode_header(header, NONCE) is not None
    assert decode_header(header[: HEADER_BYTES - 1], NONCE) is None
    assert MAX_PAYLOAD_BYTES >= 512 << 20


def test_a_torn_end_is_damage_with_the_header_that_tells_what_was_lost(tmp_path: Path) -> None:
    """Cut in the payload the header is known, cut in the header nothing is."""
    whole = frame(b"0123456789", 5)
    path = tmp_path / "s"
    for cut in range(1, len(whole)):
        path.write_bytes(whole[:cut])
        (item,) = scan(path, NONCE)
        assert isinstance(item, Damage)
        assert (item.start, item.end) == (0, cut)
        assert (item.header is not None) == (cut >= HEADER_BYTES)
