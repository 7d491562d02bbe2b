"""What a sequence is called in the tree: a Bluesky run by its uid, any other sequence by its name.

The name finds a run too. Where one run was recorded twice, the sequence that was there first has the uid
and the others keep their names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from gapless.catalog import listing_filter as sql
from gapless.catalog.listing import Listed, Listing
from gapless.catalog.metadata_index import Clause, path_id

_UID = path_id("sequence", "start.uid")
_IS_UID = Clause(f"path_id={_UID.sql} AND type='s'", _UID.parameters)

#: A start document with a uid is among the metadata.
IS_RUN = sql.within(sql.like("start.uid", "_%")) & sql.within(sql.has("start.time"))


def uid_of(item: Listed) -> str | None:
    """Return the uid of the run in a sequence, None if there is none."""
    start = item.metadata.get("start")
    if not isinstance(start, dict) or start.get("time") is None:
        return None
    uid = start.get("uid")
    return uid if isinstance(uid, str) and uid else None


def keys_of(listing: Listing, items: Sequence[Listed]) -> list[str]:
    """Return the key of each sequence of a page, in one statement."""
    uids = {item.id: uid for item in items if (uid := uid_of(item)) is not None}
    rows = listing.database.rows(
        f"SELECT value, min(owner) FROM metadata_value WHERE {_IS_UID.sql}"
        " AND value IN (SELECT value FROM json_each(?)) GROUP BY value",
        (*_IS_UID.parameters, json.dumps(list(uids.values()))),
    )
    first: dict[str, int] = dict(rows)
    return [
        uids[item.id] if item.id in uids and first.get(uids[item.id]) == item.id else item.name
        for item in items
    ]


def keyed(keys: Iterable[str]) -> Clause:
    """Return that a sequence has one of the keys: as its uid or as its name."""
    listed = json.dumps(list(keys))
    found = "SELECT min(owner) FROM metadata_value WHERE " + _IS_UID.sql
    uids = Clause(
        f"s.id IN ({found} AND value IN (SELECT value FROM json_each(?)) GROUP BY value)",
        (*_IS_UID.parameters, listed),
    )
    return sql.any_of([uids, sql.named(json.loads(listed))])


def uid_like(pattern: str) -> Clause:
    """Return that the name of a sequence that is no run matches a LIKE pattern for uids."""
    return sql.name_like(pattern) & sql.negated(IS_RUN)
