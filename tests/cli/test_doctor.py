"""`gapless doctor`."""

from __future__ import annotations

import json
import re
from pathlib import Path

from gapless.cli import doctor
from gapless.cli.findings import FINDINGS

from .conftest import Cli


def test_a_healthy_machine_passes(cli: Cli, tmp_path: Path) -> None:
    """The doctor measures syncs in the folder, finds no error and leaves nothing behind."""
    done = cli("doctor", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout
    assert report["facts"]["sync_max_ms"] >= report["facts"]["sync_median_ms"] > 0
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_store_format_fails(cli: Cli, tmp_path: Path) -> None:
    """A store of a future format is an error, exit code 1."""
    (tmp_path / "gapless-data").mkdir()
    (tmp_path / "gapless-data" / "gapless.json").write_text('{"format": 99, "uid": "x"}', encoding="utf-8")
    done = cli("doctor", "--json")
    assert done.returncode == 1
    assert [f["code"] for f in json.loads(done.stdout)["findings"] if f["severity"] == "error"] == ["D010"]


def test_every_reported_code_is_documented() -> None:
    """The codes in the doctor's source are those of the table."""
    source = Path(doctor.__file__).read_text(encoding="utf-8")
    assert set(re.findall(r'"(D\d{3})"', source)) == set(FINDINGS)
