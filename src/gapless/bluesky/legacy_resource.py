"""Resources, and stream_resources as they were before version 1.20 of the event model, become modern."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

from gapless.bluesky.document import Document
from gapless.bluesky.mimetypes import HDF5, OPAQUE, SpecTable
from gapless.bluesky.normal_rules import DocumentRule, Remarks
from gapless.bluesky.run_report import SPEC_UNKNOWN

_SCHEME = re.compile(r"[a-z0-9+]+://")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_UNRESERVED: Final = "/:@!$&'()*+,;=~"  # besides letters, digits and "_.-": may stand in a path as they are

_FIELDS: Final = frozenset(("data_key", "mimetype", "parameters", "uid", "uri", "run_start"))
_DATASETS: Final = {
    **dict.fromkeys(("AD_HDF5", "AD_HDF5_SINGLE", "AD_HDF5_SWMR", "HDF5"), "/entry/data/data"),
    **dict.fromkeys(("XSP", "XSP3", "TPX_HDF5"), "/entry/instrument/detector/data"),
}


def resource_uri(root: str, resource_path: str) -> str:
    """Return the URI of a file: ``file://localhost/...``, percent-encoded, its last ``/`` kept.

    ``resource_path`` is taken below ``root`` even if it begins with ``/``. A relative path is one of the
    working directory, a path with a drive letter stays one, and what already is a URI is only given its host.
    """
    path = resource_path
    if root:
        path = posixpath.join(root + ("/" if path.startswith("/") else ""), path.lstrip("/"))
    if _SCHEME.match(path):
        parts = urlsplit(path)
        return path if parts.netloc else urlunsplit(parts._replace(netloc="localhost"))
    tail = "/" if path.endswith("/") else ""
    return "file://localhost" + quote(_absolute(path), safe=_UNRESERVED).rstrip("/") + tail


def _absolute(path: str) -> str:
    if _DRIVE.match(path):
        return "/" + PureWindowsPath(path).as_posix()
    whole = path if path.startswith("/") else posixpath.join(Path.cwd(), path)
    return "/" + str(PurePosixPath(whole)).lstrip("/")


def _convert(table: SpecTable, doc: Document, remarks: Remarks) -> Document:
    if "mimetype" in doc:
        return doc
    spec = str(doc.get("spec") or "")
    mimetype = table.mimetype(spec)
    if mimetype is None:
        remarks.find(
            SPEC_UNKNOWN, f"Nothing is known of the spec {spec!r}; its files are kept as opaque", spec=spec
        )
    parameters = {**(doc.get("resource_kwargs") or {}), "spec": spec}
    if spec in _DATASETS:
        parameters["dataset"] = parameters.get("dataset") or _DATASETS[spec]
    converted = {
        "uid": doc["uid"],
        "mimetype": mimetype or OPAQUE,
        "uri": resource_uri(str(doc.get("root") or ""), str(doc["resource_path"])),
        "parameters": parameters,
    }
    if "data_key" in doc:
        converted["data_key"] = doc["data_key"]
    return converted


def _rename_frames(doc: Document, _remarks: Remarks) -> Document:
    parameters = doc.get("parameters") or {}
    if "frame_per_point" not in parameters:
        return doc
    changed = {key: value for key, value in parameters.items() if key != "frame_per_point"}
    if parameters["frame_per_point"]:
        changed["multiplier"] = parameters["frame_per_point"]
    return {**doc, "parameters": changed}


def _name_dataset(doc: Document, _remarks: Remarks) -> Document:
    parameters = doc.get("parameters") or {}
    if doc["mimetype"] != HDF5 or ("path" not in parameters and "dataset" in parameters):
        return doc
    changed = {key: value for key, value in parameters.items() if key != "path"}
    changed["dataset"] = parameters.get("path", parameters.get("dataset", ""))
    return {**doc, "parameters": changed}


def _keep_fields(doc: Document, _remarks: Remarks) -> Document:
    missing: dict[str, Any] = {"data_key": "", "parameters": {}}
    if doc.keys() <= _FIELDS and missing.keys() <= doc.keys():
        return doc
    return missing | {key: value for key, value in doc.items() if key in _FIELDS}


_Change = Callable[[Document, Remarks], Document]


def _converted_by(change: _Change) -> DocumentRule:
    return DocumentRule(
        "resource-converted",
        1,
        "stream_resource",
        "spec, root, resource_path and resource_kwargs are mimetype, uri and parameters; "
        "the spec is kept as a parameter and known HDF5 specs have their dataset.",
        change,
    )


RESOURCE_CONVERTED: Final = _converted_by(partial(_convert, SpecTable()))
FRAMES_RENAMED: Final = DocumentRule(
    "frame-per-point-renamed",
    1,
    "stream_resource",
    "The number of frames of an event is the parameter `multiplier`.",
    _rename_frames,
)
DATASET_NAMED: Final = DocumentRule(
    "hdf5-dataset-named",
    1,
    "stream_resource",
    "The path inside an HDF5 file is the parameter `dataset`.",
    _name_dataset,
)
FIELDS_KEPT: Final = DocumentRule(
    "stream-resource-fields",
    1,
    "stream_resource",
    "A stream_resource has data_key, mimetype, parameters, uid, uri, perhaps run_start, and nothing else.",
    _keep_fields,
)

#: The rules of a stream_resource, in the order they apply, with the specs that are known everywhere.
RESOURCE_RULES: Final = (RESOURCE_CONVERTED, FRAMES_RENAMED, DATASET_NAMED, FIELDS_KEPT)


def resource_rules(table: SpecTable) -> tuple[DocumentRule, ...]:
    """Return the rules of a stream_resource for a table of specs."""
    return (_converted_by(partial(_convert, table)), *RESOURCE_RULES[1:])
