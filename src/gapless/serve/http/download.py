"""The headers of an answer that a browser saves as a file."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_NOT_IN_FILES: Final = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]+')
_LONGEST: Final = 150  # characters of a name


def saved_as(*names: str, suffix: str = "") -> dict[str, str]:
    """Return the header that names the file after what is in it; no name can lead to another folder.

    Programs that read only ASCII names get one without other characters.
    """
    whole = _NOT_IN_FILES.sub("_", " ".join(names))[:_LONGEST].strip(". ") or "data"
    plain = _UNSAFE.sub("_", whole)
    exact = quote(f"{whole}{suffix}", safe="", errors="replace")
    return {"Content-Disposition": f"attachment; filename=\"{plain}{suffix}\"; filename*=UTF-8''{exact}"}
