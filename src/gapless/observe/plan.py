"""What an observer records: the tables and cameras of its recorders, checked once, with their fingerprints."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gapless.errors import NameTaken, SchemaChanged, UsageError
from gapless.model.metadata import canonical_json
from gapless.model.names import check_topic_name, fold
from gapless.observe.recorder import Camera, CameraSpec, Recorder, Table, TableSpec
from gapless.store.episode_rows import ENDED, FRAMES, TASKS
from gapless.store.media.frame_table import FRAME_TABLE, frame_table_of

if TYPE_CHECKING:
    import pyarrow as pa

OWN_TOPICS = {"frames": FRAMES, "tasks": TASKS, "episode": ENDED}
OWN_VERSION = 1


class Plan:
    """The recorders of an observer, in their order."""

    def __init__(self, recorders: Sequence[Recorder]) -> None:
        self.recorders = list(recorders)
        self.tick_tables = [(r, t) for r in recorders for t in r.tables if t.spec.every == "tick"]
        self.step_tables = [(r, t) for r in recorders for t in r.tables if t.spec.every == "step"]
        self.cameras = [(r, c) for r in recorders for c in r.cameras]
        self.schemas = self._fingerprints()

    def _fingerprints(self) -> dict[str, dict[str, Any]]:
        """Return version and fingerprint of each topic; raises NameTaken for one that comes twice."""
        found = {
            name: {"version": OWN_VERSION, "fingerprint": of_schema(schema)}
            for name, schema in OWN_TOPICS.items()
        }
        taken = {fold(name): "the observer" for name in OWN_TOPICS}
        for recorder, spec in self._specs():
            for name in (
                (spec.topic, frame_table_of(spec.topic)) if isinstance(spec, CameraSpec) else (spec.topic,)
            ):
                check_topic_name(name)
                if fold(name) in taken:
                    raise NameTaken(
                        "two recorders make one topic",
                        topic=name,
                        found=f"{recorder.name!r} and {taken[fold(name)]!r}",
                        next_step="give the recorders other names",
                    )
                taken[fold(name)] = recorder.name
            found[spec.topic] = {"version": spec.version, "fingerprint": fingerprint(spec)}
        return dict(sorted(found.items()))

    def _specs(self) -> Iterator[tuple[Recorder, TableSpec | CameraSpec]]:
        names = [fold(r.name) for r in self.recorders]
        twice = next((r.name for r in self.recorders if names.count(fold(r.name)) > 1), None)
        if twice is not None:
            raise UsageError("two recorders have one name", found=twice, next_step="give them other names")
        for recorder in self.recorders:
            parts: list[Table | Camera] = [*recorder.tables, *recorder.cameras]
            for part in parts:
                yield recorder, part.spec

    def check_against(self, earlier: dict[str, Any], episode: str) -> None:
        """Return if every topic that the earlier episode has too is the same, or of another version."""
        for topic, known in self.schemas.items():
            before = earlier.get(topic)
            if before is None or before == known:
                continue
            if before["version"] == known["version"]:
                raise SchemaChanged(
                    "the columns of a topic changed and its version did not",
                    sequence=episode,
                    topic=topic,
                    found=f"version {known['version']}, fingerprint {known['fingerprint']}",
                    expected=f"fingerprint {before['fingerprint']}, or another version",
                )


def fingerprint(spec: TableSpec | CameraSpec) -> str:
    """Return what identifies a topic's columns: names, types, units, meanings and roles."""
    if isinstance(spec, TableSpec):
        roles = {role: list(names) for role, names in spec.roles.items()}
        return of_schema(spec.schema, every=spec.every, roles=roles)
    words = {"metadata": dict(spec.metadata)} if spec.metadata else {}  # the unit of a depth, for one
    return of_schema(FRAME_TABLE, picture=[spec.height, spec.width, spec.pixels, spec.media], **words)


def of_schema(schema: pa.Schema, **words: Any) -> str:
    """Return the first 16 hexadecimal digits of the schema's SHA-256."""
    fields = [
        [
            f.name,
            str(f.type),
            f.nullable,
            sorted((k.decode(), v.decode()) for k, v in (f.metadata or {}).items()),
        ]
        for f in schema
        if f.name != "timestamp_ns"
    ]
    return hashlib.sha256(canonical_json({"fields": fields, **words})).hexdigest()[:16]
