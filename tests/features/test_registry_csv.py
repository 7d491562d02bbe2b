"""Index files of another system: imported as text, once, and never over what is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from gapless.errors import ArgumentRefused
from gapless.features.registry import FeatureRegistry, open_registry

HEADER = "run_id,feature,version,group,sequence,abs_path,n_rows,started_at,finished_at,params_hash"
START, END = "2026-01-01T00:00:00", "2026-01-02T00:00:00"


def write_index(root: Path, feature: str, lines: list[str]) -> Path:
    """Write the index file of a feature."""
    folder = root / "features" / feature
    folder.mkdir(parents=True)
    path = folder / "index.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def write_two(root: Path) -> None:
    """Write two features with three runs."""
    write_index(
        root,
        "speed",
        [
            HEADER,
            f"0.10-007,speed,0.10,001,s1,/data/s1.parquet,10,{START},,0099",
            f"0.10-007,speed,0.10,001,s2,/data/s2.parquet,12,{START},{END},0099",
            f'0.9-1e5,speed,0.9,,"a, ""b""",/data/ab.parquet,,{START},,1e5',
        ],
    )
    write_index(root, "turn", ["run_id,sequence,abs_path", "1,s1,out/s1.parquet"])


@pytest.mark.parametrize("place", ["store", "file"])
def test_an_index_is_imported_as_text_and_once(tmp_path: Path, place: str) -> None:
    """Leading zeros, "0.10" and "1e5" stay; optional columns may be missing; a second call finds nothing new."""
    write_two(tmp_path)
    with FeatureRegistry(tmp_path if place == "store" else tmp_path / "registry.db") as registry:
        assert registry.migrate_from_csv(tmp_path / "features") == 4
        assert registry.migrate_from_csv(tmp_path / "features") == 0
        assert registry.list_features() == ["speed", "turn"]
        rows = registry.list_runs("speed")[["run_id", "version", "params_hash", "started_at", "finished_at"]]
        assert rows.values.tolist() == [
            ["0.10-007", "0.10", "0099", START, END],
            ["0.9-1e5", "0.9", "1e5", START, ""],
        ]
        entries = registry.list_entries("speed")[["group", "sequence", "abs_path", "n_rows"]]
        assert entries.values.tolist() == [
            ["001", "s1", "/data/s1.parquet", 10],
            ["001", "s2", "/data/s2.parquet", 12],
            ["", 'a, "b"', "/data/ab.parquet", 0],
        ]
        [path] = registry.list_entries("turn")["abs_path"]
        assert path == str(tmp_path / "features" / "turn" / "out" / "s1.parquet")


def test_what_is_known_stays(tmp_path: Path) -> None:
    """An import adds, and replaces neither a run nor an entry."""
    write_two(tmp_path)
    with FeatureRegistry(tmp_path) as registry:
        registry.record_run_start("speed", "0.10-007", "mine", "h")
        registry.record_entry("speed", "0.10-007", "001", "s1", "/mine", 1)
        assert registry.migrate_from_csv() == 3
        row = registry.run_row("speed", "0.10-007")
        assert row is not None
        assert row.version == "mine"
        assert registry.list_entries("speed", "0.10-007")["abs_path"].tolist() == [
            "/mine",
            "/data/s2.parquet",
        ]


def test_opening_imports_into_a_new_registry_only(tmp_path: Path) -> None:
    """Not if it is told not to, and not again when somebody forgot a run on purpose."""
    write_two(tmp_path)
    with open_registry(tmp_path / "features", migrate_csv=False) as registry:
        assert registry.list_features() == []
    with open_registry(tmp_path / "features") as registry:
        assert registry.list_features() == ["speed", "turn"]
        registry.forget_run("turn", "1")
    with open_registry(tmp_path / "features") as registry:
        assert registry.list_features() == ["speed"]


def test_an_import_outlives_the_catalog_file(tmp_path: Path) -> None:
    """Rows that no folder tells of are in the journal; the index files may be gone."""
    write_two(tmp_path)
    with open_registry(tmp_path) as registry:
        before = registry._database.rows("SELECT * FROM feature_entries ORDER BY feature, run_id, sequence")
    for path in [*tmp_path.glob("catalog.db*"), *tmp_path.glob("features/*/index.csv")]:
        path.unlink()
    with FeatureRegistry(tmp_path) as registry:
        after = registry._database.rows("SELECT * FROM feature_entries ORDER BY feature, run_id, sequence")
        assert after == before
        assert len(after) == 4
        assert registry.run_is_finished("speed", "0.10-007")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["run_id,group", "1,g"], "sequence"),
        (["run_id,sequence,abs_path,n_rows", "1,s,/p,many"], "line 2: many"),
        ([""], "lacks columns"),
    ],
)
def test_a_file_that_is_no_index_is_refused_whole(tmp_path: Path, lines: list[str], words: str) -> None:
    """Nothing of it, and nothing of the files before it, is imported; the error names file and line."""
    write_two(tmp_path)
    write_index(tmp_path, "zz", lines)
    with FeatureRegistry(tmp_path) as registry:
        with pytest.raises(ArgumentRefused, match=words):
            registry.migrate_from_csv()
        assert registry.list_features() == []


def test_a_lone_registry_must_be_told_where(tmp_path: Path) -> None:
    """There is no folder to guess."""
    with FeatureRegistry(tmp_path / "registry.db") as registry, pytest.raises(ArgumentRefused):
        registry.migrate_from_csv()
