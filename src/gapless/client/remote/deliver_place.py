"""Where what a spool holds goes on the server: on in its sequence, or apart from that where it takes nothing more."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gapless.client.remote.spool import KEY, Offered

LAYER = "spooled"  # the name of a layer that has the rest of a sequence


@dataclass(frozen=True)
class Place:
    """One recording on the server, and which of the spool's rows and notes are its own.

    ``header`` says what it is there. ``rows``: how many of a topic's first rows another sequence has for good;
    ``notes``: how many notes. ``is_apart``: the server's part of the recording is not in it.
    """

    header: dict[str, Any]
    rows: Mapping[str, int] = field(default_factory=dict)
    notes: int = 0
    is_apart: bool = False

    @classmethod
    def anew(cls, header: dict[str, Any]) -> Place:
        """Return a sequence of its own for all that is here; what is not is told in it."""
        return cls(header, {}, int(header[KEY]["notes"]), is_apart=True)

    @property
    def uid(self) -> str:
        """The uid of the recording on the server."""
        return str(self.header["uid"])

    def behind(self, there: Mapping[str, Mapping[str, Any]]) -> Place:
        """Return the layer that goes on behind a sealed sequence, or layer, that has these topics.

        Its uid follows from that one's, so that every later attempt finds the same layer. Of the notes it gets all
        that are here: a gap whose answer was lost is told twice rather than never.
        """
        header, base = self.header, self.header["base"]
        uid = uuid.uuid5(uuid.NAMESPACE_OID, f"the rest of {self.uid}").hex
        if base is None:
            header = renamed(header, LAYER) | {"base": {"name": header["name"]}}
        rows = {name: int(known["next_seq"]) + self.rows.get(name, 0) for name, known in there.items()}
        return Place(header | {"uid": uid}, dict(self.rows) | rows, int(header[KEY]["notes"]), is_apart=True)

    def lacking(self, wanted: Offered, here: set[str]) -> list[str]:
        """Return the topics of which rows were offered that are neither in the spool nor before this place."""
        if not self.is_apart:
            return []
        return sorted(t for t, seq in wanted.topics.items() if t not in here and seq > self.rows.get(t, 0))

    def offered(self, wanted: Offered, here: set[str], told: int) -> dict[str, Any]:
        """Return what this place was offered, of a recording that was offered so much; ``told`` notes were sent."""
        topics = {t: max(0, seq - self.rows.get(t, 0)) for t, seq in wanted.topics.items() if t in here}
        return {"topics": topics, "notes": max(told, wanted.notes) - self.notes}


def renamed(header: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a header with another name; its producer keeps the one that it was recorded with."""
    if name == header["name"]:
        return header
    producer = header["producer"] | {"recorded_as": recorded_as(header)}
    return header | {"name": name, "producer": producer}


def recorded_as(header: dict[str, Any]) -> str:
    """Return the name that a sequence or layer was recorded with."""
    return str(header["producer"].get("recorded_as", header["name"]))
