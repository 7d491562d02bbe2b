"""The rows and labels that a plan names, read entry by entry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gapless.errors import FeatureFailed, MixedTimebaseError
from gapless.features.entry import EntryKey
from gapless.features.labels import label_membership, label_sets, read_label_rows
from gapless.features.labels_source import FeatureLabelsSource, LabelsSource
from gapless.features.training.input_rows import input_rows, read_entry
from gapless.features.training.plan import TrainingPlan, entry_digest, labels_digest
from gapless.store.declaration import TIME

if TYPE_CHECKING:
    import pandas as pd

    from gapless.features.dataset import Dataset


class TrainingData:
    """Frames of the plan's entries as a feature sees them, and which labels hold in each of their rows.

    Raises FeatureFailed when rows or labels are no longer those that the plan names.
    """

    def __init__(self, ds: Dataset, plan: TrainingPlan) -> None:
        self.plan = plan
        self._ds = ds
        self._rows = input_rows(ds, plan.inputs)
        keys = list(plan.entries)
        self._labels = [_labels_of(ds, source, keys) for source in plan.sources()]
        for source, (_, digest) in zip(plan.sources(), plan.labels, strict=True):
            if labels_digest(ds, source, keys) != digest:  # asked after reading, so nothing slips between
                raise FeatureFailed("labels changed since the training began", found=source.kind)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all labels on the plan's entries, in order."""
        return tuple(sorted({name for labels in self._labels for name in labels.names}))

    def frame(self, key: EntryKey) -> pd.DataFrame:
        """Return the joined inputs of an entry."""
        if key not in self.plan.entries or any(key not in item.sources for item in self._rows):
            raise FeatureFailed("the entry does not belong to the training", sequence=key[1])
        frame = read_entry(self._ds, self._rows, key)
        if entry_digest(self._rows, key) != self.plan.entries[key]:
            raise FeatureFailed("rows changed since the training began", sequence=key[1])
        return frame

    def membership(self, key: EntryKey, frame: pd.DataFrame, names: Sequence[str]) -> NDArray[np.bool_]:
        """Return for each row of an entry's frame whether each of the names holds (rows × names)."""
        found = np.zeros((len(frame), len(names)), np.bool_)
        for labels in self._labels:
            found |= labels.membership(key, frame, names)
        return found

    def frames(
        self, keys: Sequence[EntryKey], names: Sequence[str]
    ) -> Iterator[tuple[EntryKey, pd.DataFrame, NDArray[np.bool_]]]:
        """Yield entry, frame and labels, one entry at a time."""
        for key in keys:
            frame = self.frame(key)
            yield key, frame, self.membership(key, frame, names)


class _SpanLabels:
    """Labels that people put on spans of time."""

    def __init__(self, ds: Dataset, source: LabelsSource[Any], keys: Sequence[EntryKey]) -> None:
        self._sets = label_sets(ds, source, keys)
        self.names = {name for labels in self._sets.values() for name in labels.names}

    def membership(self, key: EntryKey, frame: pd.DataFrame, names: Sequence[str]) -> NDArray[np.bool_]:
        if TIME not in frame.columns:
            raise MixedTimebaseError(
                "rows without time cannot be labelled by spans of time", sequence=key[1], expected=TIME,
                next_step="give the model inputs whose rows have a time",
            )  # fmt: skip
        return label_membership(frame[TIME].to_numpy(np.int64), self._sets[key].spans, names)


class _RowLabels:
    """Labels that a feature gave to rows, found again by their time and, where both have it, their id."""

    def __init__(self, ds: Dataset, source: LabelsSource[Any], keys: Sequence[EntryKey]) -> None:
        self._rows = read_label_rows(ds, source, keys)
        self._id_col = ds.columns.id_col
        self.names = {str(name) for rows in self._rows.values() for name in rows["label_names"][1:]}

    def membership(self, key: EntryKey, frame: pd.DataFrame, names: Sequence[str]) -> NDArray[np.bool_]:
        import pandas as pd

        rows = self._rows[key]
        if TIME not in rows or TIME not in frame.columns:
            raise MixedTimebaseError("labels and rows share no time", sequence=key[1], expected=TIME)
        both = "id" in rows and self._id_col in frame.columns
        mine: list[Any] = [frame[TIME].to_numpy(np.int64), *([frame[self._id_col]] if both else [])]
        theirs: list[Any] = [rows[TIME], *([rows["id"]] if both else [])]
        index = pd.MultiIndex.from_arrays(theirs)
        if not index.is_unique:
            raise MixedTimebaseError("labels of one time cannot be told apart", sequence=key[1])
        places = index.get_indexer(pd.MultiIndex.from_arrays(mine))
        known = {str(name): place for place, name in enumerate(rows["label_names"][1:])}
        found = np.zeros((len(frame), len(names)), np.bool_)
        for column, name in enumerate(names):
            if name in known:
                found[:, column] = rows["membership"][places, known[name]] & (places >= 0)
        return found


def _labels_of(ds: Dataset, source: LabelsSource[Any], keys: Sequence[EntryKey]) -> _SpanLabels | _RowLabels:
    kind = _RowLabels if isinstance(source, FeatureLabelsSource) else _SpanLabels
    return kind(ds, source, keys)
