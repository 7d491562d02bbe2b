"""What a feature is to the engine: four attributes and four methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel

from gapless.features.entry import EntryKey
from gapless.features.inputs import InputsLike

__all__ = ["EntryKey", "Feature", "InputStream"]


class InputStream:
    """The frames that a feature learns from; every call starts again at the first one.

    ``factory`` returns an iterator over ((group, sequence), frame). ``n_entries`` is the number of entries
    in scope, known without reading any; entries without rows are not yielded.
    """

    def __init__(self, factory: Callable[[], Iterator[tuple[EntryKey, Any]]], n_entries: int) -> None:
        self._factory = factory
        self.n_entries = n_entries

    def __call__(self) -> Iterator[tuple[EntryKey, Any]]:
        """Return an iterator from the first entry on."""
        return self._factory()


@runtime_checkable
class Feature(Protocol):
    """A computation over the entries of a data set.

    The engine also reads, where they are there: ``frame_type`` ("pandas", "polars" or "arrow"),
    ``input_columns`` (the data columns to read), ``units`` (of output columns), ``cancel_token``,
    ``progress_callback``, ``entry_key`` (set before each call of ``apply``) and the methods ``bind_dataset(ds)``,
    ``derived_units(units)``, which gives the units of output columns from those of the input's, and
    ``code_class(ds)``: a class whose source counts as the feature's own, or None.
    """

    @property
    def name(self) -> str:
        """The feature's name, unique among features."""

    @property
    def version(self) -> str:
        """Version of what it computes; another version is another run."""

    @property
    def parallelizable(self) -> bool:
        """Whether entries may be applied at the same time, in copies of the feature."""

    @property
    def scope_dependent(self) -> bool:
        """Whether the result of an entry depends on which other entries are there."""

    @property
    def inputs(self) -> InputsLike:
        """What it reads."""

    @property
    def params(self) -> BaseModel:
        """Its parameters."""

    def load_state(
        self,
        run_root: Path,
        artifact_paths: dict[str, Path],
        dependency_lookups: dict[str, dict[EntryKey, Path]],
    ) -> bool:
        """Load what was learned and return True, or return False if it must be learned first.

        ``artifact_paths`` has the file of each artifact among the parameters, ``dependency_lookups`` the
        files per entry of each result, column or source of labels among them, by parameter.
        """

    def fit(self, inputs: InputStream) -> None:
        """Learn from all entries in scope."""

    def apply(self, df: Any) -> Any:
        """Return the output of one entry."""

    def save_state(self, run_root: Path) -> None:
        """Write what was learned into a folder."""
