"""The list of all rules by which documents of any generation become modern."""

from __future__ import annotations

from typing import Final

from gapless.bluesky.legacy_datum import DATUM_CONVERTED, DATUM_SHOWN_AGAIN
from gapless.bluesky.legacy_descriptor import DESCRIPTOR_RULES
from gapless.bluesky.legacy_event import EVENT_KEY_RENAMED, EXTERNAL_SPLIT
from gapless.bluesky.legacy_resource import RESOURCE_RULES
from gapless.bluesky.normal_rules import Rule

#: Every rule, in the order of the documents of a run.
RULES: Final[tuple[Rule, ...]] = (
    *DESCRIPTOR_RULES,
    EVENT_KEY_RENAMED,
    EXTERNAL_SPLIT,
    *RESOURCE_RULES,
    DATUM_CONVERTED,
    DATUM_SHOWN_AGAIN,
)
