"""Which run a call means: one pure function that predicts, executes and cleans by.

What can change a value is in it; what cannot, is not. It reads no disk and changes no argument.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, Literal

from pydantic import BaseModel

from gapless.errors import ArgumentRefused, IdentityRefused
from gapless.features.artifact import ArtifactSpec
from gapless.features.canonical import canonical, form_digest, form_text, identity_fields
from gapless.features.columns import Columns
from gapless.features.entry import EntryKey
from gapless.features.inputs import TopicInput
from gapless.features.labels_source import FeatureLabelsSource, LabelsSource
from gapless.features.result import Result, TracksColumn

SCHEME = 1
_SHOWN_HEX = 12
_STORAGE_CHARS = 120
_REFERENCES = (Result, LabelsSource)
_TOPIC = "tracks"  # the topic of a data set that names none
Run = tuple[str, str]  # storage and run id


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What of a call changes the rows that a feature sees; ranges are half-open, frames are whole numbers."""

    overlap_frames: int = 0
    filter_start_frame: int | None = None
    filter_end_frame: int | None = None
    filter_start_time: float | None = None
    filter_end_time: float | None = None

    def check(self) -> None:
        """Raise ArgumentRefused for options that exclude each other or mean nothing."""
        if not _whole(self.overlap_frames) or self.overlap_frames < 0:
            raise ArgumentRefused("overlap_frames is a whole number of 0 or more", found=self.overlap_frames)
        for name, value in self._given().items():
            right = _whole(value) if name.endswith("frame") else _finite(value)
            if not right:
                raise ArgumentRefused(
                    f"{name} is no {'frame' if name.endswith('frame') else 'time'}", found=value
                )
        for end in ("start", "end"):
            pair = [getattr(self, f"filter_{end}_{unit}") for unit in ("frame", "time")]
            if None not in pair:
                raise ArgumentRefused(
                    f"filter_{end}_frame and filter_{end}_time exclude each other", found=pair,
                    expected="one of them",
                )  # fmt: skip
        if self.overlap_frames and self.filters:
            raise ArgumentRefused(
                "overlap_frames and filters exclude each other", found=self.filters, expected="one of the two"
            )
        for unit in ("frame", "time"):
            start, stop = getattr(self, f"filter_start_{unit}"), getattr(self, f"filter_end_{unit}")
            if start is not None and stop is not None and stop <= start:
                raise ArgumentRefused("a filter ends before it starts", found=(start, stop))

    @property
    def filters(self) -> dict[str, float]:
        """The filters that are set: frames as int, times as float."""
        return {
            name: int(value) if name.endswith("frame") else float(value)
            for name, value in self._given().items()
        }

    def _given(self) -> dict[str, Any]:
        names = [name for name in self.__slots__ if name.startswith("filter_")]
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


def _whole(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Integral)


def _finite(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)


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
    return found + params_references(feature.params)


def params_references(params: Any) -> list[Reference]:
    """Return every reference that parameters hold, in order."""
    return [
        Reference(place, _kind(value), value)
        for place, value in _parts(params)
        if isinstance(value, _REFERENCES)
    ]


def has_tracks_column(feature: Any) -> bool:
    """Tell whether a parameter refers to a column of the data set's topic."""
    return any(isinstance(part, TracksColumn) for _, part in _parts(feature.params))


def has_labels(feature: Any) -> bool:
    """Tell whether a parameter refers to labels that people put on, which are read for each of the topic's rows."""
    return any(ref.kind == "labels" for ref in params_references(feature.params))


def _kind(value: Any) -> Literal["column", "artifact", "labels"]:
    if isinstance(value, ArtifactSpec):
        return "artifact"
    return "column" if isinstance(value, FeatureLabelsSource | Result) else "labels"


def _parts(value: Any, place: str = "params") -> Iterator[tuple[str, Any]]:
    """Yield a value and all that it holds, each with a place of its own; a reference is a whole."""
    yield place, value
    if not isinstance(value, _REFERENCES):
        for step, item in _held(value):
            yield from _parts(item, f"{place}{step}")


