"""Descriptors of every generation become modern: reserved names, types, shapes, owners, external marks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gapless.bluesky.document import Document
from gapless.bluesky.normal_rules import DocumentRule, Remarks

#: Names that columns of their own have in every stream.
RESERVED_KEYS: Final = ("time", "seq_num")

_DTYPE_OF_JSON: Final = {
    "number": "<f8",
    "array": "<f8",
    "boolean": "|b1",
    "string": "<U0",
    "integer": "<i8",
}


def renamed_keys(data_keys: Mapping[str, Any]) -> dict[str, str]:
    """Return the new names of the data keys that have a reserved name; ``_`` is added until it is free."""
    taken, renamed = set(data_keys), {}
    for name in RESERVED_KEYS:
        if name in data_keys:
            free = f"{name}_"
            while free in taken:
                free += "_"
            taken.add(free)
            renamed[name] = free
    return renamed


def _name_stream(doc: Document, remarks: Remarks) -> Document:
    if doc.get("name") is not None:
        return doc
    remarks.note("Named the stream of a descriptor without a name 'primary'")
    return {**doc, "name": "primary"}


def _rename_reserved(doc: Document, remarks: Remarks) -> Document:
    renamed = renamed_keys(doc["data_keys"])
    if not renamed:
        return doc
    changed = {**doc, "data_keys": {renamed.get(k, k): v for k, v in doc["data_keys"].items()}}
    if doc.get("object_keys"):
        changed["object_keys"] = {
            owner: _renamed_last(names, renamed) for owner, names in doc["object_keys"].items()
        }
    if doc.get("hints"):
        changed["hints"] = {owner: _renamed_hint(hint, renamed) for owner, hint in doc["hints"].items()}
    for old, new in renamed.items():
        remarks.note(f"Renamed data_key {old!r} to {new!r} in stream {doc['name']}")
    return changed


def _renamed_last(names: list[str], renamed: Mapping[str, str]) -> list[str]:
    kept = [name for name in names if name not in renamed]
    return kept + [new for old, new in renamed.items() if old in names]


def _renamed_hint(hint: Any, renamed: Mapping[str, str]) -> Any:
    if not isinstance(hint, Mapping) or not isinstance(hint.get("fields"), list | tuple):
        return hint
    return {**hint, "fields": [renamed.get(field, field) for field in hint["fields"]]}


def _derive_dtype(doc: Document, _remarks: Remarks) -> Document:
    return _with_data_keys(doc, _typed)


def _typed(data_key: Document) -> Document:
    structured = [list(part) for part in data_key.get("dtype_descr") or ()]
    dtype = structured or data_key.get("dtype_numpy", data_key.get("dtype_str"))
    dtype = dtype or _DTYPE_OF_JSON.get(str(data_key.get("dtype")))
    is_legacy = "dtype_descr" in data_key or "dtype_str" in data_key
    if not is_legacy and (not dtype or dtype == data_key.get("dtype_numpy")):
        return data_key
    typed = {key: value for key, value in data_key.items() if key not in ("dtype_descr", "dtype_str")}
    if dtype:
        typed["dtype_numpy"] = dtype
    return typed


def _give_shape(doc: Document, _remarks: Remarks) -> Document:
    return _with_data_keys(doc, _shaped)


def _shaped(data_key: Document) -> Document:
    if "shape" in data_key and data_key["shape"] is None:
        return {**data_key, "shape": []}
    return data_key


def _name_owner(doc: Document, _remarks: Remarks) -> Document:
    data_keys = doc["data_keys"]
    owners = {key: owner for owner, keys in (doc.get("object_keys") or {}).items() for key in keys}
    changed = {
        key: {**data_keys[key], "object_name": owner}
        for key, owner in owners.items()
        if key in data_keys and data_keys[key].get("object_name") != owner
    }
    return {**doc, "data_keys": {**data_keys, **changed}} if changed else doc


def _mark_external(doc: Document, _remarks: Remarks) -> Document:
    data_keys = _changed(doc["data_keys"], _marked)
    return doc if data_keys is doc["data_keys"] else {**doc, "data_keys": data_keys}


def _marked(data_key: Document) -> Document:
    if "external" in data_key and data_key["external"] is None:
        return {**data_key, "external": ""}
    return data_key


def _with_data_keys(doc: Document, change: Callable[[Document], Document]) -> Document:
    """Change the data keys of the events and those of the configuration."""

    def changed_entry(entry: Document) -> Document:
        if "data_keys" not in entry:
            return entry
        keys = _changed(entry["data_keys"], change)
        return entry if keys is entry["data_keys"] else {**entry, "data_keys": keys}

    changed = dict(doc)
    changed["data_keys"] = _changed(doc["data_keys"], change)
    if doc.get("configuration"):
        changed["configuration"] = _changed(doc["configuration"], changed_entry)
    is_same = all(changed[key] is doc[key] for key in changed)
    return doc if is_same else changed


def _changed(values: Document, change: Callable[[Document], Document]) -> Document:
    """Return the mapping with changed values, the very same one where no value changed."""
    changed = {key: new for key, old in values.items() if (new := change(old)) is not old}
    return {**values, **changed} if changed else values


STREAM_NAMED: Final = DocumentRule(
    "stream-named", 1, "descriptor", "Every descriptor names its stream.", _name_stream
)
RESERVED_KEY_RENAMED: Final = DocumentRule(
    "reserved-key-renamed",
    1,
    "descriptor",
    "No data key is called `time` or `seq_num`; it is `time_` or `seq_num_`, in object_keys and hints too.",
    _rename_reserved,
)
DTYPE_NUMPY_DERIVED: Final = DocumentRule(
    "dtype-numpy-derived",
    1,
    "descriptor",
    "dtype_numpy holds the type: of dtype_descr, else itself, else of dtype_str, else of dtype.",
    _derive_dtype,
)
SHAPE_GIVEN: Final = DocumentRule(
    "shape-given", 1, "descriptor", "A shape of null is the shape of a scalar.", _give_shape
)
OBJECT_NAMED: Final = DocumentRule(
    "object-named", 1, "descriptor", "Data keys listed in object_keys have object_name.", _name_owner
)
EXTERNAL_MARKED: Final = DocumentRule(
    "external-marked", 1, "descriptor", "The mark of an external data key is text.", _mark_external
)

#: The rules of a descriptor, in the order they apply.
DESCRIPTOR_RULES: Final = (
    STREAM_NAMED,
    RESERVED_KEY_RENAMED,
    DTYPE_NUMPY_DERIVED,
    SHAPE_GIVEN,
    OBJECT_NAMED,
    EXTERNAL_MARKED,
)
