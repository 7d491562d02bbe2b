"""Which run a call means: one pure function that predicts, executes and cleans by.

What can change a value is in it; what cannot, is not. It reads no disk and changes no argument.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from gapless.errors import ArgumentRefused
from gapless.features.artifact import ArtifactSpec
from gapless.features.canonical import canonical, canonical_text
from gapless.features.columns import Columns
from gapless.features.entry import EntryKey
from gapless.features.inputs import TopicInput
from gapless.features.labels_source import FeatureLabelsSource, LabelsSource
from gapless.features.result import Result
from gapless.features.strict_model import StrictModel

SCHEME = 1
_SHOWN_HEX = 12
_STORAGE_CHARS = 120


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What of a call changes the rows that a feature sees; ranges are half-open."""

    overlap_frames: int = 0
    filter_start_frame: int | None = None
    filter_end_frame: int | None = None
    filter_start_time: float | None = None
    filter_end_time: float | None = None

    def check(self) -> None:
        """Raise ArgumentRefused for options that exclude each other or mean nothing."""
        if not isinstance(self.overlap_frames, int) or self.overlap_frames < 0:
            raise ArgumentRefused("overlap_frames is a number of 0 or more", found=self.overlap_frames)
        for end in ("start", "end"):
            pair = [getattr(self, f"filter_{end}_{unit}") for unit in ("frame", "time")]
            if None not in pair:
                raise ArgumentRefused(
                    f"filter_{end}_frame and filter_{end}_time exclude each other",
                    found=pair,
                    expected="one of them",
                )
        if self.overlap_frames and self.filters:
            raise ArgumentRefused(
                "overlap_frames and filters exclude each other", found=self.filters, expected="one of the two"
            )
        for unit in ("frame", "time"):
            start, end_ = getattr(self, f"filter_start_{unit}"), getattr(self, f"filter_end_{unit}")
            if start is not None and end_ is not None and end_ <= start:
                raise ArgumentRefused("a filter ends before it starts", found=(start, end_))

    @property
    def filters(self) -> dict[str, float]:
        """The filters that are set."""
        names = [name for name in self.__slots__ if name.startswith("filter_")]
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference to another run, or to labels, with its place: ``inputs[0]``, ``params.templates``."""

    place: str
    kind: Literal["input", "column", "artifact", "labels"]
    value: Any


@dataclass(frozen=True)
class RunIdentity:
    """A run: where it is stored, what it is called, and the whole document that its digest is of."""

    storage: str
    feature: str
    version: str
    run_id: str
    digest: str
    document: dict[str, Any]
    params_json: str
    params_hash: str
    inputs_json: str
    upstream: tuple[tuple[str, str], ...]


def references(feature: Any) -> list[Reference]:
    """Return every reference in a feature's inputs and parameters, in order."""
    found = [
        Reference(f"inputs[{place}]", "input", item)
        for place, item in enumerate(feature.inputs.root)
        if isinstance(item, Result)
    ]
    params = feature.params
    for name in type(params).model_fields if params is not None else ():
        _collect(f"params.{name}", getattr(params, name), found)
    return found


def _collect(place: str, value: Any, found: list[Reference]) -> None:
    if isinstance(value, ArtifactSpec):
        found.append(Reference(place, "artifact", value))
    elif isinstance(value, FeatureLabelsSource | Result):
        found.append(Reference(place, "column", value))
    elif isinstance(value, LabelsSource):
        found.append(Reference(place, "labels", value))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _collect(f"{place}.{key}", item, found)
    elif isinstance(value, StrictModel):
        for name in type(value).model_fields:
            _collect(f"{place}.{name}", getattr(value, name), found)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            _collect(f"{place}[{number}]", item, found)


