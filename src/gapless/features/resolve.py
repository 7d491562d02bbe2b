"""From a feature and a data set to a survey: references pinned, inputs found, digests gathered.

A :class:`RunView` remembers what one pass has read, so that a pipeline of any length asks the registry
once. Nothing here writes, and no feature or parameter is changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from gapless.errors import ArgumentRefused, NotFound
from gapless.features.accepted_code import accepted_code
from gapless.features.code_digest import feature_code
from gapless.features.entry import GLOBAL_ENTRY, EntryKey, KnownEntry
from gapless.features.frame import InputSource
from gapless.features.identity import (
    Reference,
    RunIdentity,
    RunOptions,
    has_labels,
    has_tracks_column,
    identify,
    lengthened,
    named_run,
    references,
)
from gapless.features.inputs import TopicInput
from gapless.features.labels_source import FeatureLabelsSource, LabelsSource
from gapless.features.result import Result
from gapless.features.run_folder import RunFolder, tree_digest
from gapless.features.scope import Scope, absent_topic
from gapless.features.seen_survey import SeenSurvey
from gapless.features.survey import InputRows, Survey, result_rows, survey_entries
from gapless.store.parquet import sha256_file

if TYPE_CHECKING:
    from gapless.features.catalog_reads import CatalogReads
    from gapless.features.dataset import Dataset
    from gapless.features.feature import Feature
    from gapless.features.foresight import Foresight
    from gapless.features.labels import LabelSet

CodePolicy = Literal["ignore", "warn", "rerun"]
CODE_POLICIES = ("ignore", "warn", "rerun")
Pair = tuple[str, str]


@dataclass
class RunView:
    """What one pass over a data set has read: sequences, records and the surveys of earlier steps."""

    ds: Dataset
    deep: bool = False
    surveys: dict[Pair, Survey] = field(default_factory=dict)
    predicted: dict[Pair, list[EntryKey]] = field(default_factory=dict)
    made: dict[str, dict[str, None]] = field(default_factory=dict)  # storage -> run ids of steps in this pass
    _records: dict[Pair, dict[EntryKey, KnownEntry]] = field(default_factory=dict)
    _accepted: dict[Pair, frozenset[str]] | None = None

    def look_ahead(self, ahead: Foresight) -> None:
        """Read what will be asked for by one statement."""
        self.reads, records = self.ds.first_reads(frozenset(ahead.topics), ahead.runs)
        self._records.update(records)

    def preload(self, pairs: Iterable[Pair]) -> None:
        """Read the records of runs, all by one statement."""
        missing = [pair for pair in dict.fromkeys(pairs) if pair not in self._records]
        if missing:
            found = self.ds.registry.known_entries(missing)
            self._records.update({pair: found.get(pair, {}) for pair in missing})

    def records(self, pair: Pair) -> dict[EntryKey, KnownEntry]:
        """Return what is recorded of a run."""
        self.preload([pair])
        return self._records[pair]

    @cached_property
    def reads(self) -> CatalogReads:
        """What the catalog says, the same during the whole pass."""
        return self.ds.reads()

    def scope(self, topics: Iterable[str]) -> Scope:
        """Return the sequences that have all of the topics."""
        return self.reads.scope(frozenset(topics))

    def accepted(self, pair: Pair) -> frozenset[str]:
        """Return the digests of source code that a person said are equivalent for a run."""
        if self._accepted is None:
            self._accepted = accepted_code(self.ds.root)
        return self._accepted.get(pair, frozenset())

    def pin(self, result: Result[Any] | FeatureLabelsSource) -> Pair:
        """Return storage and run id that a reference means now: of the steps in this pass before any other run.

        A plain feature name stands for the only storage of that feature.
        """
        if result.run_id is None:
            mine = self._made_by(result.feature)
            if len(mine) > 1:
                raise ArgumentRefused(
                    "several steps before this one make outputs of the feature", found=result.feature,
                    expected=", ".join(f"{storage} {run_id}" for storage, run_id in mine),
                    next_step='refer to the step instead: {"step": its name}',
                )  # fmt: skip
            if mine:
                return mine[0]
        elif (result.feature, result.run_id) in self.predicted:
            return result.feature, result.run_id
        return self.ds.resolve(result)

    def _made_by(self, feature: str) -> list[Pair]:
        """Return the runs of a storage, or of all storages of a feature, that this pass has named."""
        mine = (
            [feature]
            if feature in self.made
            else [n for n in self.made if n.startswith(f"{feature}__from__")]
        )
        return [(storage, run_id) for storage in mine for run_id in self.made[storage]]


@dataclass(frozen=True)
class BoundRun:
    """A feature with its identity in a data set: everything pinned, nothing computed."""

    feature: Feature
    options: RunOptions
    identity: RunIdentity
    folder: RunFolder
    references: tuple[Reference, ...]
    pins: Mapping[int, Pair]  # place in ``references`` -> storage and run id
    keys: tuple[EntryKey, ...]  # the entries that were asked for
    around: tuple[EntryKey, ...]  # all entries of the data set that have the inputs, in order
    code: str | None
    policy: CodePolicy

    @property
    def pair(self) -> Pair:
        """Storage and run id."""
        return self.identity.storage, self.identity.run_id


def bind_run(
    view: RunView,
    feature: Feature,
    options: RunOptions,
    *,
    groups: Iterable[str] | None = None,
    sequences: Iterable[str] | None = None,
    policy: CodePolicy = "warn",
) -> BoundRun:
    """Return what a run of a feature would be; raises for references that mean nothing."""
    options.check()
    if policy not in CODE_POLICIES:
        raise ArgumentRefused(
            "there is no such policy for changed code", found=policy, expected=CODE_POLICIES
        )
    refs = tuple(references(feature))
    pins = {
        place: view.pin(ref.value)
        for place, ref in enumerate(refs)
        if isinstance(ref.value, Result | FeatureLabelsSource)
    }
    around = _entries(view, feature, refs, pins)
    keys = _narrowed(around, groups, sequences)
    code = None if policy == "ignore" else feature_code(feature, view.ds)
    identity = identify(
        feature,
        options,
        columns=view.ds.columns,
        topic=view.ds.topic,
        pins={refs[place].place: pair for place, pair in pins.items()},
        scope=list(keys) if feature.scope_dependent else None,
        code=code if policy == "rerun" else None,
    )
    identity = lengthened(
        identity, lambda run_id: RunFolder.of(view.ds.root, identity.storage, run_id).digest()
    )
    folder = RunFolder.of(view.ds.root, identity.storage, identity.run_id)
    bound = BoundRun(feature, options, identity, folder, refs, pins, keys, around, code, policy)
    view.predicted[bound.pair] = list(keys)
    view.made.setdefault(identity.storage, {})[identity.run_id] = None
    return bound


def survey_run(view: RunView, bound: BoundRun) -> Survey:
    """Return the state of every entry of a bound run; its states are shared and must not be altered."""
    shared, own, blocked = _dependencies(view, bound)
    known, accepted = view.records(bound.pair), view.accepted(bound.pair)
    made_from = (
        bound.identity.digest, bound.folder, bound.keys, bound.around, bound.code, accepted, shared, own, blocked,
        known, [_read_from(view, bound, item) for item in bound.feature.inputs.root],
        bound.folder.state_document(),
    )  # fmt: skip
    seen = None if view.deep else view.reads.seen_surveys.get(bound.pair)
    if seen is not None and seen.holds(made_from):
        found = replace(seen.survey)
    else:
        found = survey_entries(
            bound.identity,
            bound.folder,
            bound.keys,
            [_rows(view, bound, item) for item in bound.feature.inputs.root],
            around=bound.around,
            overlap=bound.options.overlap_frames > 0,
            shared=shared,
            own=own,
            records=known,
            code=bound.code,
            accepted=accepted,
            deep=view.deep,
        )
        found.blocked = blocked
        if not bound.keys:
            found.absent = _absent_topic(view, bound.feature) or _absent_run(view, bound)
        elif (
            view.reads.look.settled
            and not view.deep
            and (kept := SeenSurvey.of(made_from, found)) is not None
        ):
            view.reads.seen_surveys[bound.pair] = kept
    view.surveys[bound.pair] = found
    return found


def dependencies_of(bound: BoundRun) -> list[tuple[str, Reference, Pair | None]]:
    """Return the references in a feature's parameters: the parameter, with its place in it, and the pinned run."""
    return [
        (ref.place.partition(".")[2], ref, bound.pins.get(place))
        for place, ref in enumerate(bound.references)
        if ref.place.startswith("params")
    ]


