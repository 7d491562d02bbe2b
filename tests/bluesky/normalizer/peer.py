"""The published normalizer that ours follows, and the form in which both results are compared."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import bluesky.tests
from bluesky_tiled_plugins.writing.tiled_writer import MIMETYPE_LOOKUP as PEER_MIMETYPES
from bluesky_tiled_plugins.writing.tiled_writer import RunNormalizer as PeerNormalizer
from tests.bluesky.normalizer.collected import Run, collect

__all__ = ["PEER_MIMETYPES", "comparable", "example", "example_names", "of_both", "of_peer"]

_EXAMPLES = Path(bluesky.tests.__file__).parent / "examples"


def of_peer(run: Run) -> Run:
    """Return what the published normalizer makes of a run."""
    got: Run = []

    def keep(name: str, doc: dict[str, Any]) -> None:
        got.append((name, copy.deepcopy(doc)))

    normalizer = PeerNormalizer()
    normalizer.subscribe(keep)
    for name, doc in copy.deepcopy(run):
        normalizer(name, doc)
    return got


def of_both(run: Run) -> tuple[Any, Any]:
    """Return what ours and theirs makes of a run, comparable."""
    return comparable(collect(run)), comparable(of_peer(run))


def comparable(run: Run) -> Any:
    """Return the documents with tuples as lists and without the notes that the peer puts into the stop."""
    return [
        (name, _plain({k: v for k, v in doc.items() if k != "_run_normalizer_notes"})) for name, doc in run
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def example_names() -> list[str]:
    """Return the names of the example runs that Bluesky itself is tested with."""
    return sorted(path.stem for path in _EXAMPLES.glob("*.json"))


def example(name: str) -> Run:
    """Return an example run with its placeholders filled in."""
    text = (_EXAMPLES / f"{name}.json").read_text()
    text = re.sub(r"\{\{ *uuid *\}\}", "4ee0a5a5-3f1c-4f0e-9d0f", text)
    text = re.sub(r"\{\{ *root_path *\}\}", "/data/examples", text)
    return [(entry["name"], entry["doc"]) for entry in json.loads(text)]
