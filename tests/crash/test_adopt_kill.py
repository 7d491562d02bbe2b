"""Owners that die by SIGKILL one after another leave one recording, as if there had been one owner."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.store.adopting import Owner, content, whole

from gapless.store.recover import segment_paths
from gapless.store.verify import verify
from gapless.store.watermark import read_watermark
from gapless.testing.power_cut import PowerCut

KILLS = int(os.environ.get("GAPLESS_KILLS", "200"))
CHILD = Path(__file__).with_name("adopt_child.py")


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an uninterrupted recording is sealed as."""
    return whole(tmp_path_factory.mktemp("truth") / "run")


def some(path: Path, seed: int, steps: int) -> Owner:
    """Begin a recording and take some steps; everything pushed is durable."""
    owner = Owner.begin(path, random.Random(seed))
    for _, _ in zip(range(steps), owner.steps(), strict=False):
        pass
    owner.writer.flush()
    return owner


def go_on(path: Path, seed: int) -> dict[str, Any]:
    """Adopt, push the rest, seal; return the content."""
    owner = Owner.adopt(path, random.Random(seed))
    owner.push_all()
    return content(owner.seal())


def test_a_journal_cut_at_any_byte_of_its_last_frames_goes_on_without_a_gap(
    ram_path: Path, truth: dict[str, Any]
) -> None:
    """What was not whole is pushed again: nothing is missing, nothing is there twice."""
    owner = some(ram_path / "run", 3, 50)
    before = segment_paths(owner.writer.bundle)[-1]
    durable_end = read_watermark(owner.writer.bundle.journal / "watermark")
    for _, _ in zip(range(4), owner.steps(), strict=False):
        owner.writer.flush()
    owner.abandon()
    last = segment_paths(owner.writer.bundle)[-1]
    assert durable_end is not None
    begin = durable_end.offset if last == before else 0
    sizes = last.stat().st_size
    for cut in range(begin, sizes, 1 + (sizes - begin) // 150):
        copy = ram_path / "cut"
        shutil.copytree(ram_path / "run", copy)
        with (copy / "journal" / last.name).open("r+b") as file:
            file.truncate(cut)
        (copy / "journal" / "watermark").unlink()  # as if the last sync had not been
        assert go_on(copy, cut) == truth, f"cut at byte {cut}"
        shutil.rmtree(copy)


@pytest.mark.parametrize("seed", range(8))
def test_what_an_adoption_calls_durable_survives_a_loss_of_power(
    ram_path: Path, truth: dict[str, Any], seed: int
) -> None:
    """Rows that the dead owner wrote and never synced are durable once another owner has counted them."""
    dice = random.Random(seed)
    platform = PowerCut(ram_path / "shelf")
    root = ram_path / "root"
    owner = Owner.begin(root / "run", dice, platform)
    for _, _ in zip(range(dice.randint(5, 60)), owner.steps(), strict=False):
        pass
    owner.abandon()
    platform.sync_directory(root)
    adopted = Owner.adopt(root / "run", dice, platform)
    durable = adopted.durable() | {"": adopted.notes}
    platform.lose_power(root, ram_path / "after", dice)
    adopted.abandon()
    again = Owner.adopt(ram_path / "after" / "run", dice)
    found = again.durable() | {"": again.notes}
    assert all(found[name] >= seq for name, seq in durable.items()), (
        f"{durable} were durable, {found} are there"
    )
    again.push_all()
    assert content(again.seal()) == truth


@pytest.mark.crash
@pytest.mark.timeout(120 + 2 * KILLS)
def test_every_durable_row_is_there_once_after_sigkills_of_one_owner_after_another(
    ram_path: Path, truth: dict[str, Any]
) -> None:
    """Random moments, small segments, background sealing, carries: the digest is that of one owner."""
    base = random.SystemRandom().randrange(10**6)
    told = subprocess.run(
        [sys.executable, str(CHILD), str(ram_path), str(base), str(max(4, KILLS // 5))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, f"base {base}: {told.stderr}"
    lines = [json.loads(line) for line in told.stdout.splitlines()]
    assert sum(line["kills"] for line in lines) >= max(4, KILLS // 5)
    for line in lines:
        assert line["digest"] == truth["digest"], f"base {base}, {line}"
        assert verify(Path(line["path"]), deep=True) == []
