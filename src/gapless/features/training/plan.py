"""What a training is made from, found before anything is learned: it names the run, and the model reads it.

Nothing here writes. The same data set, model and configuration give the same plan in any process; another
row in an input, another label, seed or split gives another one.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from gapless.errors import ArgumentRefused, FeatureFailed, IdentityRefused
from gapless.features.canonical import canonical, canonical_text
from gapless.features.columns import Columns
from gapless.features.entry import GLOBAL_ENTRY, EntryKey
from gapless.features.labels import label_digests, labels_missing
from gapless.features.labels_source import FeatureLabelsSource, LabelsSource
from gapless.features.result import Result
from gapless.features.scope import absent_topic
from gapless.features.training.input_rows import InputRows, PinnedItem, input_rows, pinned_item, run_of
from gapless.features.training.split import Split, SplitSpec

if TYPE_CHECKING:
    from gapless.features.dataset import Dataset

SCHEME = 1
PLAN_FILE = "plan.json"
Config = str | os.PathLike[str] | Mapping[str, Any] | None


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that a training depends on.

    ``inputs`` have their runs pinned; ``entries`` are those that have all inputs and labels, with the digest
    of what they hold; ``labels`` each source with its digest. ``test`` is empty where nobody asked for a split.
    """

    model: str
    version: str
    config: dict[str, Any]
    seed: int
    inputs: tuple[PinnedItem, ...]
    entries: dict[EntryKey, str]
    labels: tuple[tuple[dict[str, Any], str], ...]
    split: SplitSpec | None
    sides: Split
    label_entries: tuple[dict[EntryKey, str], ...] = field(
        default=(), compare=False
    )  # the digests in each of them
    columns: Columns = field(default_factory=Columns)

    @property
    def train(self) -> tuple[EntryKey, ...]:
        """The entries to learn from."""
        return self.sides.train

    @property
    def test(self) -> tuple[EntryKey, ...]:
        """The entries to measure on."""
        return self.sides.test

    @property
    def folds(self) -> tuple[tuple[EntryKey, ...], ...]:
        """The entries to learn from, cut for cross-validation."""
        return self.sides.folds

    @property
    def document(self) -> dict[str, Any]:
        """The plan as JSON; its digest names the run. Columns are in it where they have other names than usual."""
        named = {} if self.columns == Columns() else {"columns": self.columns.model_dump()}
        return {
            **named,
            "scheme": SCHEME,
            "model": self.model,
            "version": self.version,
            "config": self.config,
            "seed": self.seed,
            "inputs": [item.model_dump() for item in self.inputs],
            "entries": [[*key, digest] for key, digest in self.entries.items()],
            "labels": [[source, digest] for source, digest in self.labels],
            "split": self.split.document() if self.split else None,
            "train": [list(key) for key in self.train],
            "test": [list(key) for key in self.test],
            "folds": [[list(key) for key in fold] for fold in self.folds],
        }

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical document."""
        return hashlib.sha256(canonical_text(self.document).encode()).hexdigest()

    @property
    def run_id(self) -> str:
        """What the run is called."""
        return f"{self.version}-{self.digest[:12]}"

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> TrainingPlan:
        """Return the plan that a document describes."""
        return cls(
            document["model"],
            document["version"],
            document["config"],
            document["seed"],
            tuple(pinned_item(item) for item in document["inputs"]),
            {(group, sequence): digest for group, sequence, digest in document["entries"]},
            tuple((source, digest) for source, digest in document["labels"]),
            SplitSpec.of(document["split"]) if document["split"] else None,
            Split(
                _keys(document["train"]),
                _keys(document["test"]),
                tuple(_keys(fold) for fold in document["folds"]),
            ),
            columns=Columns(**document.get("columns", {})),
        )

    def sources(self) -> list[LabelsSource[Any]]:
        """Return where the labels come from, every run pinned."""
        return [
            FeatureLabelsSource(**source) if "feature" in source else LabelsSource[str](**source)
            for source, _ in self.labels
        ]


def read_plan(run_root: Path) -> TrainingPlan:
    """Return the plan of the training that writes, or wrote, into a folder."""
    return TrainingPlan.of(json.loads((Path(run_root) / PLAN_FILE).read_bytes()))


def runs_of(document: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return storage and run id of every feature run that the plan of a document reads, for rows or for labels."""
    items = (pinned_item(item) for item in document["inputs"])
    read = [run for item in items if (run := run_of(item)) is not None]
    read += [(source["feature"], source["run_id"]) for source, _ in document["labels"] if "feature" in source]
    return tuple(dict.fromkeys(read))


