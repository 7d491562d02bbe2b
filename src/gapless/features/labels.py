"""Labels of sequences as a model learns from them: named spans of time, and what they say of each row.

They are read from the annotations beside the sealed data, so a label that was just put on counts at once.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gapless.catalog.annotations import read_annotations
from gapless.errors import LabelsMissing, NotFound
from gapless.features.entry import EntryKey
from gapless.features.labels_source import FeatureLabelsSource, LabelsSource
from gapless.features.result import Result
from gapless.features.run_folder import write_whole
from gapless.model.names import to_component
from gapless.store.declaration import TIME

if TYPE_CHECKING:
    from gapless.client.client import Client
    from gapless.features.dataset import Dataset


@dataclass(frozen=True, slots=True)
class LabelSpan:
    """A label from ``start_ns`` to ``end_ns``, both included; ``confidence`` between 0 and 1 where known."""

    start_ns: int
    end_ns: int
    name: str
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class LabelSet:
    """All labels of one kind on one sequence, in the order of their beginnings."""

    sequence: str
    kind: str
    spans: tuple[LabelSpan, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names that occur, in order."""
        return tuple(sorted({span.name for span in self.spans}))

    @property
    def digest(self) -> str:
        """What identifies the labels: their spans, names and confidences, not who made them and when."""
        facts = [[span.start_ns, span.end_ns, span.name, span.confidence] for span in self.spans]
        return hashlib.sha256(json.dumps(facts, ensure_ascii=False).encode()).hexdigest()


def read_labels(client: Client, sequence: str, kind: str) -> LabelSet:
    """Return the labels of a kind on a sequence; NotFound without the sequence, an empty set without labels."""
    bundle = client.path / "sequences" / to_component(sequence)
    if not bundle.is_dir():
        raise NotFound("there is no sequence of that name", sequence=sequence)
    spans = {
        LabelSpan(item.start_ns, item.end_ns, item.name, item.confidence)
        for item in read_annotations(bundle)
        if item.kind == kind
    }
    return LabelSet(sequence, kind, tuple(sorted(spans, key=_order)))


def _order(span: LabelSpan) -> tuple[int, int, str, float]:
    """Earlier beginnings first, of one beginning the longer span: what is painted last is most specific."""
    return span.start_ns, -span.end_ns, span.name, -1.0 if span.confidence is None else span.confidence


def label_digest(labels: Iterable[LabelSet]) -> str:
    """Return what identifies the labels of several sequences, in any order."""
    lines = sorted(f"{item.sequence}\0{item.kind}\0{item.digest}" for item in labels)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


# -- what labels say of rows -------------------------------------------------------------------


def label_membership(
    times_ns: NDArray[np.int64], spans: Sequence[LabelSpan], names: Sequence[str]
) -> NDArray[np.bool_]:
    """Return for each row (first axis) whether it lies in a span of each name (second axis)."""
    order = np.argsort(times_ns, kind="stable")
    rising = times_ns[order]
    found = np.zeros((len(times_ns), len(names)), np.bool_)
    places = {name: place for place, name in enumerate(names)}
    for span in spans:
        if span.name in places:
            first, last = _rows_of(rising, span)
            found[order[first:last], places[span.name]] = True
    return found


