"""The structure that a document must have before any rule looks at it."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Final

from gapless.bluesky.document import Document
from gapless.errors import DocumentRefused

_REQUIRED: Final[Mapping[str, frozenset[str]]] = {
    "start": frozenset(("uid", "time")),
    "descriptor": frozenset(("uid", "time", "run_start", "data_keys")),
    "event": frozenset(("uid", "descriptor", "seq_num", "time", "data", "timestamps")),
    "event_page": frozenset(("uid", "descriptor", "seq_num", "time", "data", "timestamps")),
    "bulk_events": frozenset(),
    "resource": frozenset(("uid",)),
    "stream_resource": frozenset(("uid",)),
    "datum": frozenset(("datum_id", "resource")),
    "datum_page": frozenset(("datum_id", "resource", "datum_kwargs")),
    "bulk_datum": frozenset(("datum_ids", "resource", "datum_kwarg_list")),
    "stream_datum": frozenset(("uid", "descriptor", "stream_resource", "indices", "seq_nums")),
    "stop": frozenset(("uid", "time", "run_start", "exit_status")),
}
#: Keys that rules take apart, and so must be mappings where they are there.
_MAPPINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "descriptor": ("data_keys", "configuration", "object_keys", "hints"),
    "event": ("data", "timestamps"),
    "event_page": ("data", "timestamps"),
    "resource": ("resource_kwargs", "parameters"),
    "stream_resource": ("resource_kwargs", "parameters"),
    "datum": ("datum_kwargs",),
    "datum_page": ("datum_kwargs",),
    "stream_datum": ("indices", "seq_nums"),
}
_SCALARS: Final[Mapping[str, type]] = {
    "uid": str,
    "descriptor": str,
    "resource": str,
    "run_start": str,
    "datum_id": str,
    "time": Real,
    "seq_num": Integral,
}
_PAGED: Final = frozenset(("event_page", "datum_page", "bulk_events", "bulk_datum"))


def check_document(name: str, doc: Document, *, scalars: bool = False) -> None:
    """Raise DocumentRefused, naming the key, for a document without what its kind must have.

    Keys that rules take apart must be mappings; with ``scalars`` the identifiers, times and numbers must be
    such as well. Which data keys an event has is not checked here.
    """
    if not _REQUIRED[name] <= doc.keys():
        key = min(_REQUIRED[name] - doc.keys())
        raise DocumentRefused(f"the {name} has no {key!r}", field=key, found=sorted(map(str, doc)))
    for key in _MAPPINGS.get(name, ()):
        if doc.get(key).__class__ is not dict and not isinstance(doc.get(key, {}), Mapping):
            raise _wrong(name, key, doc[key], "a mapping")
    check = _DEEPER.get(name)
    if check is not None:
        check(name, doc)
    if scalars and name not in _PAGED:
        _check_scalars(name, doc)


def _check_scalars(name: str, doc: Document) -> None:
    for key, kind in _SCALARS.items():
        if key in doc and (not isinstance(doc[key], kind) or isinstance(doc[key], bool)):
            raise _wrong(name, key, doc[key], kind.__name__)


def _check_descriptor(name: str, doc: Document) -> None:
    for key, data_key in doc["data_keys"].items():
        if not isinstance(data_key, Mapping):
            raise _wrong(name, key, data_key, "a mapping")
    for key, entry in doc.get("configuration", {}).items():
        keys = entry.get("data_keys", {}) if isinstance(entry, Mapping) else None
        if not isinstance(keys, Mapping) or not all(isinstance(k, Mapping) for k in keys.values()):
            raise _wrong(name, key, entry, "a configuration of data_keys, each a mapping")
    for key, names in doc.get("object_keys", {}).items():
        if not isinstance(names, list | tuple):
            raise _wrong(name, key, names, "a list of data keys")


def _check_event_page(name: str, doc: Document) -> None:
    for kind in ("data", "timestamps", "filled"):
        for key, column in (doc.get(kind) or {}).items():
            _check_length(name, key, column, doc["uid"])
    for key in ("seq_num", "time"):
        _check_length(name, key, doc[key], doc["uid"])


def _check_datum_page(name: str, doc: Document) -> None:
    for key, column in doc["datum_kwargs"].items():
        _check_length(name, key, column, doc["datum_id"])


def _check_bulk_datum(name: str, doc: Document) -> None:
    _check_length(name, "datum_kwarg_list", doc["datum_kwarg_list"], doc["datum_ids"])


def _check_bulk_events(name: str, doc: Document) -> None:
    for key, events in doc.items():
        if not isinstance(events, list | tuple):
            raise _wrong(name, key, events, "a list of events")


def _check_resource(name: str, doc: Document) -> None:
    needed = "uri" if "mimetype" in doc else "resource_path"
    if needed not in doc:
        raise DocumentRefused(f"the {name} has no {needed!r}", field=needed, found=sorted(map(str, doc)))


def _check_length(name: str, key: str, column: Any, uids: Any) -> None:
    try:
        rows, expected = len(column), len(uids)
    except TypeError as error:
        raise _wrong(name, key, column, "a column, as long as the page") from error
    if rows != expected:
        raise DocumentRefused(
            f"the columns of the {name} differ in length", field=key, found=rows, expected=expected
        )


def _wrong(name: str, key: str, found: Any, expected: str) -> DocumentRefused:
    return DocumentRefused(f"the {name} cannot be read", field=key, found=repr(found), expected=expected)


_DEEPER: Final = {
    "descriptor": _check_descriptor,
    "event_page": _check_event_page,
    "datum_page": _check_datum_page,
    "bulk_events": _check_bulk_events,
    "bulk_datum": _check_bulk_datum,
    "resource": _check_resource,
    "stream_resource": _check_resource,
}
