"""Scikit-learn estimators in a file that runs no code when it is loaded, and is the same for the same content.

skops names the pieces of a file by their addresses in memory and stamps them with the time. Both are replaced,
so that a training repeated gives the file it gave before, and what was computed with it stays valid.
"""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

from gapless.errors import MissingExtra, UntrustedArtifact

# What estimators of scikit-learn are made of and skops does not list: arrays and trees without code.
TRUSTED = frozenset(
    [
        "numpy.dtype",
        "sklearn.tree._tree.Tree",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    ]
)
_ADDRESS = re.compile(r'(?<="__id__": )\d+|(?<=")\d+(?=\.npy")')
_SCHEMA = "schema.json"


def save_skops(value: Any, path: Path) -> None:
    """Write an estimator, or a mapping of estimators; the same bytes for the same content."""
    path.write_bytes(_renumbered(_skops().dumps(value)))


def load_skops(path: Path) -> Any:
    """Return what is in the file; UntrustedArtifact for types that are not known to be harmless."""
    skops = _skops()
    unusual = sorted(set(skops.get_untrusted_types(file=path)) - TRUSTED)
    if unusual:
        raise UntrustedArtifact(
            "the model's file holds types that are not known to be harmless", found=unusual,
            next_step="train the model here instead of loading it",
        )  # fmt: skip
    return skops.load(path, trusted=sorted(TRUSTED))


def _skops() -> Any:
    try:
        import skops.io
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "scikit-learn models are kept by skops", next_step="pip install 'gapless[features]'"
        ) from error
    return skops.io


def _renumbered(data: bytes) -> bytes:
    """Return the archive with addresses replaced by the order in which they occur, and without times."""
    numbers: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        return numbers.setdefault(match[0], str(len(numbers)))

    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        schema = _ADDRESS.sub(number, old.read(_SCHEMA).decode())
        arrays = {numbers[name.partition(".")[0]]: name for name in old.namelist() if name != _SCHEMA}
        for place in sorted(arrays, key=int):
            new.writestr(zipfile.ZipInfo(f"{place}.npy"), old.read(arrays[place]), zipfile.ZIP_DEFLATED)
        new.writestr(zipfile.ZipInfo(_SCHEMA), schema, zipfile.ZIP_DEFLATED)
    return out.getvalue()
