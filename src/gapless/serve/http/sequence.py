"""One sequence: what it is, and its end by a person's decision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from gapless.errors import NotFound
from gapless.serve.http.asking import Asking
from gapless.serve.http.finite import finite
from gapless.serve.http.health_badge import Health
from gapless.serve.http.names import Name
from gapless.serve.http.nanoseconds import Nanoseconds, NanosecondsBetween
from gapless.serve.http.sequence_rows import row_health
from gapless.serve.http.topics import LedgerWords, Topic, ledger_words, topic_of
from gapless.serve.rights import Right
from gapless.serve.visible import looked_at, opened, reach
from gapless.store.bundle_state import Folder
from gapless.store.derived import Owner, derived_topics
from gapless.store.layout import Bundle

if TYPE_CHECKING:
    from gapless.catalog.catalog import SequenceRow
    from gapless.client.sequence_handler import SequenceHandler
    from gapless.serve.served import Served

router = APIRouter(tags=["sequences"])


class Layer(BaseModel):
    """An addition to a sealed sequence; the rows of one that is not sealed are not read yet."""

    model_config = ConfigDict(extra="forbid")

    name: str
    state: str
    owner_alive: bool
    awaited_until_ns: Nanoseconds | None = Field(description="until when its client may come back, if it may")
    content_digest: str | None


class FeatureTopic(BaseModel):
    """A topic that a feature run made from the sequence; its name works wherever a topic's does."""

    model_config = ConfigDict(extra="forbid")

    name: str
    rows: int
    start_ns: Nanoseconds | None
    end_ns: Nanoseconds | None


class Sequence(BaseModel):
    """All that is known of a sequence but its rows. Of an open one: what is durable at this moment."""

    model_config = ConfigDict(extra="forbid")

    name: str
    group: str | None
    status: str = Field(
        description="the state in words: `open, owner gone`, `open, client away`; an unsealed layer is named"
    )
    state: str
    outcome: str | None
    cause: str | None = Field(description="why it did not end as it should")
    live: bool
    awaited_until_ns: Nanoseconds | None = Field(description="until when its client may come back, if it may")
    metadata: dict[str, Any]
    producer: dict[str, Any] | None = Field(description="host and process that recorded")
    durability: dict[str, Any] | None
    created_ns: Nanoseconds
    sealed_ns: Nanoseconds | None
    start_ns: Nanoseconds | None
    end_ns: Nanoseconds | None
    duration_ns: NanosecondsBetween | None
    rows: int
    bytes: int | None = Field(description="of all files; null until it is sealed")
    content_digest: str | None
    ledger: LedgerWords
    layers: list[Layer]
    topics: list[Topic]
    features: list[FeatureTopic]
    artifacts: int
    labels: int
    health: Health


class Ended(BaseModel):
    """What a sequence is after it was sealed."""

    model_config = ConfigDict(extra="forbid")

    name: str
    state: str
    outcome: str
    content_digest: str


class Discarded(BaseModel):
    """The sequence that was moved to the trash, where it stays for 24 hours."""

    model_config = ConfigDict(extra="forbid")

    name: str


@router.get("/sequences/{name}")
def show_sequence(call: Asking, name: Name) -> Sequence:
    """Tell all that is known of a sequence but its rows."""
    handler = opened(call.served, call, name)
    row = _row(call.served, handler.name)
    return _described(handler, row)


@router.delete("/sequences/{name}")
def discard_sequence(call: Asking, name: Name) -> Discarded:
    """Move a sequence to the trash and keep a small note of it for ever; not while it is being written."""
    reach(call.served, call, Right.DELETE, name)
    with call.audited(Right.DELETE.word, f"discard {name}"):
        call.served.client.discard(name)
    return Discarded(name=name)


@router.post("/sequences/{name}/seal")
def seal_sequence(call: Asking, name: Name) -> Ended:
    """Seal a sequence that was kept after an error, with all it holds."""
    reach(call.served, call, Right.WRITE, name)
    with call.audited(Right.WRITE.word, f"seal {name}"):
        return _ended(call.served.client.seal(name))