def storage_name(feature: Any) -> str:
    """Return the name that a feature's runs are stored under: its own, and what it reads if not the recording.

    Names of inputs are plain, so that a chain of features does not grow its names.
    """
    name = f"{feature.name}{feature.inputs.storage_suffix}".replace("/", "-")
    if len(name) <= _STORAGE_CHARS:
        return name
    return f"{name[:_STORAGE_CHARS]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def identify(
    feature: Any,
    options: RunOptions,
    *,
    columns: Columns,
    topic: str,
    pins: Mapping[str, tuple[str, str]],
    scope: Sequence[EntryKey] | None = None,
    code: str | None = None,
) -> RunIdentity:
    """Return the identity of a run of a feature.

    ``pins``: the place of each reference to another run -> its storage and run id. ``scope``: the entries,
    of a feature that depends on them. ``code``: the digest of its source, where that is to count.
    """
    pinned = {ref.place: pins[ref.place] for ref in references(feature) if ref.kind != "labels"}
    inputs = [
        _input(f"inputs[{place}]", item, topic, pinned) for place, item in enumerate(feature.inputs.root)
    ]
    params = _params(feature.params, pinned)
    document: dict[str, Any] = {
        "scheme": SCHEME,
        "feature": feature.name,
        "version": str(feature.version),
        "params": params,
        "inputs": inputs,
        "columns": canonical(columns.model_dump()),
        "filter": canonical(options.filters),
        "overlap": options.overlap_frames,
    }
    if feature.scope_dependent and scope is not None:
        document["scope"] = sorted([list(key) for key in scope])
    if code is not None:
        document["code"] = code
    digest = hashlib.sha256(canonical_text(document).encode()).hexdigest()
    params_json = canonical_text(params)
    return RunIdentity(
        storage_name(feature),
        feature.name,
        str(feature.version),
        f"{feature.version}-{digest[:_SHOWN_HEX]}",
        digest,
        document,
        params_json,
        hashlib.sha256(params_json.encode()).hexdigest(),
        canonical_text(inputs),
        tuple(dict.fromkeys(pinned.values())),
    )


def lengthened(identity: RunIdentity, taken: Callable[[str], str | None]) -> RunIdentity:
    """Return the identity with as much of its digest as tells it from every other run; ``taken``: run id -> digest."""
    for length in range(_SHOWN_HEX, len(identity.digest) + 1):
        run_id = f"{identity.version}-{identity.digest[:length]}"
        if taken(run_id) in (None, identity.digest):
            return replace(identity, run_id=run_id)
    raise ArgumentRefused("another run has this digest under another identity", found=identity.digest)


def _input(place: str, item: Any, topic: str, pinned: Mapping[str, tuple[str, str]]) -> Any:
    if isinstance(item, Result):
        storage, run_id = pinned[place]
        return {"feature": storage, "run_id": run_id}
    if isinstance(item, TopicInput):
        return {"topic": canonical(item)}
    return {"tracks": topic}


def _params(params: Any, pinned: Mapping[str, tuple[str, str]]) -> Any:
    if params is None:
        return {}
    return {
        name: _pinned(f"params.{name}", value, pinned)
        for name, value in sorted(params.identity_dump().items())
    }


def _pinned(place: str, value: Any, pinned: Mapping[str, tuple[str, str]]) -> Any:
    """Return the canonical form of a parameter, references in it with the run that they mean now."""
    if place in pinned:
        storage, run_id = pinned[place]
        return {**canonical(value, place), "feature": storage, "run_id": run_id}
    if isinstance(value, Mapping):
        canonical(dict.fromkeys(value), place)
        return {key: _pinned(f"{place}.{key}", item, pinned) for key, item in sorted(value.items())}
    if isinstance(value, StrictModel) and not isinstance(value, Result | LabelsSource):
        fields = value.identity_dump()
        return {name: _pinned(f"{place}.{name}", item, pinned) for name, item in sorted(fields.items())}
    if isinstance(value, list | tuple):
        return [_pinned(f"{place}[{n}]", item, pinned) for n, item in enumerate(value)]
    return canonical(value, place)
