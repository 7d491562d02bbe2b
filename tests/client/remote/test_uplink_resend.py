"""What is kept until it is accepted: numbers without holes, whatever is cut where."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.client.remote.lane_parcel import PARCEL_BYTES, Parcel, RowsOnTheWay
from gapless.client.remote.resend import Unaccepted
from gapless.errors import StateError
from gapless.store.declaration import TopicDeclaration
from gapless.store.packing import Layout

SCHEMA = pa.schema(
    [
        pa.field("timestamp_ns", pa.int64(), nullable=False),
        pa.field("x", pa.float64()),
        pa.field("n", pa.int32()),
    ],
    metadata={"unit": "m"},
)
PLAIN = {"tag": None, "version": 1, "fingerprint": ""}


def numbers(first: int, rows: int) -> pa.RecordBatch:
    """Return rows that carry their arrival numbers."""
    return pa.record_batch([pa.array(np.arange(first, first + rows))], names=["n"])


class Receiver:
    """The other end: takes rows by number once, loses what it did not make durable, accepts what it did."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.next_seq = 0

    def take(self, parcel: Parcel) -> None:
        """Take a parcel that must begin where the rows end."""
        assert parcel.first_seq == self.next_seq
        if parcel.batch is not None:
            self.rows += parcel.batch.column(0).to_pylist()
        self.next_seq = parcel.end_seq

    def lose(self, durable_seq: int) -> None:
        """Forget what was not durable."""
        self.rows = [row for row in self.rows if row < durable_seq]
        self.next_seq = durable_seq


steps = st.lists(
    st.one_of(
        st.tuples(st.just("rows"), st.integers(1, 9)),
        st.tuples(st.just("drop"), st.integers(1, 9)),
        st.tuples(st.just("send"), st.integers(1, 4)),
        st.tuples(st.just("accept"), st.floats(0, 1)),
        st.tuples(st.just("cut"), st.floats(0, 1)),
    ),
    max_size=60,
)


@given(steps)
def test_every_row_arrives_once_in_order_whatever_is_cut(plan: list[tuple[str, float]]) -> None:
    """After any cuts, all that was offered and not given up is at the other end, once."""
    kept, there, taken, dropped = Unaccepted("s", "t"), Receiver(), 0, set[int]()

    def send_all() -> None:
        while (parcel := kept.next_unsent()) is not None:
            there.take(parcel)

    for what, size in plan:
        if what in ("rows", "drop"):
            rows = int(size)
            if what == "drop":
                dropped |= set(range(taken, taken + rows))
            batch = numbers(taken, rows) if what == "rows" else None
            kept.add(Parcel(taken, rows, batch, "why", size_bytes=rows))
            taken += rows
        elif what == "send":
            for _ in range(int(size)):
                parcel = kept.next_unsent()
                if parcel is not None:
                    there.take(parcel)
        elif what == "accept":
            kept.accept(kept.accepted_seq + int(size * (there.next_seq - kept.accepted_seq)))
        else:
            there.lose(kept.accepted_seq + int(size * (there.next_seq - kept.accepted_seq)))
            rest = kept.begin_again(there.next_seq)
            if rest is not None:
                there.take(rest)
    send_all()
    kept.accept(taken)
    assert len(kept) == kept.size_bytes == 0
    assert kept.accepted_seq == there.next_seq == taken
    assert kept.accepted_dropped == len(dropped)
    assert there.rows == [row for row in range(taken) if row not in dropped]


@pytest.mark.parametrize("next_seq", [4, 21])
def test_a_receiver_with_other_rows_is_refused(next_seq: int) -> None:
    """Fewer than it accepted: its store was put back. More than were sent: somebody else wrote."""
    kept = Unaccepted("s", "t")
    kept.add(Parcel(0, 10, numbers(0, 10)))
    kept.add(Parcel(10, 10, numbers(10, 10)))
    kept.accept(10)
    with pytest.raises(StateError, match="not those that it was sent"):
        kept.begin_again(next_seq)


def test_what_waits_for_acceptance_is_told_once() -> None:
    """A caller that comes too late is told to see for itself."""
    kept, told = Unaccepted("s", "t"), list[str]()
    tell: Callable[[], None] = lambda: told.append("accepted")  # noqa: E731
    assert not kept.attach(tell)
    kept.add(Parcel(0, 2, numbers(0, 2)))
    assert kept.attach(tell)
    assert kept.accept(1) == []
    for parcel in kept.accept(2):
        for callback in parcel.on_accepted:
            callback()
    assert told == ["accepted"]


@pytest.mark.parametrize("producer_seq", [False, True])
def test_rows_of_every_form_become_one_batch_of_the_declared_schema(producer_seq: bool) -> None:
    """Packed rows, tuples and serialised batches keep their order and lose nothing."""
    declaration = TopicDeclaration(16, "t", SCHEMA, PLAIN, producer_seq=producer_seq)
    layout = Layout.of(declaration)
    assert layout is not None
    rows = RowsOnTheWay(declaration, layout)
    lead = (7,) if producer_seq else ()
    rows.add(layout.struct.pack(1, *lead, 0.5, 10, 0b11), 1, is_batch=False)
    rows.add(memoryview(layout.struct.pack(2, *lead, 0.0, 0, 0b00)), 1, is_batch=False)
    rows.add([(3, *lead, 1.5, 30)], 1, is_batch=False)
    columns = [pa.array([4]), pa.array([2.5]), pa.array([40], pa.int32())]
    columns += [pa.array([7])] if producer_seq else []
    given = pa.RecordBatch.from_arrays(columns, schema=rows.schema)
    rows.add(given.serialize(), 1, is_batch=True)
    parcel = rows.parcel(100)
    assert (parcel.first_seq, parcel.end_seq) == (100, 104)
    assert parcel.batch is not None
    assert parcel.batch.schema.equals(rows.schema, check_metadata=True)
    parcel.batch.validate(full=True)
    assert parcel.batch.column("x").to_pylist() == [0.5, None, 1.5, 2.5]
    assert parcel.batch.column("n").to_pylist() == [10, None, 30, 40]
    assert ("_seq" in parcel.batch.schema.names) == producer_seq


def test_large_parcels_travel_in_pieces_that_release_their_room_once() -> None:
    """The pieces have all rows; the last one gives the bytes back and calls back."""
    rows = 1_000_000
    told: list[int] = []
    whole = Parcel(
        5,
        rows,
        numbers(5, rows),
        size_bytes=8 * rows,
        reserved_bytes=99,
        unstamped=rows,
        on_accepted=[lambda: told.append(1)],
    )
    pieces = list(whole.pieces())
    assert len(pieces) > 1
    assert all(piece.size_bytes <= PARCEL_BYTES for piece in pieces)
    assert [piece.first_seq for piece in pieces[1:]] == [piece.end_seq for piece in pieces[:-1]]
    assert (pieces[0].first_seq, pieces[-1].end_seq) == (5, 5 + rows)
    assert [piece.reserved_bytes for piece in pieces] == [0] * (len(pieces) - 1) + [99]
    assert [len(piece.on_accepted) for piece in pieces] == [0] * (len(pieces) - 1) + [1]
    assert sum(piece.unstamped for piece in pieces) == rows
