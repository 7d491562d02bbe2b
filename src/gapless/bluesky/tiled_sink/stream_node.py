"""One stream of a run on the server: its table, its arrays, its external frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import numpy as np

from gapless.bluesky.json_safe import json_safe
from gapless.bluesky.sequence_numbers import SequenceNumbers
from gapless.bluesky.tiled_sink.array_node import ArrayNode
from gapless.bluesky.tiled_sink.external_node import ExternalNode
from gapless.bluesky.tiled_sink.node_key import array_key, is_table
from gapless.bluesky.tiled_sink.node_options import NodeOptions
from gapless.bluesky.tiled_sink.rows import Piece, StreamRows
from gapless.bluesky.tiled_sink.server import child, is_conflict, is_unanswered, plain
from gapless.bluesky.tiled_sink.table_node import RowsDiffer, TableNode, marks, table_marks
from gapless.bluesky.violation import Violation

_TRIES = 3  # of frames that the server answers with an error of its own; then the run goes on without them
_NOT_OF_STREAM = ("name", "object_keys", "run_start")
_OF_ONE_DESCRIPTOR = ("uid", "time", "configuration", *_NOT_OF_STREAM)


class StreamNode:
    """Takes the documents of one stream and keeps what the server has not confirmed yet.

    ``add…`` only remembers; :meth:`send` talks to the server, may raise what ``httpx`` raises, and then
    may be called again: it goes on where the server is. ``look``: nodes may be there from an earlier try.
    """

    def __init__(self, descriptor: Mapping[str, Any], options: NodeOptions, *, key: str, look: bool) -> None:
        self.name = str(descriptor["name"])
        self.key = key
        if self.key != self.name:
            options.note(f"stream {self.name!r} is under the key {self.key!r}")
        self._descriptor, self._options = descriptor, options
        self._look = look
        self.node: Any = None
        self._numbers = SequenceNumbers()
        self._declared = _declared(descriptor)
        self._differing_descriptors = 0
        self._updates: list[dict[str, Any]] = []
        self._updates_sent = 0
        self._events: list[Mapping[str, Any]] = []
        self._pieces: list[Piece] = []
        self.rows = 0  # that came, in their order, each once
        self._layout: StreamRows | None = None
        self._tables: dict[str, TableNode] = {}
        self._arrays: dict[str, ArrayNode] = {}
        self.externals: dict[str, ExternalNode] = {}
        self._held: np.ndarray[Any, Any] | None = None  # (seq_num, time) of rows an earlier try left there
        self.problems: dict[str, str] = {}  # what of this stream the server does not get, and why
        self.violations: list[Violation] = []
        self.violation_count = 0
        self._without_value: Counter[str] = Counter()  # events, by the key of an array that cannot say so

    # -- documents -----------------------------------------------------------------------------

    def add_descriptor(self, doc: Mapping[str, Any]) -> None:
        """Take a later descriptor: a changed configuration; what else is changed in it is only in the recording."""
        if _declared(doc) != self._declared:
            self._differing_descriptors += 1
        update = {"uid": doc["uid"], "time": doc["time"]}
        if doc.get("configuration"):
            update["configuration"] = json_safe(doc["configuration"])
        self._updates.append(update)

    def add_events(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Take events; one that came before is left out."""
        new = self._numbers.new_rows([e["seq_num"] for e in events], [e["uid"] for e in events])
        self._events += events if new is None else [events[n] for n in new]

    def add_datum(self, resource: Mapping[str, Any], datum: Mapping[str, Any]) -> None:
        """Take a range of external frames; what no reader of the server can read is a problem of its key."""
        key = str(resource["data_key"])
        if key in self.problems:
            return
        try:
            if key not in self.externals:
                self.externals[key] = ExternalNode(self._descriptor, resource, self._options)
                self._note_key(key)
            self.externals[key].consume(resource, datum)
        except (ValueError, NotImplementedError, KeyError, TypeError, IndexError) as error:
            self.problems[key] = f"not registered: {type(error).__name__}: {error}"

    # -- sending -------------------------------------------------------------------------------

    def send(self, run: Any, *, all_frames: bool = False) -> None:
        """Send what the server has not got to its run; frames that may wait only with ``all_frames``."""
        self._open(run)
        self._send_updates()
        while self._events or self._pieces:
            self._build()
            self._send_piece(self._pieces[0])
            self._pieces.pop(0)
        self._send_frames(all_frames)

    def _send_frames(self, all_frames: bool) -> None:
        for key, external in list(self.externals.items()):
            if not (all_frames or external.is_due()):
                continue
            try:
                external.tell(self.node, look=self._look)
            except httpx.HTTPStatusError as error:
                if is_unanswered(error) and external.failures < _TRIES:
                    raise
                self.problems[key] = f"not registered: {error}"
                del self.externals[key]

    def _open(self, run: Any) -> None:
        if self.node is not None:
            return
        found = child(run, self.key) if self._look else None
        self.node = plain(self._create(run) if found is None else found)

    def _create(self, run: Any) -> Any:
        words = {key: value for key, value in self._descriptor.items() if key not in _NOT_OF_STREAM}
        if self.key != self.name:
            words["name"] = self.name
        try:
            return run.create_container(
                key=self.key,
                metadata=json_safe(words),
                specs=self._options.stream_specs(),
                access_tags=self._options.access_tags,
            )
        except httpx.HTTPStatusError as error:
            if not is_conflict(error):
                raise
            return run[self.key]

    def _send_updates(self) -> None:
        if self._updates_sent < len(self._updates):
            count = len(self._updates)
            self.node.update_metadata(metadata={"_config_updates": self._updates}, drop_revision=True)
            self._updates_sent = count

    def _build(self) -> None:
        """Turn waiting events into a piece of rows."""
        if self._pieces:
            return
        events = self._events[: self._options.batch_rows]
        piece, violations = self._rows_layout().piece(events, self.rows)
        self.violation_count += len(violations)
        self.violations += violations[: max(0, self._options.shown_violations - len(self.violations))]
        self._without_value.update(piece.blanks)
        self._pieces.append(piece)
        self.rows += len(piece)
        del self._events[: len(events)]

    def _rows_layout(self) -> StreamRows:
        if self._layout is None:
            self._lay_out()
        assert self._layout is not None
        return self._layout

    def _lay_out(self) -> None:
        """Choose tables and arrays, and make the tables; some servers' tables hold no lists."""
        options = self._options
        layout = StreamRows(
            self._descriptor,
            max_array_size=options.max_array_size,
            holds_lists=options.server.holds_lists,
        )
        tables = self._table_nodes(layout)
        try:
            for table in tables.values():
                table.open(look=self._look)
        except httpx.HTTPStatusError as error:
            if not (is_unanswered(error) and layout.uses_lists):
                raise
            self._lay_out_without_lists()
            return
        self._layout, self._tables = layout, tables
        for key, name in layout.renamed.items():
            options.note(f"data key {key!r} of stream {self.name!r} is column {name!r} of the table")
        for key in layout.array_shapes:
            options.note(f"Internal array data for '{key}' in stream '{self.name}' written as zarr.")
            self._note_key(key)
        if self._look:
            self._held = next(
                (found for table in tables.values() if (found := table.marks()) is not None), None
            )

    def _lay_out_without_lists(self) -> None:
        """Try again without lists: if that fails too, the server's tables were not the reason."""
        self._options.server.holds_lists = False
        try:
            self._lay_out()
        except httpx.HTTPError:
            self._options.server.holds_lists = True
            raise

    def _table_nodes(self, layout: StreamRows) -> dict[str, TableNode]:
        keys = self._descriptor["data_keys"]
        return {
            key: TableNode(
                self.node,
                key,
                layout.schema_of(columns),
                of_stream=self.name,
                metadata=json_safe({name: keys[name] for name in columns if name in keys}),
                access_tags=self._options.access_tags,
            )
            for key, columns in layout.tables().items()
        }

    def _send_piece(self, piece: Piece) -> None:
        self._check_held(piece)
        end = piece.position + len(piece)
        if all(table.count() >= end for table in self._tables.values()):
            return
        for key, values in piece.arrays.items():  # first: a row in the table says that its arrays are there
            self._array(key, values).write(self.node, values, piece.position, look=self._look)
        for table in self._tables.values():
            table.append(piece.table, piece.position)

    def _check_held(self, piece: Piece) -> None:
        """Compare rows that an earlier try left on the server with those of the recording."""
        if self._held is None:
            return
        there = self._held[piece.position : piece.position + len(piece)]
        ours = marks(piece.table["seq_num"].to_numpy(), piece.table["time"].to_numpy())
        if not np.array_equal(there, ours[: len(there)]):
            raise RowsDiffer(self.name, "other rows", f"those from row {piece.position} on")

    def _array(self, key: str, values: np.ndarray[Any, Any]) -> ArrayNode:
        if key not in self._arrays:
            self._arrays[key] = ArrayNode(
                array_key(key),
                metadata=json_safe(self._descriptor["data_keys"][key]),
                dims=self._options.dims(self.name, values.shape[1:]),
                access_tags=self._options.access_tags,
            )
        return self._arrays[key]

    def _note_key(self, data_key: str) -> None:
        key = array_key(data_key)
        if key != data_key:
            self._options.note(f"data key {data_key!r} of stream {self.name!r} is under the key {key!r}")

    # -- the end -------------------------------------------------------------------------------

    def confirm(self, run: Any) -> None:
        """Send what is left and make sure that the server holds each row once; raises RowsDiffer."""
        self.send(run, all_frames=True)
        for external in self.externals.values():
            external.finish()
        for table in self._tables.values():
            held = table.recount() if self._look or table.was_uncertain else table.count()
            if held != self.rows:
                raise RowsDiffer(self.name, f"{held} rows", f"{self.rows} rows")

    @property
    def waiting_rows(self) -> int:
        """How many events wait to be sent."""
        return len(self._events) + sum(map(len, self._pieces))

    @property
    def array_keys(self) -> list[str]:
        """The keys of the arrays that have been written."""
        return [array.key for array in self._arrays.values()]

    def external_rows(self) -> dict[str, int]:
        """Return how many rows the node of each external key has."""
        return {external.key: external.rows for external in self.externals.values()}

    def findings(self) -> list[str]:
        """Return what of this stream the server does not hold as it came."""
        found = [
            f"External data of '{key}' in stream '{self.name}' {why}" for key, why in self.problems.items()
        ]
        if self._differing_descriptors:
            found.append(
                f"{self._differing_descriptors} later descriptors of stream '{self.name}' declare something else"
                " than the first, which is the one here"
            )
        if self.violation_count:
            found.append(
                f"{self.violation_count} values of stream '{self.name}' are not as its descriptor declares and"
                " are null here; the recording that keeps them stays where it was made"
            )
        found += [
            f"{count} events of stream '{self.name}' have no value of '{key}'; the array here has 0, False or no text"
            for key, count in self._without_value.items()
        ]
        found += [
            f"stream '{self.name}', seq_num {v.seq_num}, {v.key!r}: {v.kind}, found {v.found}, expected {v.expected}"
            for v in self.violations
        ]
        return found

    def nodes(self) -> list[Any]:
        """Return the nodes on the server, the stream's own last."""
        inner = [table.node for table in self._tables.values()]
        inner += [array.node for array in self._arrays.values()]
        inner += [external.node for external in self.externals.values()]
        return [node for node in inner if node is not None] + [self.node]

    def held_marks(self, run: Any) -> np.ndarray[Any, Any]:
        """Return (seq_num, time) of all rows of this stream that the server holds."""
        self._open(run)
        node = child(self.node, "internal")
        return table_marks(node) if node is not None else np.empty((0, 2), np.int64)

    def clear(self, run: Any) -> None:
        """Delete the stream's table and arrays on the server, so that they can be written again."""
        self._open(run)
        keys = [key for key in self.node if is_table(key)]
        internal = [key for key, words in self._descriptor["data_keys"].items() if "external" not in words]
        keys += [key for key in map(array_key, internal) if child(self.node, key) is not None]
        if keys:
            self.node.delete_contents(keys, external_only=False)


def _declared(descriptor: Mapping[str, Any]) -> Any:
    """Return what descriptors of one stream should have in common."""
    return json_safe({key: value for key, value in descriptor.items() if key not in _OF_ONE_DESCRIPTOR})
