"""A dataset of an HDF5 file as rows, also while a detector still writes it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from glob import escape, glob
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gapless.bluesky.external.dataset import Dataset
from gapless.bluesky.external.external_file import Array, need, unreadable
from gapless.errors import NotFound

_BLOCK = re.compile(r"%\d*b")


class Hdf5File:
    """Opens ``parameters["dataset"]`` of one file; ``swmr`` and ``locking`` as h5py takes them.

    Raises IntegrityError for a file that is no HDF5, NotFound for one without the dataset.
    """

    def __init__(self, path: Path, uri: str, parameters: Mapping[str, Any]) -> None:
        h5py = need("h5py")
        self._file = _open(h5py, path, uri, parameters)
        name = str(parameters.get("dataset") or parameters.get("path") or "")
        try:
            stored = self._file[name] if name else _only(h5py, self._file)
            if not isinstance(stored, h5py.Dataset):
                raise KeyError(f"{name} is a group")
            self._dataset = Dataset(stored, parameters.get("slice"))
        except KeyError as error:
            self._file.close()
            raise NotFound(
                "an external file has no such dataset",
                found=uri,
                expected=f"{name or 'one dataset'} ({error.args[0]})",
                next_step="look into the file with h5ls",
            ) from error
        except BaseException:
            self._file.close()
            raise
        self.rows = self._dataset.rows
        self.row_shape = self._dataset.row_shape
        self.dtype = self._dataset.dtype
        self._uri = uri
        self._h5py, self._stored = h5py, stored

    def read(self, start: int, stop: int) -> Array:
        """Return the rows ``[start, stop)``."""
        try:
            return self._dataset.read(start, stop)
        except OSError as error:
            raise unreadable(self._uri, error) from error

    def others(self) -> Iterator[Path]:
        """Yield the files that links, virtual datasets and raw storage lead to."""
        try:
            yield from _sources(self._h5py, self._stored, set())
        except OSError as error:
            raise unreadable(self._uri, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _open(h5py: Any, path: Path, uri: str, parameters: Mapping[str, Any]) -> Any:
    """Open for reading beside a writer; a file that was not written for that is opened plainly."""
    words: dict[str, Any] = {"mode": "r"}
    if parameters.get("locking") is not None:
        words["locking"] = parameters["locking"]
    try:
        if parameters.get("swmr", True):
            try:
                return h5py.File(path, swmr=True, libver="latest", **words)
            except (OSError, ValueError):
                return h5py.File(path, **words)
        return h5py.File(path, **words)
    except OSError as error:
        raise unreadable(uri, error) from error


def _sources(h5py: Any, stored: Any, seen: set[tuple[str, str]]) -> Iterator[Path]:
    """Yield the files that the values of a dataset come from; what ``seen`` has is not gone into again."""
    home = Path(stored.file.filename)
    if (str(home), stored.name) in seen:
        return
    seen.add((str(home), stored.name))
    yield home
    yield from (Path(name) for name, _, _ in stored.external or ())
    if not stored.is_virtual:
        return
    for name, dataset in {(s.file_name, s.dset_name) for s in stored.virtual_sources()}:
        if name == ".":
            yield from _inside(h5py, stored.file, dataset, seen)
            continue
        for path in _candidates(home.parent, name):
            yield path
            if path.is_file():
                with h5py.File(path, locking=False) as file:
                    yield from _inside(h5py, file, dataset, seen)


def _inside(h5py: Any, file: Any, dataset: str, seen: set[tuple[str, str]]) -> Iterator[Path]:
    stored = file.get(dataset)
    if isinstance(stored, h5py.Dataset):
        yield from _sources(h5py, stored, seen)


def _candidates(folder: Path, name: str) -> list[Path]:
    """Return where HDF5 looks for a source of a virtual dataset; ``%b`` stands for the number of a block."""
    pattern = _BLOCK.sub("*", escape(name))
    found = {Path(one) for place in (folder, Path()) for one in glob(str(place / pattern))}
    beside = {Path(one) for one in glob(str(folder / Path(pattern).name))}
    return sorted(found | beside) or [folder / name]


def _only(h5py: Any, file: Any) -> Any:
    """Return the only dataset of a file whose resource does not name one."""
    found: list[Any] = []
    file.visititems(lambda _, node: found.append(node) if isinstance(node, h5py.Dataset) else None)
    if len(found) != 1:
        raise KeyError(f"the resource names none and the file has {len(found)}")
    return found[0]
