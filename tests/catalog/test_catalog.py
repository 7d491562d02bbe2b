"""The catalog as a cache: it follows the folders, survives damage and stays light."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.catalog.bundle_files import write_bundle

from gapless.catalog import Catalog
from gapless.catalog.annotations import append_annotation, read_annotations, remove_annotation
from gapless.errors import IntegrityError, NotFound, StateError, UsageError
from gapless.model.expression import Sequence


def test_references_resolve(store: Path) -> None:
    """A name, a unique beginning, @last and @last-1 name a sequence; others are refused."""
    for number, name in enumerate(["run_1", "run_2", "x%y"]):
        write_bundle(store, name, opened_ns=number)
    catalog = Catalog(store)
    assert [catalog.sequence(ref).name for ref in ("run_1", "x%", "@last", "@last-2")] == [
        "run_1", "x%y", "x%y", "run_1",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="run_1, run_2"):
        catalog.sequence("run_")
    for ref in ("nobody", "@last-3", "@last-" + 5000 * "9", f"@last-{2**64}", "@first", "", "x_"):
        with pytest.raises(NotFound):
            catalog.sequence(ref)


def test_lists_filter_and_order(store: Path) -> None:
    """Sequences are listed by state, group and outcome, in the order asked for, by one statement."""
    write_bundle(store, "b", group="g", opened_ns=1)
    write_bundle(store, "a", group="g", outcome="failed", opened_ns=2)
    catalog = Catalog(store)
    catalog.reconcile()
    before = catalog.statements
    assert [row.name for row in catalog.sequences(group="g", order="-created")] == ["a", "b"]
    assert catalog.statements == before + 1
    assert [row.name for row in catalog.sequences(outcome="failed")] == ["a"]
    assert [row.name for row in catalog.sequences(state="open")] == []


@pytest.mark.parametrize("quick", [True, False])
def test_new_and_removed_bundles_are_seen(store: Path, quick: bool) -> None:
    """Reconciling adds bundles that appeared and drops those that are gone."""
    catalog = Catalog(store)
    first = write_bundle(store, "a")
    catalog.reconcile(quick=quick)
    write_bundle(store, "b")
    first.rename(store / "elsewhere")
    catalog.reconcile(quick=quick)
    assert [row.name for row in catalog.sequences()] == ["b"]


def test_a_new_layer_and_annotation_change_the_row(store: Path) -> None:
    """A layer and an annotation added by another program are seen by the next look."""
    bundle = write_bundle(store, "a")
    catalog = Catalog(store)
    assert catalog.sequence("a").layers == 0
    write_bundle(store, "a", layer="later")
    append_annotation(bundle, 1, 2, "bump", kind="event")
    catalog.reconcile()
    assert catalog.sequence("a").layers == 1
    assert [found.annotation.name for found in catalog.annotations("b*", "event")] == ["bump"]
    assert catalog.query(Sequence.Q.annotation.match("b*")).names == ["a"]


def test_a_reserved_name_without_files_is_not_listed(store: Path) -> None:
    """A folder that is only a reserved name is no sequence yet."""
    (store / "sequences" / "soon").mkdir()
    assert Catalog(store).sequences() == []


def test_a_damaged_manifest_is_listed_with_its_problem(store: Path) -> None:
    """A manifest that cannot be read neither hides its sequence nor stops the others."""
    (write_bundle(store, "bad") / "manifest.json").write_text("{")
    write_bundle(store, "good")
    rows = {row.name: row.problem for row in Catalog(store).sequences()}
    assert rows["good"] is None
    assert "manifest" in (rows["bad"] or "")


def test_a_copied_folder_goes_by_its_own_name(store: Path) -> None:
    """A copy of a bundle is listed with its problem; a folder that is no encoded name is passed over."""
    shutil.copytree(write_bundle(store, "a"), store / "sequences" / "b")
    shutil.copytree(store / "sequences" / "a", store / "sequences" / "%FF")
    catalog = Catalog(store)
    assert [(row.name, row.problem is None) for row in catalog.sequences(order="name")] == [
        ("a", True), ("b", False),
    ]  # fmt: skip
    assert catalog.reconcile().read == 0


def test_a_deleted_or_damaged_file_is_filled_again(mission: Path) -> None:
    """Whatever happens to catalog.db, also while it is open, the next call answers as before."""
    catalog = Catalog(mission)
    names = [row.name for row in catalog.sequences()]
    (mission / "catalog.db").unlink()
    assert [row.name for row in catalog.sequences()] == names
    catalog.close()
    for suffix in ("-wal", "-shm"):
        (mission / f"catalog.db{suffix}").unlink(missing_ok=True)
    (mission / "catalog.db").write_bytes(b"this is not a database" * 100)
    assert [row.name for row in catalog.sequences()] == names


def test_a_newer_catalog_is_left_alone(mission: Path) -> None:
    """A file of a newer release stays as it is; this release works in memory."""
    import sqlite3

    with sqlite3.connect(mission / "catalog.db") as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    before = (mission / "catalog.db").read_bytes()
    assert len(Catalog(mission).sequences()) == 2
    assert (mission / "catalog.db").read_bytes() == before


def test_tombstones_are_listed(store: Path) -> None:
    """Discarded sequences are listed from their tombstones, oldest first."""
    (store / "discarded").mkdir()
    for number, name in [(2, "b"), (1, "a")]:
        document = {"name": name, "discarded_ns": number}
        (store / "discarded" / f"{name}-1.json").write_text(json.dumps(document))
    assert [tombstone["name"] for tombstone in Catalog(store).discarded()] == ["a", "b"]


def _fill(store: Path, start: int) -> None:
    catalog = Catalog(store)
    for number in range(start, start + 20):
        catalog.upsert(write_bundle(store, f"s{number}", metadata={"n": number}))


def test_processes_share_one_catalog(store: Path) -> None:
    """Two processes that write at once lose nothing."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_fill, args=(store, start)) for start in (0, 100)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(Catalog(store).query(Sequence.Q.metadata["n"].geq(0))) == 40


