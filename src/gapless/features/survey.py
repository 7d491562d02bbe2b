"""What a feature run has, lacks and holds wrongly: every entry with its status and the reason, nothing computed.

Deciding needs the catalog's rows, one line of state and a stat of each file; no Parquet file is opened
unless ``deep`` asks for every byte to be read.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from gapless.errors import NotFound
from gapless.features.code_digest import UNKNOWN
from gapless.features.entry import GLOBAL_ENTRY, EntryKey, KnownEntry
from gapless.features.frame import EntryPlan, InputSource
from gapless.features.identity import RunIdentity
from gapless.features.run_folder import RunFolder, tree_digest
from gapless.features.scope import neighbours
from gapless.features.table_source import TableSource, record_source
from gapless.store.parquet import sha256_file

Status = Literal["ok", "empty", "failed", "pending", "stale"]
DONE = ("ok", "empty")
STATE_LABEL = "state"
_ALONE = (None, None)


class EntryState(Struct, gc=False):
    """One entry of a survey. ``plan`` is None when its inputs are not there, ``why`` says what is the matter."""

    key: EntryKey
    status: Status
    why: str
    record: KnownEntry | None
    plan: EntryPlan | None = None
    inputs: dict[str, str] = {}
    stamps: dict[str, str] = {}
    code_changed: bool = False

    @property
    def done(self) -> bool:
        """Whether what is recorded is what would be computed now."""
        return self.status in DONE


@dataclass(slots=True)
class InputRows:
    """The rows of one input for each entry that has them, and why others wait for theirs."""

    label: str
    sources: Mapping[EntryKey, InputSource]
    waiting: Mapping[EntryKey, str] = field(default_factory=dict)


@dataclass(slots=True)
class Survey:
    """The entries of one run in scope, in order, and whether its state still is what would be learned."""

    identity: RunIdentity
    folder: RunFolder
    states: list[EntryState]
    state_digest: str | None
    state_why: str
    shared: Mapping[str, str]  # what all entries depend on: label -> digest
    code: str | None = None
    state_code: str | None = None  # the source that the state was learned by
    blocked: str = ""  # why the run cannot begin at all
    absent: NotFound | None = None  # why there is no entry, if that is a mistake

    def counts(self) -> dict[str, int]:
        """Return how many entries have each status."""
        found = Counter(state.status for state in self.states)
        return {name: found.get(name, 0) for name in ("ok", "empty", "failed", "pending", "stale")}

    @property
    def todo(self) -> list[EntryState]:
        """The entries that a run would compute now."""
        return [state for state in self.states if not state.done and state.plan is not None]

    def wait_for(self, step: str) -> None:
        """Make every entry wait for a step whose outcome decides which run this will be."""
        self.blocked = why = f"waits for {step}"
        self.states = [replace(state, status="pending", why=why, plan=None) for state in self.states]

    @property
    def complete(self) -> bool:
        """Whether nothing is left to compute: every entry in scope is recorded and up to date."""
        return (
            not self.blocked
            and not self.state_why
            and self.absent is None
            and all(state.done for state in self.states)
        )

    @property
    def why(self) -> str:
        """The reasons in one line, the most frequent first."""
        if self.absent is not None:
            return f"{self.absent.message}; there are: {self.absent.expected}"
        if not self.states:
            return "no sequence of the data set is in scope"
        if self.blocked:
            return self.blocked
        reasons = Counter(state.why for state in self.states if state.why)
        told = [f"{why} ({count})" if count > 1 else why for why, count in reasons.most_common(3)]
        if self.state_why and self.state_why not in reasons:
            told.insert(0, self.state_why)
        return "; ".join(told)


def entry_digest(inputs: Mapping[str, str]) -> str:
    """Return the digest of what an entry is computed from: label -> content digest."""
    text = "\n".join(map("=".join, sorted(inputs.items())))  # no digest holds a line end
    return hashlib.sha256(text.encode()).hexdigest()


def survey_entries(
    identity: RunIdentity,
    folder: RunFolder,
    keys: Sequence[EntryKey],
    rows: Sequence[InputRows],
    *,
    around: Sequence[EntryKey],
    overlap: bool,
    shared: Mapping[str, str],
    own: Mapping[str, Mapping[EntryKey, str]],
    records: Mapping[EntryKey, KnownEntry],
    code: str | None,
    accepted: frozenset[str],
    deep: bool,
) -> Survey:
    """Return the state of each entry of a run.

    ``around`` is the whole data set in order, where neighbours come from. ``shared`` are digests of what
    all entries depend on, ``own`` those of what single entries do, by label.
    """
    beside = neighbours(around) if overlap else {}
    saved = folder.state_document()
    state_digest = None if saved is None else str(saved["digest"])
    state_code = None if saved is None else saved.get("code")
    content: dict[EntryKey, dict[str, str]] = {}
    place = str(folder.path)
    states = []
    for key in keys:
        record = records.get(key)
        plan, why = _plan(key, rows, beside.get(key, _ALONE))
        inputs, stamps = ({}, {}) if plan is None else _contents(plan, record, deep)
        if plan is not None and (shared or own):
            inputs |= {**shared, **_owned(own, key)}
        content[key] = inputs
        if state_digest is not None and inputs:
            inputs = {**inputs, STATE_LABEL: state_digest}
        state = EntryState(key, "pending", why, record, plan, inputs, stamps)
        _decide(state, place, deep)
        if state.done:
            state.code_changed = _is_other(record, state_code, code, accepted)
        states.append(state)
    state_why = "" if saved is None else _state_why(folder, saved, content, shared, deep)
    if state_why:
        for state in states:
            if state.done:
                state.status, state.why = "stale", state_why
    return Survey(identity, folder, states, state_digest, state_why, shared, code, state_code=state_code)


def _is_other(
    record: KnownEntry | None, state_code: str | None, code: str | None, accepted: frozenset[str]
) -> bool:
    """Tell whether an entry or the state was made by other source code, which nobody accepted."""
    if code is None or record is None or (record.code == code and state_code is None):
        return False
    made_with = (
        record.code or UNKNOWN,
        state_code,
    )  # a record that names no code tells of none that is known
    return any(then is not None and then != code and f"{then}>{code}" not in accepted for then in made_with)


def _plan(
    key: EntryKey, rows: Sequence[InputRows], beside: tuple[EntryKey | None, EntryKey | None]
) -> tuple[EntryPlan | None, str]:
    if key == GLOBAL_ENTRY:
        return EntryPlan(key, ()), ""
    for item in rows:
        if key in item.waiting:
            return None, item.waiting[key]
    inputs = (rows[0].sources[key],) if len(rows) == 1 else tuple([item.sources[key] for item in rows])
    if beside is _ALONE:
        return EntryPlan(key, inputs), ""
    before, after = (_sources_of(rows, other) for other in beside)
    return (
        EntryPlan(
            key, inputs, before, after,
            beside[0] if before is not None else None, beside[1] if after is not None else None,
        ),
        "",
    )  # fmt: skip


def _sources_of(rows: Sequence[InputRows], key: EntryKey | None) -> tuple[InputSource, ...] | None:
    if key is None or any(key not in item.sources for item in rows):
        return None
    return tuple(item.sources[key] for item in rows)


def _contents(
    plan: EntryPlan, record: KnownEntry | None, deep: bool
) -> tuple[dict[str, str], dict[str, str]]:
    """Return digest and stamp of each input of an entry, by label."""
    known = record.stamps if record is not None else {}
    if plan.before is None and plan.after is None and len(plan.inputs) == 1:  # as most are
        source = plan.inputs[0].source
        digest, stamp = source.look(deep=deep, known=known.get(source.label))
        return {source.label: digest}, {source.label: stamp}
    found: dict[str, str] = {}
    stamps: dict[str, str] = {}
    for label, source in labelled_sources(plan):
        found[label], stamps[label] = source.look(deep=deep, known=known.get(label))
    return found, stamps


def labelled_sources(plan: EntryPlan) -> list[tuple[str, TableSource]]:
    """Return the inputs of an entry by label; those of the entries before and after it are marked."""
    found: dict[str, TableSource] = {}
    for mark, sources in (("", plan.inputs), ("<", plan.before), (">", plan.after)):
        for item in sources or ():
            label = f"{mark}{item.source.label}"
            if label in found:  # a second run of one feature
                label = f"{mark}{item.source.topic}"
            found[label] = item.source
    return list(found.items())


def _owned(own: Mapping[str, Mapping[EntryKey, str]], key: EntryKey) -> dict[str, str]:
    return {label: digests[key] for label, digests in own.items() if key in digests}


def learned_from(content: Mapping[EntryKey, Mapping[str, str]], shared: Mapping[str, str]) -> dict[str, str]:
    """Return what a state is learned from: one digest for each entry, and the shared ones."""
    found = {_entry_label(key): entry_digest(inputs) for key, inputs in content.items()}
    return {**found, **{f"shared:{label}": digest for label, digest in shared.items()}}


def _state_why(
    folder: RunFolder,
    saved: Mapping[str, Any],
    content: Mapping[EntryKey, Mapping[str, str]],
    shared: Mapping[str, str],
    deep: bool,
) -> str:
    """Return why the state on disk, which ``saved`` describes, must be learned again; "" if it need not."""
    if deep and tree_digest(folder.state) != saved["digest"]:
        return "the state on disk is not what was saved"
    now = learned_from(content, shared)
    unread = {_entry_label(key) for key, inputs in content.items() if not inputs}
    for label, known in saved["learned_from"].items():
        if label in now and now[label] != known and label not in unread:
            return f"the state was learned from other content of {label.partition(':')[2]}"
    return ""


def _entry_label(key: EntryKey) -> str:
    return f"entry:{key[0]}/{key[1]}"


def _decide(state: EntryState, folder: str, deep: bool) -> None:
    """Set status and reason of an entry whose inputs are known; the reason was why they are not there."""
    record = state.record
    if state.plan is None:
        state.status = "pending" if record is None or record.status == "failed" else "stale"
    elif record is None:
        state.why = "not computed yet"
    elif record.key != entry_digest(state.inputs):
        state.status, state.why = "stale", _difference(record.inputs, state.inputs)
        if record.status == "failed":
            state.status, state.why = "pending", "failed before; its inputs changed"
    elif record.status == "failed":
        state.status, state.why = "failed", f"{record.error_type}: {record.error_message}"
    else:
        damage = damage_of(folder, record, deep=deep)
        state.status, state.why = ("stale", damage) if damage else (record.status, "")


def _difference(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Name what changed since an entry was computed."""
    changed = sorted(label for label in {*then, *now} if then.get(label) != now.get(label))
    return f"changed since: {', '.join(_spelled(label, then, now) for label in changed)}"