# -- which entries -----------------------------------------------------------------------------


def _entries(
    view: RunView, feature: Feature, refs: Sequence[Reference], pins: Mapping[int, Pair]
) -> tuple[EntryKey, ...]:
    """Return the entries that all inputs have, in the order of groups and names."""
    items = tuple(feature.inputs.root)
    if not items:
        return (GLOBAL_ENTRY,)
    topics = [name for item in items if (name := _topic_of(view, item)) is not None]
    offered: list[Sequence[EntryKey]] = []
    if topics:
        offered.append(view.scope(topics).keys)
    inputs = [
        pins[place] for place, ref in enumerate(refs) if ref.place.startswith("inputs") and place in pins
    ]
    inputs += [run for item in items if (run := named_run(item)) is not None]
    offered += [
        view.predicted[pair] if pair in view.predicted else sorted(view.records(pair)) for pair in inputs
    ]
    if not topics:
        offered.append(view.reads.existing)
    if topics and len(offered) == 1:  # in order, and recorded sequences alone
        return tuple(offered[0])
    common = set(offered[0]).intersection(*offered[1:])
    return tuple(key for key in sorted(common) if key != GLOBAL_ENTRY)


def _absent_topic(view: RunView, feature: Feature) -> NotFound | None:
    """Return the error for a topic that no sequence of the store has; None if all are there, or none is yet."""
    wanted = [name for item in feature.inputs.root if (name := _topic_of(view, item)) is not None]
    return absent_topic(wanted, view.reads.topics)