def test_listing_imports_nothing_heavy(mission: Path) -> None:
    """Listing and a metadata query need neither Arrow nor numpy, pydantic, msgspec or rich."""
    code = (
        "import sys; from pathlib import Path; from gapless.catalog import Catalog;"
        f"c = Catalog(Path({str(mission)!r})); c.sequences(); c.sequence('@last');"
        "c.query('metadata.n == 1').names;"
        "print(sorted({'numpy', 'pyarrow', 'pydantic', 'msgspec', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_annotations_are_appended_and_removed(tmp_path: Path) -> None:
    """A removal leaves both lines in the file and takes the annotation out of force."""
    kept = append_annotation(tmp_path, 1, 2, "keep", author="me", confidence=0.5)
    gone = append_annotation(tmp_path, 3, 4, "gone")
    remove_annotation(tmp_path, gone.id)
    assert read_annotations(tmp_path) == [kept]
    assert len((tmp_path / "annotations.jsonl").read_text().splitlines()) == 3
    with pytest.raises(NotFound):
        remove_annotation(tmp_path, gone.id)
    with pytest.raises(UsageError):
        append_annotation(tmp_path, 2, 1, "backwards")


def test_a_torn_annotation_is_dropped_and_a_damaged_one_is_an_error(tmp_path: Path) -> None:
    """A line cut by a crash was never acknowledged; a damaged whole line is never skipped."""
    first = append_annotation(tmp_path, 1, 2, "first")
    path = tmp_path / "annotations.jsonl"
    with path.open("ab") as file:
        file.write(b'{"op":"add","id":"to')
    assert read_annotations(tmp_path) == [first]
    second = append_annotation(tmp_path, 3, 4, "second")
    assert read_annotations(tmp_path) == [first, second]
    path.write_bytes(path.read_bytes().replace(b'"op"', b'"o\xff"', 1))
    with pytest.raises(IntegrityError, match="line 1"):
        read_annotations(tmp_path)


def test_a_catalog_that_cannot_be_written_is_not_rebuilt(mission: Path) -> None:
    """Rebuilding what lives in memory alone would be forgotten: a typed error; listing goes on."""
    (mission / "catalog.db").mkdir()
    with Catalog(mission) as catalog:
        with pytest.raises(StateError, match="cannot be written"):
            catalog.reindex()
        assert len(catalog.sequences()) == 2
