"""Which reader opens the files of which media type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from gapless.bluesky.external.datum import Join
from gapless.bluesky.external.external_file import ExternalFile

Opener: TypeAlias = Callable[[Path, str, Mapping[str, Any]], ExternalFile]


@dataclass(frozen=True, slots=True)
class Format:
    """How files of one media type are read.

    ``template`` names the files of a sequence whose resource gives none. ``is_folder``: the data are a
    folder, not a file.
    """

    open: Opener
    join: Join = "stack"
    template: str | None = None
    is_folder: bool = False


def _hdf5(path: Path, uri: str, parameters: Mapping[str, Any]) -> ExternalFile:
    from gapless.bluesky.external.hdf5 import Hdf5File

    return Hdf5File(path, uri, parameters)


def _tiff(path: Path, uri: str, _parameters: Mapping[str, Any]) -> ExternalFile:
    from gapless.bluesky.external.tiff import TiffFile

    return TiffFile(path, uri)


def _jpeg(path: Path, uri: str, _parameters: Mapping[str, Any]) -> ExternalFile:
    from gapless.bluesky.external.jpeg import JpegFile

    return JpegFile(path, uri)


def _npy(path: Path, uri: str, parameters: Mapping[str, Any]) -> ExternalFile:
    from gapless.bluesky.external.npy import NpyFile

    return NpyFile(path, uri, parameters)


def _csv(path: Path, uri: str, parameters: Mapping[str, Any]) -> ExternalFile:
    from gapless.bluesky.external.csv_rows import CsvFile

    return CsvFile(path, uri, parameters)


def _zarr(path: Path, uri: str, parameters: Mapping[str, Any]) -> ExternalFile:
    from gapless.bluesky.external.zarr_array import ZarrArray

    return ZarrArray(path, uri, parameters)


_FORMATS: Final[Mapping[str, Format]] = {
    "application/x-hdf5": Format(_hdf5),
    "application/x-hdf": Format(_hdf5),
    "application/x-zarr": Format(_zarr, is_folder=True),
    "application/vnd+zarr": Format(_zarr, is_folder=True),
    "image/tiff": Format(_tiff),
    "image/jpeg": Format(_jpeg),
    "application/x-npy": Format(_npy),
    "text/csv": Format(_csv, join="concat"),
    "multipart/related;type=image/tiff": Format(_tiff),
    "multipart/related;type=image/jpeg": Format(_jpeg),
    "multipart/related;type=application/x-npy": Format(_npy, template="%s_%d.npy"),
    "multipart/related;type=application/x-hdf5": Format(_hdf5),
}


def format_of(mimetype: str) -> Format | None:
    """Return how a media type is read, None for one whose bytes mean nothing here.

    Parameters of the type that only describe it, such as ``header=absent``, do not matter.
    """
    words = mimetype.lower().replace(" ", "")
    return _FORMATS.get(words) or (
        None if words.startswith("multipart/") else _FORMATS.get(words.split(";")[0])
    )