@router.post("/sequences/{name}/recover")
def recover_sequence(call: Asking, name: Name) -> Ended:
    """Seal what a writer left that died."""
    reach(call.served, call, Right.WRITE, name)
    with call.audited(Right.WRITE.word, f"recover {name}"):
        return _ended(call.served.client.recover(name))


def _ended(manifest: dict[str, Any]) -> Ended:
    return Ended(
        name=manifest["content"]["name"],
        state="sealed",
        outcome=manifest["record"]["outcome"],
        content_digest=manifest["content_digest"],
    )


def _row(served: Served, name: str) -> SequenceRow:
    """Return the catalog's row of exactly that name."""
    row = looked_at(served).sequence(name)
    if row.name != name:  # gone since it was opened, and the beginning of another one's name
        raise NotFound("there is no sequence of that name", sequence=name)
    return row


def _described(handler: SequenceHandler, row: SequenceRow) -> Sequence:
    base = handler.reader.base
    record = base.manifest["record"] if base.manifest is not None else base.description
    pending = {} if base.manifest is not None else base.pending
    topics = [topic_of(reader) for reader in handler.reader.topics.values()]
    starts = [topic.start_ns for topic in topics if topic.start_ns is not None]
    ends = [topic.end_ns for topic in topics if topic.end_ns is not None]
    live = handler.state == "open" and handler.owner_alive
    ledger = handler.ledger
    return Sequence(
        name=handler.name,
        group=handler.group,
        status=row.status,
        state=handler.state,
        outcome=handler.outcome,
        cause=_text(record.get("cause") or pending.get("error")),
        live=live,
        awaited_until_ns=row.awaited_until_ns,
        metadata=finite(handler.metadata),
        producer=finite(record.get("producer")),
        durability=finite(record.get("durability")),
        created_ns=record.get("opened_ns") or row.created_ns,
        sealed_ns=record.get("sealed_ns"),
        start_ns=min(starts, default=None),
        end_ns=max(ends, default=None),
        duration_ns=max(ends) - min(starts) if starts else None,
        rows=sum(topic.rows for topic in topics),
        bytes=row.size_bytes if base.manifest is not None else None,
        content_digest=handler.content_digest,
        ledger=ledger_words(ledger),
        layers=_layers(handler),
        topics=topics,
        features=_features(base),
        artifacts=len(handler.artifacts),
        labels=len(handler.annotations()),
        health=row_health(row, ledger, live=live),
    )


def _layers(handler: SequenceHandler) -> list[Layer]:
    sealed = [
        Layer(
            name=folder.layer_name,
            state="sealed",
            owner_alive=False,
            awaited_until_ns=None,
            content_digest=folder.manifest["content_digest"],
        )
        for folder in handler.reader.folders[1:]
        if folder.manifest is not None
    ]
    return [*sealed, *_unsealed_layers(handler)]


def _unsealed_layers(handler: SequenceHandler) -> list[Layer]:
    folders = [Folder(path, None, None) for path in Bundle(handler.path).layer_paths()]
    waiting = handler.unsealed_layers
    return [
        Layer(
            name=folder.layer_name,
            state=waiting[folder.layer_name],
            owner_alive=folder.owner_alive,
            awaited_until_ns=folder.awaited_until_ns,
            content_digest=None,
        )
        for folder in folders
        if folder.layer_name in waiting and not Bundle(folder.path).manifest.exists()
    ]


def _features(base: Folder) -> list[FeatureTopic]:
    record = base.manifest["record"] if base.manifest is not None else base.description
    return [
        FeatureTopic(
            name=topic.name,
            rows=topic.record["n_rows"],
            start_ns=topic.record["start_ns"],
            end_ns=topic.record["end_ns"],
        )
        for topic in derived_topics(Owner.of(base.path, base.description, record))
    ]


def _text(told: Any) -> str | None:
    return None if told is None else str(told)
