"""Events of one descriptor become modern: keys renamed, references to external data taken out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from gapless.bluesky.document import Document
from gapless.bluesky.legacy_descriptor import renamed_keys
from gapless.bluesky.normal_rules import Remarks, Rule

EVENT_KEY_RENAMED: Final = Rule(
    "event-key-renamed", 1, "event", "Events carry the names that their descriptor was given."
)
EXTERNAL_SPLIT: Final = Rule(
    "external-split",
    1,
    "event",
    "Events hold values only; references to datums become stream_datum documents.",
)


class Reference(NamedTuple):
    """A place in an event that names a datum instead of holding a value; ``event`` is the event's uid."""

    datum_id: str
    data_key: str
    descriptor: str
    stream: str
    seq_num: int
    event: str


class EventPlan:
    """How events of one descriptor are normalised; made once from the descriptor.

    ``is_plain`` events need nothing but the loss of ``filled``, which tells nothing once references are gone.
    """

    __slots__ = ("_renamed", "external", "is_plain", "stream")

    def __init__(self, original: Mapping[str, Any], normal: Mapping[str, Any]) -> None:
        self.stream: str = normal["name"]
        self.external = frozenset(key for key, spec in normal["data_keys"].items() if "external" in spec)
        self._renamed = renamed_keys(original["data_keys"])
        self.is_plain = not self.external and not self._renamed

    def renamed(self, doc: Document, remarks: Remarks, events: int = 1) -> Document:
        """Return an event or event_page without ``filled`` and with the new names of its keys."""
        changed = dict(doc)
        changed.pop("filled", None)
        if self._renamed:
            for part in ("data", "timestamps"):
                changed[part] = self._with_new_names(doc[part])
            remarks.count(EVENT_KEY_RENAMED, events)
        return changed

    def split(self, doc: Document, remarks: Remarks) -> tuple[Document, list[Reference]]:
        """Return the event with its values only, and its references to external data.

        A key is a reference if its data key is external, ``filled`` does not say otherwise and its value is
        text, as a datum_id is.
        """
        event = self.renamed(doc, remarks)
        filled = self._with_new_names(doc.get("filled") or {})
        data = event["data"]
        references = [
            Reference(
                value, key, doc["descriptor"], self.stream, int(doc["seq_num"]), str(doc.get("uid", ""))
            )
            for key, value in data.items()
            if key in self.external and isinstance(value, str) and not filled.get(key, False)
        ]
        if references:
            outside = {reference.data_key for reference in references}
            for part in ("data", "timestamps"):
                event[part] = {key: value for key, value in event[part].items() if key not in outside}
            remarks.count(EXTERNAL_SPLIT)
        return event, references

    def _with_new_names(self, values: Mapping[str, Any]) -> Document:
        return {self._renamed.get(key, key): value for key, value in values.items()}
