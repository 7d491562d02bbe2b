"""The models of a store and the feature runs that they learned from, as their manifests tell."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from gapless.catalog.record_lines import read_object
from gapless.errors import IntegrityError
from gapless.model.names import from_component

Pair = tuple[str, str]  # (feature, run_id)


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """One training: ``inputs`` are the feature runs that it read, ``sequences`` the entries that it read of them.

    ``labels`` are what its labels are called: their kind, or the feature that they are a column of.
    """

    name: str
    run_id: str
    status: str
    inputs: tuple[Pair, ...]
    sequences: frozenset[str] = frozenset()
    labels: tuple[str, ...] = ()
    version: str = ""
    started_at: str = ""
    finished_at: str = ""

    def reads_any(self, runs: Collection[Pair]) -> bool:
        """Tell whether the model learned from one of the runs."""
        return any(pair in runs for pair in self.inputs)


def trained_models(root: Path) -> list[TrainedModel]:
    """Return the models of the store in order; IntegrityError for a manifest that cannot be read."""
    return [_read(path) for path in sorted((root / "models").glob("*/*/manifest.json"))]


def _read(path: Path) -> TrainedModel:
    try:
        document = read_object(path)
        inputs = tuple((str(item[0]), str(item[1])) for item in document.get("inputs", ()))
        labels = tuple(
            str(source.get("feature") or source["kind"]) for source, _ in document.get("labels", ())
        )
        sequences = frozenset(str(item[1]) for item in document.get("entries", ()))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise IntegrityError("the manifest of a model cannot be read", found=f"{path}: {error}") from error
    name, run_id = from_component(path.parent.parent.name), from_component(path.parent.name)
    facts = {what: str(document.get(what, "")) for what in ("version", "started_at", "finished_at")}
    return TrainedModel(name, run_id, str(document.get("status", "")), inputs, sequences, labels, **facts)


def find_trained(models: Iterable[TrainedModel], reference: str) -> TrainedModel | None:
    """Return the model that ``name@run_id``, or a run id alone, means; None if it is not there."""
    name, mark, run_id = reference.rpartition("@")
    return next((m for m in models if m.run_id == run_id and (not mark or m.name == name)), None)
