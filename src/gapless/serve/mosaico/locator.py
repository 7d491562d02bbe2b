"""Locators: ``sequence``, ``sequence/topic/with/parts`` and, for a session, ``sequence:identifier``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gapless.errors import NameRefused
from gapless.model.names import check_sequence_name, check_topic_name

BASE: Final = "base"  # the identifier of a sequence's first session
_SEPARATORS: Final = "/:"
_NEW_SEQUENCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_NEW_TOPIC: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_/-]*")


@dataclass(frozen=True, slots=True)
class Locator:
    """A sequence, or one topic of it."""

    sequence: str
    topic: str | None = None

    def __str__(self) -> str:
        return self.sequence if self.topic is None else f"{self.sequence}/{self.topic}"


def parse(text: str) -> Locator:
    """Return the locator that a text means; NameRefused for names that are none."""
    sequence, slash, topic = text.strip("/").partition("/")
    return Locator(check_name(sequence), check_topic_name(topic) if slash else None)


def parse_sequence(text: str) -> str:
    """Return the sequence that a locator means; NameRefused where it means a topic."""
    return check_name(text.strip("/"))


def parse_topic(text: str) -> tuple[str, str]:
    """Return sequence and topic that a locator means; NameRefused where it means no topic."""
    found = parse(text)
    if found.topic is None:
        raise NameRefused("a topic is named by sequence/topic", found=text[:200])
    return found.sequence, found.topic


def parse_session(text: str) -> tuple[str, str]:
    """Return sequence and identifier that a session's locator means."""
    sequence, colon, identifier = text.strip("/").rpartition(":")
    if not colon or not identifier or set(identifier) & set(_SEPARATORS):
        raise NameRefused("a session is named by sequence:identifier", found=text[:200])
    return check_name(sequence), identifier


def check_name(name: str) -> str:
    """Return the name of a sequence that a locator can hold."""
    if set(name) & set(_SEPARATORS):
        raise NameRefused("a sequence name may not hold '/' or ':' here", sequence=name)
    return check_sequence_name(name)


def check_new(name: str, topic: str | None = None) -> None:
    """Raise NameRefused for a name of a new sequence, or of a new topic of it, that the SDK could not ask for."""
    if topic is None and not _NEW_SEQUENCE.fullmatch(name):
        raise NameRefused(
            "a sequence name is made of letters, digits, '-' and '_' here, a letter or digit first",
            sequence=name,
        )
    if topic is not None and not _NEW_TOPIC.fullmatch(topic):
        raise NameRefused(
            "a topic name is made of letters, digits, '-', '_' and '/' here, a letter or digit first",
            sequence=name,
            topic=topic,
        )


def has_locator(name: str) -> bool:
    """Tell whether a sequence of that name can be asked for through this door."""
    return not set(name) & set(_SEPARATORS)