def _absent_run(view: RunView, bound: BoundRun) -> NotFound | None:
    """Return the error for an input that is no run of the store and none of this pass."""
    registry = view.ds.registry
    for storage, run_id in (bound.pins[n] for n, ref in enumerate(bound.references) if ref.kind == "input"):
        if (storage, run_id) not in view.predicted and not registry.has_run(storage, run_id):
            return NotFound(
                "there is no such feature run", found=f"{storage} {run_id}", expected="a run that is there",
                next_step="`gapless features list` lists the runs",
            )  # fmt: skip
    return None


def _topic_of(view: RunView, item: Any) -> str | None:
    """Return the recorded topic that an input reads, None for the output of a feature."""
    if isinstance(item, TopicInput):
        return None if item.name.startswith("features/") else item.name
    return view.ds.topic if item == "tracks" else None


def _narrowed(
    keys: Sequence[EntryKey], groups: Iterable[str] | None, sequences: Iterable[str] | None
) -> tuple[EntryKey, ...]:
    if groups is None and sequences is None:
        return tuple(keys)
    from gapless.features.scope import ScopeEntry

    scope = Scope({key: ScopeEntry(key[0], key[1], "") for key in keys})
    return tuple(scope.narrowed(groups, sequences).keys)


# -- what the entries are computed from --------------------------------------------------------


def _rows(view: RunView, bound: BoundRun, item: Any) -> InputRows:
    topic = _topic_of(view, item)
    if topic is not None:
        align = item if isinstance(item, TopicInput) else None
        sources = {
            key: InputSource(
                entry.topics[topic],
                align.align if align else None,
                align.tolerance_ns if align else None,
                tuple(align.columns) if align and align.columns is not None else None,
            )
            for key, entry in view.scope([topic]).entries.items()
        }
        return InputRows(topic, sources)
    pair = _pair_of_input(bound, item)
    found = _outputs(view, pair)
    if isinstance(item, TopicInput):
        found.sources = {
            key: InputSource(
                source.source, item.align, item.tolerance_ns,
                tuple(item.columns) if item.columns is not None else None,
            )
            for key, source in found.sources.items()
        }  # fmt: skip
    return found


def _read_from(view: RunView, bound: BoundRun, item: Any) -> object:
    """Return what says which rows an input has, and which entries wait for theirs."""
    topic = _topic_of(view, item)
    if topic is not None:
        return view.scope([topic])
    pair = _pair_of_input(bound, item)
    known = view.surveys.get(pair)
    undone = [(s.key, s.status, s.why) for s in known.states if not s.done] if known is not None else None
    return view.records(pair), view.predicted.get(pair), undone


