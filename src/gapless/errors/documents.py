"""A document, or what became of it, broke."""

from __future__ import annotations

from gapless.errors.error import GaplessError


class DocumentFailed(GaplessError):
    """Documents of a run could not be recorded or handed on; what was recorded before is kept."""

    code = "E950"
    next_step = "what could not be recorded waits in the spool: `gapless bluesky deliver SPOOL`"


class DocumentRefused(DocumentFailed):
    """A document that no rule can make sense of."""

    code = "E951"
    next_step = "it is kept in the spool as it came; mend its source or add a patch to the normalizer"


class DeliveryFailed(DocumentFailed):
    """Another server did not take what was recorded here; everything is still here."""

    code = "E952"
    exit_code = 5
    next_step = "look whether the server runs, then `gapless bluesky deliver SPOOL`"


class BackupFailed(DocumentFailed):
    """A document could neither be recorded nor kept in the spool: it is lost unless the caller keeps it."""

    code = "E953"
    exit_code = 4
    next_step = "look at the disk; keep the document elsewhere"