def _spelled(label: str, then: Mapping[str, str], now: Mapping[str, str]) -> str:
    if label == STATE_LABEL:
        return "the learned state"
    if label[:1] in "<>":
        place = "before" if label[0] == "<" else "after"
        return f"{label[1:]} of the entry {place} it"
    if now.get(label) == "missing":
        return f"{label} (its file is gone)"
    return (
        label
        if label in then and label in now
        else f"{label} ({'new' if label in now else 'no longer read'})"
    )


def damage_of(folder: str, record: KnownEntry, *, deep: bool) -> str:
    """Return what is wrong with an entry's file, "" if it is as it was written."""
    if not record.file:
        return ""
    path = f"{folder}/{record.file}"
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return "its output is missing"
    same = status.st_size == record.bytes and status.st_mtime_ns == record.mtime_ns
    if same and not deep:
        return ""
    if status.st_size != record.bytes or sha256_file(Path(path)) != record.sha256:
        return "its output is not what was written"
    return ""


def result_rows(
    label: str,
    topic: str,
    folder: Path,
    records: Mapping[EntryKey, KnownEntry],
    waiting: Mapping[EntryKey, str],
) -> InputRows:
    """Return the outputs of a run as rows of an input."""
    sources: dict[EntryKey, InputSource] = {}
    waits = dict(waiting)
    for key, record in records.items():
        if key in waits:
            continue
        if record.status == "failed":
            waits[key] = f"{label} failed"
        else:
            sources[key] = InputSource(record_source(label, topic, folder, record))
    return InputRows(label, sources, waits)
