"""A feature run as the registry holds it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gapless.catalog.feature_rows import Row
from gapless.catalog.record_lines import canonical_json

if TYPE_CHECKING:
    from gapless.features.identity import RunIdentity


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run. ``feature`` is its storage name; times are ISO 8601 in UTC, ``finished_at`` "" until the end.

    ``document`` is JSON text, and ``digest`` the sha256 of it; both are None for runs recorded by hand.
    """

    feature: str
    run_id: str
    version: str
    params_hash: str
    params_json: str | None
    inputs_json: str | None
    digest: str | None
    document: str | None
    state_digest: str | None
    code_digest: str | None
    started_at: str
    finished_at: str

    @property
    def finished(self) -> bool:
        """Whether everything that was asked for is there."""
        return self.finished_at != ""


def now_text() -> str:
    """Return the present time as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def identity_row(identity: RunIdentity, code_digest: str | None, started_at: str) -> Row:
    """Return the row of a run that begins now."""
    return (
        identity.storage,
        identity.run_id,
        identity.version,
        identity.params_hash,
        identity.params_json,
        identity.inputs_json,
        identity.digest,
        canonical_json(identity.document),
        None,
        code_digest,
        started_at,
        "",
    )
