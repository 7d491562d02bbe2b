"""Names in paths: each is one segment, percent-encoded, whatever it holds.

Routes match on the path as it was sent, so that ``/sequences/a%2Fb`` is the sequence ``a/b`` and never the
sequence ``a``. A segment is decoded here, once; ``%252F`` stays ``%2F``.
"""

from __future__ import annotations

import unicodedata
from typing import Annotated, Final, TypeAlias
from urllib.parse import unquote_to_bytes

from fastapi import Path
from pydantic import AfterValidator

from gapless.errors import NameRefused
from gapless.model.names import to_component

_SHOWN: Final = 200  # characters of a name that is refused


def decoded(segment: str) -> str:
    """Return the name that a segment of a path means, in NFC; NameRefused for one that nothing can have."""
    try:
        name = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError as error:
        raise NameRefused(
            "a name in a path is percent-encoded UTF-8",
            found=segment[:_SHOWN],
            next_step="encode each name as encodeURIComponent() or urllib.parse.quote(name, safe='') do",
        ) from error
    to_component(name)
    return unicodedata.normalize("NFC", name)


Name: TypeAlias = Annotated[
    str,
    Path(description="the name of a sequence, percent-encoded: a/b is a%2Fb", examples=["walk"]),
    AfterValidator(decoded),
]
TopicName: TypeAlias = Annotated[
    str,
    Path(description="the name of a topic, percent-encoded", examples=["sensors%2Fimu"]),
    AfterValidator(decoded),
]
PathName: TypeAlias = Annotated[
    str,
    Path(description="a name, percent-encoded"),
    AfterValidator(decoded),
]
