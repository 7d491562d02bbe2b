"""Each rule alone: what it changes, what it leaves, and that it leaves its input as it was."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.bluesky.normalizer.collected import FLOAT, IMAGE, Doc
from tests.bluesky.normalizer.collected import descriptor as descriptor_of

from gapless.bluesky import legacy_descriptor as of_descriptor
from gapless.bluesky import legacy_resource as of_resource
from gapless.bluesky.legacy_event import EVENT_KEY_RENAMED, EXTERNAL_SPLIT, EventPlan
from gapless.bluesky.legacy_resource import resource_uri
from gapless.bluesky.legacy_rules import RULES
from gapless.bluesky.mimetypes import MIMETYPES, OPAQUE, SpecTable
from gapless.bluesky.normal_rules import DocumentRule, Remarks


def apply(rule: DocumentRule, doc: Doc, remarks: Remarks | None = None) -> Doc:
    """Return what the rule makes of it; the input must stay as it was."""
    before = copy.deepcopy(doc)
    changed = rule.change(doc, remarks or Remarks())
    assert doc == before
    assert rule.change(changed, Remarks()) is changed, "a rule has nothing to do after itself"
    return changed


def with_keys(**data_keys: Doc) -> Doc:
    """A descriptor with these data keys."""
    return descriptor_of(data_keys)[1]


def test_every_rule_has_a_name_of_its_own_a_version_and_a_promise() -> None:
    """Recordings name the rules by name and version."""
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(rule.version >= 1 and rule.promise.endswith(".") for rule in RULES)


@pytest.mark.parametrize("rule", of_descriptor.DESCRIPTOR_RULES, ids=lambda rule: rule.name)
def test_a_modern_descriptor_is_returned_as_the_same_object(rule: DocumentRule) -> None:
    """A rule that has nothing to do makes no copy."""
    modern = with_keys(det={**FLOAT, "object_name": "dev"}, image=IMAGE) | {
        "object_keys": {"dev": ["det"]},
        "hints": {"dev": {"fields": ["det"]}},
        "configuration": {"dev": {"data": {}, "timestamps": {}, "data_keys": {"gain": FLOAT}}},
    }
    assert rule.change(modern, Remarks()) is modern


def test_reserved_names_get_an_underscore_wherever_they_stand() -> None:
    """In data_keys, object_keys and hints, with a note."""
    legacy = with_keys(time=FLOAT, seq_num=FLOAT, other=FLOAT) | {
        "object_keys": {"dev": ["time", "other", "seq_num"]},
        "hints": {"dev": {"fields": ["other", "time"]}, "odd": {}},
    }
    remarks = Remarks()
    changed = apply(of_descriptor.RESERVED_KEY_RENAMED, legacy, remarks)
    assert list(changed["data_keys"]) == ["time_", "seq_num_", "other"]
    assert changed["object_keys"] == {"dev": ["other", "time_", "seq_num_"]}
    assert changed["hints"] == {"dev": {"fields": ["other", "time_"]}, "odd": {}}
    assert remarks.notes == [
        "Renamed data_key 'time' to 'time_' in stream primary",
        "Renamed data_key 'seq_num' to 'seq_num_' in stream primary",
    ]


def test_a_new_name_that_is_taken_gets_another_underscore() -> None:
    """No data key is lost."""
    legacy = with_keys(time=FLOAT, time_={**FLOAT, "source": "y"})
    keys = apply(of_descriptor.RESERVED_KEY_RENAMED, legacy)["data_keys"]
    assert {key: spec["source"] for key, spec in keys.items()} == {"time__": "x", "time_": "y"}


@pytest.mark.parametrize(
    ("legacy", "dtype_numpy"),
    [
        ({"dtype": "number"}, "<f8"),
        ({"dtype": "array"}, "<f8"),
        ({"dtype": "boolean"}, "|b1"),
        ({"dtype": "string"}, "<U0"),
        ({"dtype": "integer"}, "<i8"),
        ({"dtype": "integer", "dtype_str": "<u2"}, "<u2"),
        ({"dtype": "integer", "dtype_str": "<u2", "dtype_numpy": "<i4"}, "<i4"),
        ({"dtype": "integer", "dtype_numpy": ""}, "<i8"),
        ({"dtype": "array", "dtype_descr": [("x", "<f8")], "dtype_numpy": "<i4"}, [["x", "<f8"]]),
        ({"dtype": "array", "dtype_descr": [], "dtype_str": "<f4"}, "<f4"),
        ({"dtype": "unheard"}, None),
        ({}, None),
    ],
)
def test_dtype_numpy_is_the_most_exact_type_that_is_given(legacy: Doc, dtype_numpy: Any) -> None:
    """For data keys of events and of the configuration."""
    for doc in (
        with_keys(det=legacy),
        with_keys() | {"configuration": {"dev": {"data_keys": {"det": legacy}}}},
    ):
        changed = apply(of_descriptor.DTYPE_NUMPY_DERIVED, doc)
        keys = changed["data_keys"] or changed["configuration"]["dev"]["data_keys"]
        assert keys["det"].get("dtype_numpy") == dtype_numpy
        assert not keys["det"].keys() & {"dtype_str", "dtype_descr"}


def test_a_shape_of_null_is_that_of_a_scalar() -> None:
    """Other shapes stay."""
    keys = apply(of_descriptor.SHAPE_GIVEN, with_keys(a={**FLOAT, "shape": None}, b=FLOAT))["data_keys"]
    assert (keys["a"]["shape"], keys["b"]["shape"]) == ([], [])


def test_object_keys_name_the_owner_of_each_data_key() -> None:
    """Keys that are not there are passed over."""
    legacy = with_keys(a=FLOAT, b={**FLOAT, "object_name": "wrong"}, c=FLOAT)
    changed = apply(of_descriptor.OBJECT_NAMED, legacy | {"object_keys": {"dev": ["a", "b", "gone"]}})
    assert [spec.get("object_name") for spec in changed["data_keys"].values()] == ["dev", "dev", None]


def test_an_external_mark_of_null_is_text() -> None:
    """Internal keys get no mark."""
    keys = apply(of_descriptor.EXTERNAL_MARKED, with_keys(a=FLOAT, b={**FLOAT, "external": None}))[
        "data_keys"
    ]
    assert keys == {"a": FLOAT, "b": {**FLOAT, "external": ""}}


def test_a_stream_without_a_name_is_the_primary_one() -> None:
    """With a note."""
    legacy = with_keys(a=FLOAT)
    del legacy["name"]
    remarks = Remarks()
    assert apply(of_descriptor.STREAM_NAMED, legacy, remarks)["name"] == "primary"
    assert len(remarks.notes) == 1
    assert apply(of_descriptor.STREAM_NAMED, legacy | {"name": None})["name"] == "primary"
    assert apply(of_descriptor.STREAM_NAMED, legacy | {"name": ""})["name"] == ""


LEGACY = {
    "uid": "r",
    "spec": "AD_HDF5",
    "root": "/data",
    "resource_path": "a.h5",
    "resource_kwargs": {"x": 1},
}


def test_a_resource_becomes_mimetype_uri_and_parameters() -> None:
    """Fields that say nothing any more go."""
    changed = apply(of_resource.RESOURCE_CONVERTED, LEGACY | {"data_key": "det", "path_semantics": "posix"})
    assert changed == {
        "uid": "r",
        "data_key": "det",
        "mimetype": "application/x-hdf5",
        "uri": "file://localhost/data/a.h5",
        "parameters": {"x": 1, "spec": "AD_HDF5", "dataset": "/entry/data/data"},
    }


@pytest.mark.parametrize(
    ("spec", "given", "dataset"),
    [
        ("HDF5", None, "/entry/data/data"),
        ("XSP3", None, "/entry/instrument/detector/data"),
        ("XSP3", "/mine", "/mine"),
        ("AD_HDF5", "", "/entry/data/data"),
        ("PANDA", None, None),
    ],
)
def test_known_specs_have_their_dataset(spec: str, given: str | None, dataset: str | None) -> None:
    """One that is given wins if it is not empty."""
    kwargs = {} if given is None else {"dataset": given}
    changed = apply(of_resource.RESOURCE_CONVERTED, LEGACY | {"spec": spec, "resource_kwargs": kwargs})
    assert changed["parameters"].get("dataset") == dataset


def test_an_unknown_spec_is_opaque_and_a_finding() -> None:
    """Its name is kept."""
    remarks = Remarks()
    changed = apply(of_resource.RESOURCE_CONVERTED, LEGACY | {"spec": "WHAT"}, remarks)
    assert (changed["mimetype"], changed["parameters"]["spec"]) == (OPAQUE, "WHAT")
    assert [(f["code"], f["spec"]) for f in remarks.findings] == [("spec-unknown", "WHAT")]


@pytest.mark.parametrize(
    ("root", "path", "uri"),
    [
        ("/data", "a.h5", "file://localhost/data/a.h5"),
        ("/data", "/a.h5", "file://localhost/data/a.h5"),
        ("/data/", "//a.h5", "file://localhost/data/a.h5"),
        ("", "/a/b/", "file://localhost/a/b/"),
        ("/", "/a.h5", "file://localhost/a.h5"),
        ("/data", "a b#1?.h5", "file://localhost/data/a%20b%231%3F.h5"),
        ("/data", "100%.h5", "file://localhost/data/100%25.h5"),
        ("/data", "naïve.h5", "file://localhost/data/na%C3%AFve.h5"),
        ("C:\\data", "a b.h5", "file://localhost/C:/data/a%20b.h5"),
        ("", "file:///data/a.h5", "file://localhost/data/a.h5"),
        ("", "s3://bucket/a.h5", "s3://bucket/a.h5"),
        ("", "file://localhost/data/a%20b.h5", "file://localhost/data/a%20b.h5"),
    ],
)
def test_paths_become_valid_uris(root: str, path: str, uri: str) -> None:
    """Percent-encoded, below the root, with a host."""
    assert resource_uri(root, path) == uri


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"frame_per_point": 5, "x": 1}, {"multiplier": 5, "x": 1}),
        ({"frame_per_point": 0}, {}),
        ({"multiplier": 2}, {"multiplier": 2}),
    ],
)
def test_frames_of_a_point_are_the_multiplier(before: Doc, after: Doc) -> None:
    """Zero frames are no statement."""
    doc = {"mimetype": "image/tiff", "parameters": before}
    assert apply(of_resource.FRAMES_RENAMED, doc)["parameters"] == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"path": "/a"}, {"dataset": "/a"}),
        ({"path": "/a", "dataset": "/b"}, {"dataset": "/a"}),
        ({"dataset": "/b"}, {"dataset": "/b"}),
        ({}, {"dataset": ""}),
    ],
)
def test_the_path_inside_an_hdf5_file_is_its_dataset(before: Doc, after: Doc) -> None:
    """Only for HDF5."""
    doc = {"mimetype": "application/x-hdf5", "parameters": before}
    assert apply(of_resource.DATASET_NAMED, doc)["parameters"] == after
    other = {"mimetype": "text/csv", "parameters": before}
    assert apply(of_resource.DATASET_NAMED, other) is other


def test_other_fields_of_a_stream_resource_go() -> None:
    """run_start belongs to the current model and stays."""
    modern = {"uid": "r", "mimetype": "text/csv", "uri": "file://localhost/a", "run_start": "run"}
    changed = apply(of_resource.FIELDS_KEPT, modern | {"spec": "X", "root": "/"})
    assert changed == modern | {"data_key": "", "parameters": {}}


def test_events_get_the_new_names_of_their_descriptor() -> None:
    """In data and timestamps."""
    original = with_keys(time=FLOAT, other=FLOAT)
    plan = EventPlan(original, of_descriptor.RESERVED_KEY_RENAMED.change(original, Remarks()))
    remarks = Remarks()
    event = {"data": {"time": 1, "other": 2}, "timestamps": {"time": 3, "other": 4}, "filled": {}}
    assert plan.renamed(event, remarks) == {
        "data": {"time_": 1, "other": 2},
        "timestamps": {"time_": 3, "other": 4},
    }
    assert remarks.used == {EVENT_KEY_RENAMED.versioned: 1}


@pytest.mark.parametrize(
    ("value", "filled", "is_reference"),
    [
        ("r/0", {}, True),
        ("r/0", {"image": False}, True),
        ("r/0", {"image": True}, False),
        ("r/0", {"image": "r/0"}, False),
        ([[1, 2]], {}, False),
        (None, {"image": False}, False),
    ],
)
def test_text_in_an_external_key_that_is_not_filled_is_a_reference(
    value: Any, filled: Doc, is_reference: bool
) -> None:
    """All else is a value and stays in the event."""
    descriptor = with_keys(det=FLOAT, image=IMAGE)
    event = {
        "descriptor": "d",
        "seq_num": 3,
        "data": {"det": 1.0, "image": value},
        "timestamps": {"det": 2.0, "image": 2.0},
        "filled": filled,
    }
    remarks = Remarks()
    got, references = EventPlan(descriptor, descriptor).split(event, remarks)
    assert ("image" in got["data"], "image" in got["timestamps"]) == (not is_reference, not is_reference)
    assert [tuple(reference) for reference in references] == [
        ("r/0", "image", "d", "primary", 3, "")
    ] * is_reference
    assert (EXTERNAL_SPLIT.versioned in remarks.used) == is_reference


def test_specs_are_found_whatever_their_capitals_and_own_ones_win() -> None:
    """Own specs may be written in any way too."""
    table = SpecTable({"AD_TIFF": "image/tiff", "mine": "text/x-mine"})
    assert table.mimetype("AD_TIFF") == "image/tiff"
    assert table.mimetype("MINE") == "text/x-mine"
    assert table.mimetype("npy_seq") == MIMETYPES["NPY_SEQ"]
    assert table.mimetype("unheard") is None


def test_every_spec_of_the_table_is_in_capitals() -> None:
    """Else it would never be found."""
    assert all(spec == spec.upper() for spec in MIMETYPES)