def labels_per_row(
    times_ns: NDArray[np.int64],
    spans: Sequence[LabelSpan],
    *,
    names: Sequence[str] | None = None,
    default: str = "",
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return a code for each row and what the codes mean: 0 is ``default``, for rows in no span.

    ``names``: the labels that count, None all. Where spans overlap the one that begins last counts, of
    several the shortest; :func:`label_membership` has all of them.
    """
    known = (default, *(sorted({span.name for span in spans}) if names is None else names))
    codes = {name: code for code, name in enumerate(known) if code}
    order = np.argsort(times_ns, kind="stable")
    rising = times_ns[order]
    found = np.zeros(len(times_ns), np.int64)
    for span in sorted(spans, key=_order):
        if span.name in codes:
            first, last = _rows_of(rising, span)
            found[order[first:last]] = codes[span.name]
    return found, known


def _rows_of(rising: NDArray[np.int64], span: LabelSpan) -> tuple[int, int]:
    return (
        int(np.searchsorted(rising, span.start_ns, "left")),
        int(np.searchsorted(rising, span.end_ns, "right")),
    )


# -- labels as a dependency of features and models ---------------------------------------------


def label_digests(ds: Dataset, source: LabelsSource[Any], keys: Sequence[EntryKey]) -> dict[EntryKey, str]:
    """Return the digest of the labels of each entry that has any."""
    if isinstance(source, FeatureLabelsSource):
        records = ds.entry_records(_result(source))
        return {key: records[key].sha256 for key in keys if key in records and records[key].file}
    return {key: labels.digest for key, labels in label_sets(ds, source, keys).items()}


def label_sets(ds: Dataset, source: LabelsSource[Any], keys: Sequence[EntryKey]) -> dict[EntryKey, LabelSet]:
    """Return the labels that people put on the entries; entries without labels are left out."""
    found = {key: read_labels(ds.client, key[1], source.kind) for key in keys}
    return {key: labels for key, labels in found.items() if labels.spans}


def labels_missing(source: LabelsSource[Any]) -> LabelsMissing:
    """Return the error that says which labels are missing, and the command that makes them."""
    if isinstance(source, FeatureLabelsSource):
        return LabelsMissing(
            "no sequence of the data set has labels by the feature", found=source.feature,
            next_step="run the feature over these sequences first",
        )  # fmt: skip
    return LabelsMissing(
        "no sequence of the data set has labels of the kind", found=source.kind,
        next_step=f"`gapless label SEQUENCE START END NAME --kind {source.kind}` puts one on, "
        f"`gapless label --import FILE.csv --kind {source.kind}` many",
    )  # fmt: skip


def names_in(sets: Iterable[LabelSet]) -> list[str]:
    """Return the names that occur in any of the sets, in order: what the codes are numbers of."""
    return sorted({name for labels in sets for name in labels.names})


def names_digest(sets: Iterable[LabelSet]) -> str:
    """Return what identifies the meaning of the codes: every name that they count."""
    return hashlib.sha256(json.dumps(names_in(sets), ensure_ascii=False).encode()).hexdigest()


def materialise_labels(
    ds: Dataset,
    source: LabelsSource[Any],
    keys: Sequence[EntryKey],
    folder: Path,
    *,
    around: Sequence[EntryKey] | None = None,
) -> dict[EntryKey, Path]:
    """Write the labels of each entry that has any as ``<sequence>.npz``; LabelsMissing if none has.

    ``around``: the entries whose names are numbered, None those of ``keys``.

    One row for each instant of the recording: ``timestamp_ns`` and ``frame`` (int64), ``labels`` (int64 codes
    into ``label_names``, where 0 is "no label") and ``membership`` (bool, rows × the names from 1 on), which
    differs where labels overlap. Codes mean the same in all files. Read them with ``allow_pickle=False``.
    """
    rows = read_label_rows(ds, source, keys, around=around)
    written: dict[EntryKey, Path] = {}
    for key, arrays in rows.items():
        path = folder / f"{to_component(key[1])}.npz"
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **arrays)
        write_whole(path, content.getvalue())  # another process may be reading it
        written[key] = path
    return written


def read_label_rows(
    ds: Dataset,
    source: LabelsSource[Any],
    keys: Sequence[EntryKey],
    *,
    around: Sequence[EntryKey] | None = None,
) -> dict[EntryKey, dict[str, NDArray[Any]]]:
    """Return the arrays that :func:`materialise_labels` writes, for each entry that has labels."""
    if isinstance(source, FeatureLabelsSource):
        return _from_feature(ds, source, keys)
    sets = label_sets(ds, source, keys)
    if not sets:
        raise labels_missing(source)
    beside = {} if around is None else label_sets(ds, source, [key for key in around if key not in sets])
    names = names_in([*sets.values(), *beside.values()])
    found = {}
    for key, labels in sets.items():
        instants = _instants(ds, key)
        codes, known = labels_per_row(instants[TIME], labels.spans, names=names)
        member = label_membership(instants[TIME], labels.spans, names)
        found[key] = {**instants, "labels": codes, "label_names": np.array(known), "membership": member}
    return found


def _instants(ds: Dataset, key: EntryKey) -> dict[str, NDArray[Any]]:
    """Return the distinct times of an entry's recording and their frame numbers."""
    frame_col = ds.columns.frame_col
    frame = ds.frame(key[1], columns=[], frame_type="arrow", group=key[0])
    times, first = np.unique(frame.column(TIME).to_numpy(), return_index=True)
    return {TIME: times, "frame": frame.column(frame_col).to_numpy()[first].astype(np.int64)}


def _from_feature(
    ds: Dataset, source: FeatureLabelsSource, keys: Sequence[EntryKey]
) -> dict[EntryKey, dict[str, NDArray[Any]]]:
    """Return the labels in a column of a feature's output, with ``id`` where it has one; null is "no label"."""
    wanted = set(keys)
    texts: dict[EntryKey, tuple[Mapping[str, NDArray[Any]], list[str]]] = {}
    for key, table in ds.results(_result(source), frame_type="arrow"):
        if key not in wanted:
            continue
        if source.column not in table.column_names:
            raise NotFound(
                "the feature's output has no such column", field=source.column, found=source.feature,
                expected=", ".join(table.column_names), next_step="name the column that holds the labels",
            )  # fmt: skip
        values = ["" if v is None else str(v) for v in table.column(source.column).to_pylist()]
        texts[key] = (_times_of(ds, table), values)
    if not texts:
        raise labels_missing(source)
    known = ["", *sorted({text for _, values in texts.values() for text in values} - {""})]
    codes = {text: code for code, text in enumerate(known)}
    found = {}
    for key, (instants, values) in texts.items():
        labels = np.array([codes[text] for text in values], np.int64)
        member = labels[:, None] == np.arange(1, len(known))
        found[key] = {**instants, "labels": labels, "label_names": np.array(known), "membership": member}
    return found


def _times_of(ds: Dataset, table: Any) -> dict[str, NDArray[Any]]:
    named = {TIME: TIME, "frame": ds.columns.frame_col, "id": ds.columns.id_col}
    return {
        name: np.asarray(table.column(column).to_pylist())
        for name, column in named.items()
        if column in table.column_names
    }


def _result(source: FeatureLabelsSource) -> Result[str]:
    return Result(feature=source.feature, run_id=source.run_id)
