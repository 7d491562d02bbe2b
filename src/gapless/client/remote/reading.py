"""The words of finding and reading over the network: actions, tickets, and what their JSON holds.

A question about a sequence names it (``name``), the recording that was looked at (``uid``, so that another
one of the same name never answers), and the folders of its layers (``layers``; null for all).
"""

from __future__ import annotations

from typing import Final

LIST: Final = "gapless.find.list"
ROWS: Final = "gapless.find.rows"
ROW: Final = "gapless.find.row"
QUERY: Final = "gapless.find.query"
DISCARDED: Final = "gapless.find.discarded"
EXISTS: Final = "gapless.find.exists"

DESCRIBE: Final = "gapless.sequence.describe"
LIVE: Final = "gapless.sequence.live"
FEATURES: Final = "gapless.sequence.features"
FEATURE: Final = "gapless.sequence.feature"
FLOOR: Final = "gapless.sequence.floor"
SEAL: Final = "gapless.sequence.seal"
RECOVER: Final = "gapless.sequence.recover"
REMOVE: Final = "gapless.sequence.discard"
VERIFY: Final = "gapless.sequence.verify"
CHECK: Final = "gapless.sequence.check"

LABEL: Final = "gapless.annotate.add"
UNLABEL: Final = "gapless.annotate.remove"
LABELS: Final = "gapless.annotate.list"

ROW_FIELDS: Final = (
    "name", "component", "state", "outcome", "group", "created_ns", "sealed_ns", "start_ns", "end_ns", "rows",
    "size_bytes", "topics", "layers", "content_digest", "metadata", "ledger", "problem", "owner_alive",
    "unsealed_layers",
)  # fmt: skip
AWAITED_ROW_FIELDS: Final = (*ROW_FIELDS, "awaited_until_ns")  # told to who asks for ``awaited``