def _pair_of_input(bound: BoundRun, item: Any) -> Pair:
    for place, ref in enumerate(bound.references):
        if (
            ref.place.startswith("inputs")
            and (ref.value is item or ref.value == item)
            and place in bound.pins
        ):
            return bound.pins[place]
    name = item.name.removeprefix("features/")  # a TopicInput of a feature topic names its run itself
    storage, _, run_id = name.rpartition("@")
    return storage, run_id


def _outputs(view: RunView, pair: Pair) -> InputRows:
    storage, run_id = pair
    waiting = {}
    known = view.surveys.get(pair)
    records = view.records(pair)
    if known is not None:
        waiting = {s.key: f"waits for {storage}: {s.why or s.status}" for s in known.states if not s.done}
    folder = RunFolder.of(view.ds.root, storage, run_id)
    rows = result_rows(storage, f"features/{storage}@{run_id}", folder.path, records, waiting)
    absent = {key: f"waits for {storage}: not computed yet" for key in view.predicted.get(pair, ())
              if key not in rows.sources and key not in rows.waiting}  # fmt: skip
    rows.waiting = {**rows.waiting, **absent}
    return rows


def _dependencies(
    view: RunView, bound: BoundRun
) -> tuple[dict[str, str], dict[str, Mapping[EntryKey, str]], str]:
    """Return the digests of what parameters refer to: shared ones, those per entry, and what is missing."""
    shared: dict[str, str] = {}
    own: dict[str, Mapping[EntryKey, str]] = {}
    blocked = ""
    feature = bound.feature
    if "tracks" not in feature.inputs.root and (has_tracks_column(feature) or has_labels(feature)):
        own[f"rows of {view.ds.topic}"] = _recorded_digests(view)
    for name, ref, pair in dependencies_of(bound):
        if ref.kind == "labels":
            sets = _label_sets(view, ref.value, bound)
            own[f"labels {name}"] = {key: sets[key].digest for key in bound.keys if key in sets}
            shared[f"label names {name}"] = _names_digest(sets)
        elif pair is None:
            continue
        elif ref.kind == "artifact":
            upstream = view.surveys.get(pair)
            digest = _artifact_digest(view, ref, pair)
            if digest is None or (upstream is not None and not upstream.complete):
                blocked = f"waits for {pair[0]}: {upstream.why if upstream and upstream.why else 'not computed yet'}"
            shared[f"artifact {name}"] = digest or "missing"
        else:
            rows = _outputs(view, pair)
            own[f"column {name}"] = {key: s.source.digest(deep=view.deep) for key, s in rows.sources.items()}
    extra = getattr(bound.feature, "identity_digests", None)
    if extra is not None:
        shared.update(extra(view.ds))
    return shared, own, blocked


def _artifact_digest(view: RunView, ref: Reference, pair: Pair) -> str | None:
    """Return the digest of what an artifact is taken from, None while it is not there.

    A file of the state counts with the whole state, whose digest was taken when it was saved.
    """
    folder = RunFolder.of(view.ds.root, *pair)
    try:
        path = view.ds.artifact_path(ref.value.model_copy(update={"feature": pair[0], "run_id": pair[1]}))
    except NotFound:
        return None
    if path.parent != folder.state:
        return sha256_file(path)
    document = folder.state_document()
    if document is None:
        return None
    return tree_digest(folder.state) if view.deep else str(document["digest"])


def _recorded_digests(view: RunView) -> dict[EntryKey, str]:
    """Return what identifies the rows of the data set's topic, for each entry that has them."""
    topic = view.ds.topic
    entries = view.scope([topic]).entries
    return {key: entry.topics[topic].digest(deep=view.deep) for key, entry in entries.items()}


def _label_sets(view: RunView, source: LabelsSource[Any], bound: BoundRun) -> dict[EntryKey, LabelSet]:
    """Return the labels of all entries of the data set, whose names the codes of each are numbers of."""
    from gapless.features.labels import label_sets

    return label_sets(view.ds, source, list(dict.fromkeys([*bound.around, *bound.keys])))


def _names_digest(sets: Mapping[EntryKey, LabelSet]) -> str:
    from gapless.features.labels import names_digest

    return names_digest(sets.values())
