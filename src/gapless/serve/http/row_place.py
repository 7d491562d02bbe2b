"""Where a page of rows ends, as a text that asks for the page behind it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Final, TypeAlias

from fastapi import Query

from gapless.errors import UsageError

_PATTERN: Final = "(-?[0-9]{1,19})[.]([0-9]{1,18})"
_INT64: Final = range(-(2**63), 2**63)

After: TypeAlias = Annotated[
    str | None, Query(pattern=f"^{_PATTERN}$", description="the `next` of the page before")
]


@dataclass(frozen=True, slots=True)
class Place:
    """Between two rows: after the first ``rows`` of those at ``time_ns``."""

    time_ns: int
    rows: int

    @classmethod
    def read(cls, text: str) -> Place:
        """Return the place that ``str()`` of one wrote; UsageError for anything else."""
        found = re.fullmatch(_PATTERN, text)
        if found is None or int(found[1]) not in _INT64:
            raise UsageError("this is no place to go on from", field="after", found=text,
                             next_step="give the `next` of the page before")  # fmt: skip
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.time_ns}.{self.rows}"
