"""What the server is and what the caller may do."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from gapless._version import __version__
from gapless.serve.http.asking import Asking
from gapless.serve.http.templates import parts_for

router = APIRouter(tags=["server"])


class CallerTold(BaseModel):
    """Who asks."""

    right: str = Field(description="read, write, delete or manage; each includes those before it")
    groups: list[str] | None = Field(description="the groups that the key is for; null: all")
    key_id: str | None = Field(description="the public name of the key; null: none is asked for")


class Info(BaseModel):
    """The server, the store and the caller."""

    version: str
    store_uid: str
    asks_for_keys: bool
    caller: CallerTold
    parts: list[str] = Field(description="the parts of the page that there are for this caller")


@router.get("/info")
def info(call: Asking) -> Info:
    """Tell the release, the store and what the caller may do."""
    groups = call.access.groups
    return Info(
        version=__version__,
        store_uid=call.served.store_uid,
        asks_for_keys=call.site.asks_for_keys(),
        caller=CallerTold(
            right=call.access.right.word,
            groups=None if groups is None else sorted(groups),
            key_id=call.key_id,
        ),
        parts=parts_for(call.site, call),
    )