def _held(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a value holds, with the step that leads to it: ``.field``, ``['key']`` or ``[0]``."""
    if isinstance(value, BaseModel):
        yield from ((f".{name}", getattr(value, name)) for name in type(value).model_fields)
    elif isinstance(value, Mapping):
        yield from ((f"[{key!r}]", item) for key, item in value.items())
    elif isinstance(value, list | tuple):
        yield from ((f"[{number}]", item) for number, item in enumerate(value))


def storage_name(feature: Any) -> str:
    """Return the name that a feature's runs are stored under: its own, and what it reads if not the recording.

    Names of inputs are plain, so that a chain of features does not grow its names. One of more than 120
    characters is cut and ends with 8 hex digits of the whole.
    """
    name = f"{feature.name}{feature.inputs.storage_suffix}".replace("/", "-")
    if len(name) <= _STORAGE_CHARS:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: _STORAGE_CHARS - 1 - len(digest)]}-{digest}"


def identify(
    feature: Any,
    options: RunOptions,
    *,
    columns: Columns,
    topic: str,
    pins: Mapping[str, Run],
    scope: Sequence[EntryKey] | None = None,
    code: str | None = None,
) -> RunIdentity:
    """Return the identity of a run of a feature.

    ``pins``: the place of each reference to another run -> its storage and run id. ``scope``: the entries,
    of a feature that depends on them. ``code``: the digest of its source, where that is to count. Raises
    IdentityRefused for a parameter without a canonical form and for a reference that is not pinned.
    """
    pinned = {ref.place: _pin(ref, pins) for ref in references(feature) if ref.kind != "labels"}
    items = tuple(feature.inputs.root)
    inputs = canonical([_input(f"inputs[{n}]", item, pinned) for n, item in enumerate(items)], "inputs")
    params = canonical(_params(feature.params, pinned), "params")
    document: dict[str, Any] = {
        "scheme": SCHEME,
        "feature": feature.name,
        "version": str(feature.version),
        "params": params,
        "inputs": inputs,
        "columns": canonical(columns.model_dump(), "columns"),
        "filter": canonical(options.filters, "filter"),
        "overlap": int(options.overlap_frames),
    }
    if "tracks" in items or has_tracks_column(feature) or (has_labels(feature) and topic != _TOPIC):
        document["topic"] = topic
    if feature.scope_dependent and scope is not None:
        document["scope"] = sorted([list(key) for key in scope])
    if code is not None:
        document["code"] = code
    digest = form_digest(document)
    named = [run for item in items if (run := named_run(item)) is not None]
    return RunIdentity(
        storage_name(feature),
        feature.name,
        str(feature.version),
        f"{feature.version}-{digest[:_SHOWN_HEX]}",
        digest,
        document,
        form_text(params),
        form_digest(params),
        form_text(inputs),
        tuple(dict.fromkeys([*pinned.values(), *named])),
    )


def lengthened(identity: RunIdentity, taken: Callable[[str], str | None]) -> RunIdentity:
    """Return the identity with as much of its digest as tells it from every other run; ``taken``: run id -> digest."""
    for length in range(_SHOWN_HEX, len(identity.digest) + 1):
        run_id = f"{identity.version}-{identity.digest[:length]}"
        if taken(run_id) in (None, identity.digest):
            return replace(identity, run_id=run_id)
    raise ArgumentRefused("another run has this digest under another identity", found=identity.digest)


def _pin(reference: Reference, pins: Mapping[str, Run]) -> Run:
    if reference.place not in pins:
        raise IdentityRefused(
            "a reference says no run, so nothing says what it means", field=reference.place,
            found=repr(reference.value),
        )  # fmt: skip
    return pins[reference.place]


def _input(place: str, item: Any, pinned: Mapping[str, Run]) -> Any:
    if isinstance(item, Result):
        storage, run_id = pinned[place]
        return {"feature": storage, "run_id": run_id}
    return {"topic": item.identity_dump()} if isinstance(item, TopicInput) else item


def named_run(item: Any) -> Run | None:
    """Return the run that a topic ``features/<storage>@<run id>`` is the output of."""
    if not isinstance(item, TopicInput) or not item.name.startswith("features/"):
        return None
    storage, _, run_id = item.name.removeprefix("features/").rpartition("@")
    return (storage, run_id) if storage else None


def _params(params: Any, pinned: Mapping[str, Run]) -> dict[str, Any]:
    """Return the parameters that can change a value, with references to the runs that they mean now."""
    if params is None:
        return {}
    fields = identity_fields(params)
    return {name: _referring(item, f"params.{name}", pinned) for name, item in fields.items()}


def _referring(value: Any, place: str, pinned: Mapping[str, Run]) -> Any:
    """Return a value in which references name their run: copies where there is one, else the value itself."""
    if place in pinned:
        storage, run_id = pinned[place]
        return value.model_copy(update={"feature": storage, "run_id": run_id})
    if isinstance(value, BaseModel):
        fields = {step[1:]: _referring(item, f"{place}{step}", pinned) for step, item in _held(value)}
        changed = {name: item for name, item in fields.items() if item is not getattr(value, name)}
        return value.model_copy(update=changed) if changed else value
    if isinstance(value, Mapping):
        return {key: _referring(item, f"{place}[{key!r}]", pinned) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_referring(item, f"{place}[{number}]", pinned) for number, item in enumerate(value)]
    return value