def plan_training(ds: Dataset, model: Any, config: Config = None, *, ahead: bool = False) -> TrainingPlan:
    """Return what a training would be made from; ``ahead``: also where no input has been computed yet.

    Raises ArgumentRefused for a configuration, model or split that means nothing, IdentityRefused for values
    that have no canonical form, NotFound for a topic that is not there, LabelsMissing when no entry has the
    labels.
    """
    settings = read_config(config)
    name, version = _named(model)
    seed = settings.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ArgumentRefused("a seed is an integer", field="seed", found=seed)
    rows = input_rows(ds, model_items(model))
    sources = [_pinned(ds, source) for source in _label_sources(model, settings)]
    entries = _entries(ds, rows, sources)
    if rows and not entries and not ahead:
        absent = absent_topic([item.name for item in rows if item.run is None], ds.topics())
        if absent is not None:
            raise absent
        raise FeatureFailed(
            "no entry has all inputs of the model", found=[item.name for item in rows],
            next_step="run the features that it reads, over the same sequences",
        )  # fmt: skip
    spec = _split_spec(model, settings, seed)
    sides = spec.divide(list(entries)) if spec is not None and entries else Split(tuple(entries), ())
    each = tuple(label_digests(ds, source, list(entries)) for source in sources)
    labels = tuple(
        (source.model_dump(), _labels_digest(found)) for source, found in zip(sources, each, strict=True)
    )
    return TrainingPlan(
        name, version, settings, seed, tuple(item.item for item in rows), entries, labels, spec, sides, each,
        ds.columns,
    )  # fmt: skip


def model_items(model: Any) -> tuple[Any, ...]:
    """Return the inputs of a model one by one."""
    inputs = getattr(model, "inputs", ())
    return tuple(getattr(inputs, "root", inputs))


def read_config(config: Config) -> dict[str, Any]:
    """Return a configuration given as a mapping or as the path of a JSON file, in its canonical form."""
    if config is None:
        return {}
    if isinstance(config, str | os.PathLike):
        path = Path(config)
        try:
            config = json.loads(path.read_bytes())
        except OSError as error:
            raise ArgumentRefused("the configuration cannot be read", found=str(path)) from error
        except ValueError as error:
            raise ArgumentRefused(f"{path} is no JSON", found=str(error)) from error
    if not isinstance(config, Mapping):
        raise ArgumentRefused("a configuration is a mapping", found=type(config).__name__)
    plain: dict[str, Any] = _plain(config, "config")
    return plain


def _plain(value: Any, place: str) -> Any:
    """Return a value as JSON holds it; IdentityRefused for what no later process could find again."""
    if isinstance(value, SplitSpec):
        return value.document()
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(), place)
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{place}[{number}]") for number, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise IdentityRefused("a configuration is JSON, which has no such number", field=place, found=value)
    if value is None or type(value) in (bool, int, float, str):
        return value
    plain = canonical(value, place)  # paths, enums, NumPy numbers; refuses the rest
    return _plain(value.item(), place) if hasattr(value, "item") else plain


def _named(model: Any) -> tuple[str, str]:
    for attribute in ("name", "version"):
        value = getattr(model, attribute, None)
        if not isinstance(value, str) or not value or "@" in value:
            raise ArgumentRefused(f"a model has a {attribute}, text without @", found=value)
    return model.name, model.version


def _label_sources(model: Any, config: dict[str, Any]) -> list[LabelsSource[Any]]:
    asked = getattr(model, "label_sources", None)
    return list(asked(config)) if asked is not None else []


def _pinned(ds: Dataset, source: LabelsSource[Any]) -> LabelsSource[Any]:
    if not isinstance(source, FeatureLabelsSource):
        return source
    storage, run_id = ds.resolve(Result(feature=source.feature, run_id=source.run_id))
    return source.model_copy(update={"feature": storage, "run_id": run_id})


def _split_spec(model: Any, config: dict[str, Any], seed: int) -> SplitSpec | None:
    given = config["split"] if "split" in config else getattr(model, "split", None)
    if given is None:
        return None
    if isinstance(given, SplitSpec) and "split" not in config and "seed" in config:
        given = {**given.document(), "seed": seed}
    return SplitSpec.of(given, seed)


def _entries(
    ds: Dataset, rows: Sequence[InputRows], sources: Sequence[LabelsSource[Any]]
) -> dict[EntryKey, str]:
    """Return the entries that have every input and labels of every source, with their digests."""
    if not rows:
        return {}
    common = set(rows[0].sources).intersection(*(item.sources for item in rows)) - {GLOBAL_ENTRY}
    keys = sorted(common)
    for source in sources:
        labelled = label_digests(ds, source, keys)
        keys = [key for key in keys if key in labelled]
        if common and not keys:
            raise labels_missing(source)
    return {key: entry_digest(rows, key) for key in keys}


def entry_digest(rows: Sequence[InputRows], key: EntryKey) -> str:
    """Return what identifies the rows of an entry in all inputs, as they are now."""
    return _digest([item.sources[key].source.digest() for item in rows])


def labels_digest(ds: Dataset, source: LabelsSource[Any], keys: Sequence[EntryKey]) -> str:
    """Return what identifies the labels of the entries, as they are now."""
    return _labels_digest(label_digests(ds, source, keys))


def _labels_digest(found: Mapping[EntryKey, str]) -> str:
    return _digest([[*key, found[key]] for key in sorted(found)])


def _digest(facts: object) -> str:
    return hashlib.sha256(canonical_text(facts).encode()).hexdigest()


def _keys(pairs: Sequence[Sequence[str]]) -> tuple[EntryKey, ...]:
    return tuple((group, sequence) for group, sequence in pairs)
