"""Rare facts of a recording, and what it wants a person to know."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from gapless.serve.http.asking import Asking
from gapless.serve.http.finite import finite
from gapless.serve.http.names import Name
from gapless.serve.http.nanoseconds import EndNs, Nanoseconds, StartNs
from gapless.serve.http.reserved_pages import PageRows, read_reserved
from gapless.serve.http.row_place import After
from gapless.serve.visible import opened

router = APIRouter(tags=["sequences"])


class Event(BaseModel):
    """A fact with its severity; ``data`` is what the source said beside the message."""

    model_config = ConfigDict(extra="forbid")

    timestamp_ns: Nanoseconds
    severity: str
    kind: str
    source: str
    message: str
    data: Any


class Events(BaseModel):
    """Some events in order of time."""

    model_config = ConfigDict(extra="forbid")

    events: list[Event]
    next: str | None = Field(description="give it as `after` for those that follow; null at the end")


class NotificationWords(BaseModel):
    """One notification; ``source`` is the topic it is about, "" for the whole sequence."""

    model_config = ConfigDict(extra="forbid")

    message: str
    timestamp_ns: Nanoseconds | None
    severity: str
    source: str
    data: Any


class Notifications(BaseModel):
    """What the recording wants a person to know, in order of time where it is known."""

    model_config = ConfigDict(extra="forbid")

    notifications: list[NotificationWords]


@router.get("/sequences/{name}/events")
def list_events(
    call: Asking,
    name: Name,
    start_ns: StartNs = None,
    end_ns: EndNs = None,
    limit: PageRows = 1_000,
    after: After = None,
) -> Events:
    """List the events in ``[start_ns, end_ns)``."""
    page = read_reserved(call, name, "_events", start_ns, end_ns, limit, after)
    events = [Event.model_validate({**row, "data": said(row["data"])}) for row in page.rows]
    return Events(events=events, next=page.next)


@router.get("/sequences/{name}/notifications")
def list_notifications(call: Asking, name: Name) -> Notifications:
    """List what the recording wants a person to know."""
    told = [
        NotificationWords(
            message=note.message,
            timestamp_ns=note.timestamp_ns,
            severity=note.severity,
            source=note.source,
            data=finite(note.data),
        )
        for note in opened(call.served, call, name).notifications()
    ]
    return Notifications(notifications=told)


def said(text: str | None) -> Any:
    """Return the JSON value that an event carries, or its text where it is none."""
    if text is None:
        return None
    try:
        return finite(json.loads(text))
    except (ValueError, RecursionError):
        return text
