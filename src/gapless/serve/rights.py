"""What a key may do: four rights in order, in all groups or in some."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

from gapless.errors import UsageError


class Right(IntEnum):
    """Each right includes those below it."""

    READ = 1
    WRITE = 2
    DELETE = 3
    MANAGE = 4

    @classmethod
    def named(cls, name: str) -> Right:
        """Return the right of that name; UsageError for another word."""
        try:
            return cls[name.upper()]
        except KeyError:
            raise UsageError("there is no such right", found=name, expected=RIGHT_NAMES) from None

    @property
    def word(self) -> str:
        """The name in small letters."""
        return self.name.lower()


RIGHT_NAMES: Final = ", ".join(right.word for right in Right)


class Anywhere(Enum):
    """The one value that says that no group is meant; None is the group of sequences without one."""

    ANYWHERE = "anywhere"


ANYWHERE: Final = Anywhere.ANYWHERE
Group = str | None | Anywhere


@dataclass(frozen=True, slots=True)
class Access:
    """What one caller may do. ``groups`` None: in every group; ``key_id`` None: without a key."""

    right: Right
    key_id: str | None = None
    groups: frozenset[str] | None = None

    def sees(self, group: str | None) -> bool:
        """Tell whether sequences of that group exist for this caller."""
        return self.groups is None or (group is not None and group in self.groups)

    def may(self, right: Right, group: Group = ANYWHERE) -> bool:
        """Tell whether it has the right, in that group if one is given."""
        return self.right >= right and (isinstance(group, Anywhere) or self.sees(group))
