"""A session that dies at any moment: sealed episodes are whole, the open one comes back but for four pictures."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tests.crash.milestone import until_finished
from tests.crash.observe_child import CAMERAS, PROGRESS, length_of, recorder
from tests.observe.toy import DT_NS, World, started

import gapless
from gapless.errors import GaplessError
from gapless.testing.power_cut import PowerCut

KILLS = max(50, int(os.environ.get("GAPLESS_KILLS", "0")) // 10)
MAX_LOST = 4
ROOT = Path(__file__).resolve().parents[2]


def kill_one(folder: Path, seed: int) -> tuple[int, int, int]:
    """Record until a random moment after none to three sealed episodes; return what the process told then."""
    folder.mkdir()
    progress = folder / "progress"
    progress.write_bytes(bytes(PROGRESS.size))
    command = [
        sys.executable,
        "-m",
        "tests.crash.observe_child",
        str(folder / "store"),
        str(progress),
        str(seed),
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "go\n"
        until_finished(progress, seed % 4)
        time.sleep(random.Random(-seed).uniform(0.0, 0.8))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    sealed, episode, instants = PROGRESS.unpack(progress.read_bytes())
    return sealed, episode, instants


def check(store: Path, seed: int, told: tuple[int, int, int]) -> tuple[int, int]:
    """Recover the store and compare all of it with the truth; return sealed episodes and recovered pictures."""
    sealed, open_episode, instants = told
    with gapless.connect(store) as client:
        for name in client.list_sequences():
            if client.sequence_handler(name).state == "open":
                client.recover(name)
        outcomes = {name: client.sequence_handler(name).outcome for name in client.list_sequences()}
        complete = [name for name, outcome in outcomes.items() if outcome == "completed"]
        assert len(complete) >= sealed
        for number in range(sealed):
            assert outcomes[f"s/episode-{number:06d}"] == "completed"
        pictures = 0
        for name, outcome in outcomes.items():
            assert [f for f in client.verify(name, deep=True) if f.severity == "error"] == []
            number = int(name[-6:])
            if outcome == "completed":
                check_rows(client, name, least=length_of(seed, number), most=length_of(seed, number), lost=0)
            else:
                assert outcome == "interrupted"
                least = instants if number == open_episode else 0
                pictures += check_rows(client, name, least=0, most=length_of(seed, number), lost=None)
                check_pictures(client, name, least=max(0, least - MAX_LOST))
    return len(complete), pictures


def check_rows(client: gapless.Client, name: str, *, least: int, most: int, lost: int | None) -> int:
    """Compare the rows with the truth, and, where none may be missing, the pictures; return the rows."""
    handler = client.sequence_handler(name)
    if "wheel" not in handler.topics:
        assert least == 0
        return 0
    angles = handler.topic("wheel").to_arrow()["angle"].to_numpy()
    assert least <= len(angles) <= most
    assert np.array_equal(angles, np.arange(len(angles)) / 64)
    if lost == 0:
        check_pictures(client, name, least=most)
        for camera in CAMERAS:
            assert handler.topic(f"{camera}/frames").rows == most
    return len(angles)


def check_pictures(client: gapless.Client, name: str, *, least: int) -> None:
    """Compare each camera's pictures with the truth; there are at least so many."""
    handler = client.sequence_handler(name)
    for camera in CAMERAS:
        if camera not in handler.topics:
            assert least <= 0
            continue
        found = list(handler.topic(camera).frames())
        assert len(found) >= least, f"{camera}: {len(found)} of at least {least}"
        for number, (time_ns, pixels) in enumerate(found):
            assert time_ns == number * DT_NS
            assert abs(float(pixels[:, 4:60].mean()) - number) < 3


@pytest.mark.crash
@pytest.mark.timeout(120 + 20 * KILLS)
def test_a_session_killed_at_any_moment_loses_no_sealed_episode_and_four_pictures_at_most(
    tmp_path: Path,
) -> None:
    """Start-up is outside the window; the kill meets rows, encoders, seals and the boundary between episodes."""
    base = random.SystemRandom().randrange(10**6) * 10_000

    def one(seed: int) -> tuple[int, int]:
        told = kill_one(tmp_path / str(seed), seed)
        found = check(tmp_path / str(seed) / "store", seed, told)
        shutil.rmtree(tmp_path / str(seed))
        return found

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(one, range(base, base + KILLS)))
    assert sum(complete for complete, _ in found) > KILLS
    assert sum(rows for _, rows in found) > KILLS


@pytest.mark.crash
@pytest.mark.timeout(600)
def test_bytes_that_were_not_synced_may_be_gone_and_every_sealed_episode_loads(ram_path: Path) -> None:
    """The power fails after random operations: what was sealed is whole, what was open is a prefix or not there."""
    (ram_path / "store").mkdir()
    power = PowerCut(ram_path / "shelf")
    power.sync_directory(ram_path)
    power.sync_directory(ram_path / "store")
    dice = random.Random(11)
    copies: list[tuple[Path, int]] = []
    sealed = 0
    lock = threading.Lock()

    def cut(operation: str) -> None:
        with lock:
            if dice.random() < 0.07:
                target = ram_path / f"cut{len(copies)}"
                known = sealed
                power.lose_power(ram_path / "store", target, dice)
                copies.append((target, known))

    world = World()
    observer = started(
        gapless.connect(ram_path / "store", platform=power, flush_ms=20), [recorder(world)], data_hz=100
    )
    power.after_each = cut
    for episode in range(4):
        observer.begin_episode()
        world.reset()
        for instant in range(length_of(5, episode)):
            world.step = instant
            observer.observe(instant, world.time_ns)
        observer.end_episode(success=True)
        sealed = episode + 1
    power.after_each = None
    observer.end_session()
    assert len(copies) > 20
    for target, known in copies:
        check_cut(target, known)
        shutil.rmtree(target)


def check_cut(store: Path, sealed: int) -> None:
    """Compare what a power cut left with the truth."""
    with gapless.connect(store) as client:
        for name in client.list_sequences():
            if client.sequence_handler(name).state == "open":
                client.recover(name)
        for number in range(sealed):
            name = f"s/episode-{number:06d}"
            assert client.sequence_handler(name).outcome == "completed"
            check_rows(client, name, least=length_of(5, number), most=length_of(5, number), lost=0)
        for name in client.list_sequences():
            most = length_of(5, int(name[-6:]))
            check_rows(client, name, least=0, most=most, lost=None)
            check_pictures(client, name, least=0)


def test_the_truth_of_these_tests_can_fail(tmp_path: Path) -> None:
    """A picture that is not what it must be is noticed."""
    world = World()
    with gapless.connect(tmp_path) as client, started(client, [recorder(world)], data_hz=100) as observer:
        observer.begin_episode()
        for instant in range(8):
            world.step = instant if instant != 6 else 60
            observer.observe(instant, instant * DT_NS)
        name = observer.end_episode(success=True)
        with pytest.raises(AssertionError):
            check_pictures(client, name, least=8)
        with pytest.raises((AssertionError, GaplessError)):
            check_rows(client, name, least=9, most=9, lost=None)
