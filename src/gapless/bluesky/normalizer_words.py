"""What a run's metadata says of the normalizer it was recorded with, so that what is added later has the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gapless.bluesky.json_safe import json_safe
from gapless.bluesky.normalizer import RunNormalizer

#: The key of the metadata; runs of a plain :class:`RunNormalizer` do not have it.
KEY: Final = "normalizer"
_PLAIN: Final = f"{RunNormalizer.__module__}.{RunNormalizer.__qualname__}"


def metadata_of(normalizer: object) -> dict[str, Any]:
    """Return the metadata that tells of a normalizer: its class, None without one, its patches, its specs."""
    words: dict[str, Any] = {"class": None}
    if normalizer is not None:
        words["class"] = f"{type(normalizer).__module__}.{type(normalizer).__qualname__}"
    if isinstance(normalizer, RunNormalizer):
        words |= RunNormalizer.options(normalizer)
    is_plain = words == {"class": _PLAIN, "patches": [], "spec_to_mimetype": {}}
    return {} if is_plain else {KEY: json_safe(words)}


def maker_of(metadata: Mapping[str, Any]) -> Callable[[], RunNormalizer | None] | None:
    """Return what makes the normalizer of a recorded run; None where only its user's code can."""
    words = metadata.get(KEY, {"class": _PLAIN})
    if words.get("class") is None:
        return lambda: None
    if words["class"] != _PLAIN or words.get("patches"):
        return None
    return lambda: RunNormalizer(spec_to_mimetype=words.get("spec_to_mimetype"))
