"""One field of a topic as a plot gets it: the rows themselves where they are few, else buckets of them.

At most 64 KiB, whatever is asked for: 52 bytes a bucket, 32 a row with its uncertainty, 24 KiB of text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gapless.errors import NotFound, UsageError
from gapless.serve.http.exact_times import add_exact_times
from gapless.serve.http.frame import Frame
from gapless.serve.native.reading_watched import WatchedReader
from gapless.store.derived import is_feature_topic
from gapless.store.leaf import Leaf
from gapless.store.pyramid_read import Curve, downsample, tally
from gapless.store.reader import BundleReader, TopicReader
from gapless.store.selection import times_of

MOST_BUCKETS: Final = 1_220
MOST_ROWS: Final = 2_000
_MOST_WORD_BYTES: Final = 24 << 10
_BATCH_ROWS: Final = 16_384
_EXACT: Final = 2**53  # up to here float64 holds every integer
_ESCAPED: Final = re.compile("%(25|3A)", re.IGNORECASE)
_MOST_READINGS: Final = 32  # each may look for a feature run on disk
Numbers = npt.NDArray[Any]


@dataclass(frozen=True)
class DrawnRows:
    """All rows of the window that have a value; ``values`` of text count in ``words``."""

    times_ns: npt.NDArray[np.int64]
    values: Numbers
    uncertainty: npt.NDArray[np.float64] | None
    nulls: int
    words: list[str] | None = None


@dataclass(frozen=True)
class DrawnField:
    """What was asked for, and what there is of it in the window."""

    topic: str
    leaf: Leaf
    found: DrawnRows | Curve

    @property
    def first_ns(self) -> int | None:
        """The first time that is drawn."""
        times = self.found.times_ns if isinstance(self.found, DrawnRows) else self.found.start_ns
        return int(times[0]) if len(times) else None

    def add_to(self, frame: Frame, number: int) -> dict[str, Any]:
        """Add the columns to a frame and return their description for its header."""
        about: dict[str, Any] = {
            "topic": self.topic,
            "field": self.leaf.name,
            "type": str(self.leaf.type),
            "unit": self.leaf.unit,
        }
        if self.leaf.uncertainty is not None:
            about["uncertainty"] = self.leaf.uncertainty
        if isinstance(self.found, DrawnRows):
            return about | _add_rows(frame, number, self.found)
        return about | _add_buckets(frame, number, self.found, self.leaf)


def draw(
    reader: TopicReader, leaf: Leaf, points: int, start_ns: int | None, end_ns: int | None
) -> DrawnField:
    """Return the rows of the window where they are at most ``points``, else two points for each bucket.

    Raises UsageError for what is neither number nor text.
    """
    if not (leaf.is_number or leaf.is_text):
        raise UsageError(
            "only numbers and text can be drawn", topic=reader.name, field=leaf.name, found=str(leaf.type),
            next_step="name a member or an element: pose.position.x, joints[3]",
        )  # fmt: skip
    most_rows, budget = min(points, MOST_ROWS), min(points, 2 * MOST_BUCKETS)
    if leaf.is_text:
        rows = _rows(reader, leaf, most_rows, start_ns, end_ns)
        return DrawnField(reader.name, leaf, rows or tally(reader, leaf, budget, start_ns, end_ns))
    curve = downsample(reader, leaf.name, budget, start_ns, end_ns)
    few = int(curve.rows.sum()) <= most_rows
    rows = _rows(reader, leaf, most_rows, start_ns, end_ns) if few else None
    return DrawnField(reader.name, leaf, rows or curve)


def find(bundle: BundleReader, text: str, gone: Callable[[], bool]) -> tuple[TopicReader, Leaf]:
    """Return the topic and leaf that ``TOPIC:FIELD`` means; scans end once ``gone()``.

    The first colon parts them; in the topic ``%3A`` is a colon and ``%25`` a percent sign. A topic's colons may
    also be written as they are: the shortest topic that has such a field counts. Raises NotFound, or UsageError
    for a text without a colon.
    """
    missing: list[NotFound] = []
    for topic, field in _readings(bundle, text):
        try:
            reader = WatchedReader(bundle.topic(topic), gone)
            return reader, Leaf.of(reader.schema, field, topic)
        except NotFound as error:
            missing.append(error)
    raise missing[0]


def _readings(bundle: BundleReader, text: str) -> list[tuple[str, str]]:
    """Return what a text may mean, the likeliest first: of topics that there are, or else the plainest."""
    colons = [place for place, char in enumerate(text) if char == ":"]
    if not colons:
        raise UsageError(
            "a field is asked for by topic and name", sequence=bundle.name, found=text, expected="TOPIC:FIELD"
        )
    known = {name for folder in bundle.folders for name in folder.topic_names()}
    first = colons[0]
    escaped = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text[:first])
    readings = chain([(escaped, first)], ((text[:place], place) for place in colons))
    there = ((name, place) for name, place in readings if name in known or is_feature_topic(name))
    found = dict.fromkeys(islice(there, _MOST_READINGS)) or [(text[:first], first)]
    return [(name, text[place + 1 :]) for name, place in found]


def _rows(
    reader: TopicReader, leaf: Leaf, most: int, start_ns: int | None, end_ns: int | None
) -> DrawnRows | None:
    """Return the rows of the window, None where they are more than ``most`` or their text is too long."""
    spread = _spread(reader, leaf)
    columns = list(dict.fromkeys([leaf.column, *([spread.column] if spread else [])]))
    batches: list[pa.RecordBatch] = []
    count = kept = 0
    for batch in reader.scan(columns, start_ns, end_ns, batch_rows=_BATCH_ROWS):
        batches.append(batch.filter(leaf.values(batch).is_valid()))
        count += batch.num_rows
        kept += batches[-1].num_rows
        if kept > most:
            return None
    times = np.concatenate([times_of(batch) for batch in batches]) if batches else np.empty(0, np.int64)
    arrays = [leaf.values(batch) for batch in batches]
    around = None if spread is None else _around(spread, batches)
    values: Numbers
    if leaf.is_text:
        words, values = _words(arrays)
        long = len(json.dumps(words, separators=(",", ":"), ensure_ascii=False).encode()) > _MOST_WORD_BYTES
        return None if long else DrawnRows(times, values, around, count - len(times), words)
    values = np.concatenate([leaf.numbers(array) for array in arrays]) if arrays else np.empty(0)
    if pa.types.is_boolean(leaf.type):
        values = values.astype(np.uint8)
    return DrawnRows(times, values, around, count - len(times))


def _spread(reader: TopicReader, leaf: Leaf) -> Leaf | None:
    """Return the column that holds the uncertainty of a field, None where no other column does."""
    name = leaf.uncertainty
    if name is None or leaf.steps or name not in reader.schema.names:
        return None
    spread = Leaf.of(reader.schema, name, reader.name)
    return spread if spread.is_number else None


def _around(spread: Leaf, batches: list[pa.RecordBatch]) -> npt.NDArray[np.float64]:
    """Return the uncertainties, NaN where there is none."""
    found = [np.empty(0, np.float64)]
    for batch in batches:
        array = spread.values(batch)
        missing = array.is_null().to_numpy(zero_copy_only=False)
        found.append(np.where(missing, np.nan, spread.numbers(array).astype(np.float64)))
    return np.concatenate(found)


def _words(arrays: list[pa.Array]) -> tuple[list[str], npt.NDArray[np.int32]]:
    if not arrays:
        return [], np.empty(0, np.int32)
    coded = pa.chunked_array(arrays).combine_chunks().dictionary_encode()
    return coded.dictionary.to_pylist(), coded.indices.to_numpy().astype(np.int32)


def _add_rows(frame: Frame, number: int, rows: DrawnRows) -> dict[str, Any]:
    add_exact_times(frame, f"{number}.time", rows.times_ns)
    frame.add(f"{number}.value", rows.values)
    if rows.uncertainty is not None:
        frame.add(f"{number}.uncertainty", rows.uncertainty)
    about: dict[str, Any] = {
        "kind": "rows",
        "total": len(rows.times_ns),
        "nulls": rows.nulls,
        "row_groups": 0,
    }
    return about if rows.words is None else about | {"words": rows.words}


def _add_buckets(frame: Frame, number: int, curve: Curve, leaf: Leaf) -> dict[str, Any]:
    frame.add_times(f"{number}.start", curve.start_ns)
    frame.add_times(f"{number}.end", curve.end_ns)
    if leaf.is_number:
        frame.add(f"{number}.min", curve.minimum)
        frame.add(f"{number}.max", curve.maximum)
        frame.add(f"{number}.mean", curve.mean)
    frame.add(f"{number}.rows", np.minimum(curve.rows, 2**32 - 1).astype(np.uint32))
    kind = "buckets" if leaf.is_number else "counts"
    about = {"kind": kind, "total": int(curve.rows.sum()), "row_groups": curve.row_groups}
    return about if leaf.is_text else about | _add_large(frame, number, curve)


def _add_large(frame: Frame, number: int, curve: Curve) -> dict[str, Any]:
    """Add how far means lie above the least value, where integers are too large for float64 to tell them apart.

    A mean is float64 itself: what it lost is bounded by its bucket's least and greatest value, which are exact.
    """
    if curve.minimum.dtype.kind == "f" or not len(curve):
        return {}
    lows, highs = curve.minimum.tolist(), curve.maximum.tolist()
    least = min(lows)
    if max(-least, *highs) <= _EXACT:
        return {}
    bounds = [np.array([float(value - least) for value in values]) for values in (lows, highs)]
    frame.add(f"{number}.mean_above", np.clip(curve.mean - float(least), *bounds))
    return {"least": str(least)}
