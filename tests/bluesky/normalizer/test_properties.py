"""What holds of every run: inputs stay as they are, the result is modern, and modern stays as it is."""

from __future__ import annotations

import copy

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.bluesky.normalizer.collected import Doc, Run, collect, named
from tests.bluesky.strategies import legacy_runs, modern_runs, runs

from gapless.bluesky.normalizer import RunNormalizer
from gapless.bluesky.same_value import same_value

THOROUGH = settings(max_examples=60, deadline=None)


def _with_flag(doc: Doc) -> Doc:
    doc.setdefault("flags", []).append("patched")
    return doc


def _worn(doc: Doc) -> Doc:
    for key in list(doc.get("data", {})):
        doc["data"][key] = None
    return doc


@THOROUGH
@given(runs())
def test_no_document_is_changed_in_place(run: Run) -> None:
    """Neither for single events nor for pages."""
    before = copy.deepcopy(run)
    collect(run)
    collect(run, pages=True)
    assert same_value(before, run)


@THOROUGH
@given(runs())
def test_a_patch_or_an_overridden_method_cannot_change_the_input(run: Run) -> None:
    """They work on copies of their own, arrays included."""

    class Eager(RunNormalizer):
        def event(self, doc: Doc) -> None:
            super().event(_worn(doc))

        def descriptor(self, doc: Doc) -> None:
            doc["data_keys"].clear()
            super().descriptor(doc)

    before = copy.deepcopy(run)
    collect(run, Eager(patches={"start": _with_flag, "event": _worn, "stop": _with_flag}))
    assert same_value(before, run)


@THOROUGH
@given(modern_runs(odd=True))
def test_what_is_modern_stays_as_it_is(run: Run) -> None:
    """No note, no finding, no rule used."""
    normalizer = RunNormalizer()
    assert same_value(run, collect(run, normalizer, pages=True)) or _has_pages_of_images(run)
    assert not normalizer.notes
    assert not normalizer.findings
    assert not normalizer.rules_used


def _has_pages_of_images(run: Run) -> bool:
    """Events of a stream with external keys leave one by one, whatever they came as."""
    external = {
        doc["uid"]
        for doc in named(run, "descriptor")
        if any("external" in key for key in doc["data_keys"].values())
    }
    return any(page["descriptor"] in external for page in named(run, "event_page"))


@THOROUGH
@given(runs())
def test_normalising_twice_is_normalising_once(run: Run) -> None:
    """The result is modern itself."""
    once = collect(run)
    assert same_value(once, collect(once))


@THOROUGH
@given(runs(), st.booleans())
def test_the_same_run_gives_the_same_documents(run: Run, pages: bool) -> None:
    """No uid is made by chance, so that a repeated delivery is recognised."""
    assert same_value(collect(run, pages=pages), collect(run, pages=pages))


@THOROUGH
@given(modern_runs(odd=True))
def test_pages_hold_the_events_that_others_get_one_by_one(run: Run) -> None:
    """Also for two subscribers of one normalizer."""
    singles: Run = []
    normalizer = RunNormalizer()
    normalizer.subscribe(lambda name, doc: singles.append((name, doc)))
    paged = collect(run, normalizer, pages=True)
    assert same_value(singles, collect(paged))
    assert same_value(singles, collect(run))


@THOROUGH
@given(legacy_runs())
def test_every_event_leaves_and_every_stream_datum_has_its_resource(run: Run) -> None:
    """Each reference is resolved once or counted as unresolved."""
    normalizer = RunNormalizer()
    got = collect(run, normalizer)
    bulks = named(run, "bulk_events")
    uids = [doc["uid"] for doc in named(run, "event")]
    uids += [doc["uid"] for bulk in bulks for events in bulk.values() for doc in events]
    assert sorted(doc["uid"] for doc in named(got, "event")) == sorted(uids)

    known: set[str] = set()
    for name, doc in got:
        if name == "stream_resource":
            assert doc["uid"] not in known
            known.add(doc["uid"])
        if name == "stream_datum":
            assert doc["stream_resource"] in known
    references = _references(run)
    unresolved = [reference.datum_id for reference in normalizer.unresolved]
    resolved = [doc["uid"] for doc in named(got, "stream_datum")]
    assert sorted(resolved + unresolved) == sorted(references)
    assert sum(f["count"] for f in normalizer.findings if f["code"] == "datum-unresolved") == len(unresolved)


def _references(run: Run) -> list[str]:
    external = {
        (doc["uid"], key)
        for doc in named(run, "descriptor")
        for key, spec in doc["data_keys"].items()
        if "external" in spec
    }
    return [
        value
        for doc in named(run, "event")
        for key, value in doc["data"].items()
        if (doc["descriptor"], key) in external
    ]
