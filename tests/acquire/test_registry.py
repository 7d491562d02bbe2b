"""Adapters by name: those of the package, and those that an installed package brings."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import environment

from gapless.acquire.problem import RigProblems
from gapless.acquire.registry import BUILT_IN, adapter_class, adapter_names, offers
from gapless.acquire.rig import Rig
from gapless.acquire.trial import try_devices
from gapless.errors import NotFound, RigRefused

#: What each extra is installed for.
MODULES = {"modbus": "pymodbus", "mqtt": "aiomqtt", "epics": "caproto", "opcua": "asyncua", "video": "av"}
DICE = """
from gapless.acquire.adapter import DeviceField
from gapless.acquire.device_config import PolledConfig
from gapless.acquire.kit import PolledDevice


class DiceConfig(PolledConfig):
    eyes: int = 6


class Dice(PolledDevice):
    family = "dice"
    Config = DiceConfig

    @property
    def resource_id(self):
        return f"sim:{self.name}"

    def fields(self):
        return [DeviceField("eyes", "int64")]

    async def connect(self):
        pass

    async def disconnect(self):
        pass

    async def read(self):
        return [self.config.eyes]


class Loaded(Dice):
    def __init__(self, name, config):
        raise ZeroDivisionError("no side is down")


class Half:
    Config = DiceConfig

    def __init__(self, name, config):
        self.expected_rate_hz = 1.0

    def channel_fields(self):
        return []
"""
ENTRY_POINTS = """
[gapless.devices]
dice = gapless_dice:Dice
host = gapless_dice:Dice
loaded = gapless_dice:Loaded
half = gapless_dice:Half
function = json:dumps
broken = gapless_broken_dice:Dice
nowhere = gapless_no_such_module:Dice
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put a folder on the path that holds an installed package, as pip leaves it; return the folder."""
    site = tmp_path / "site"
    info = site / "gapless_dice-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "gapless_dice.py").write_text(DICE)
    (site / "gapless_broken_dice.py").write_text("raise OSError('the driver is not there')\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gapless-dice\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    yield site
    for name in ("gapless_dice", "gapless_broken_dice"):
        sys.modules.pop(name, None)


def refusal(adapter: str) -> tuple[str, str]:
    """Return code and words of the one problem that a device with this adapter is."""
    with pytest.raises(RigProblems) as caught:
        Rig.of({"devices": {"d": {"adapter": adapter}}})
    (problem,) = caught.value.problems
    assert problem.path[:2] == ("devices", "d")
    return problem.code, problem.message


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_every_adapter_of_the_package_is_there(name: str) -> None:
    """Each name of the table leads to a class with a configuration, whose family is its own."""
    pytest.importorskip(MODULES.get(BUILT_IN[name].extra or "", "pydantic"))
    kind = adapter_class(name)
    assert kind.Config.model_fields["adapter"].is_required()
    assert isinstance(kind.family, str)


def test_the_adapters_of_others_are_found(installed: Path) -> None:
    """A package's device is named in a rig, checked by its own configuration, and read."""
    assert "dice" in adapter_names()
    rig = Rig.of({
        "devices": {"die": {"adapter": "dice", "eyes": 4, "rate_hz": 50}},
        "channels": {"eyes": {"device": "die", "field": "eyes", "dtype": "int64"}},
    })  # fmt: skip
    (trial,) = try_devices(rig)
    assert (trial.problem, trial.first_record) == ("", "eyes = 4")
    with pytest.raises(RigProblems, match="did you mean eyes"):
        Rig.of({"devices": {"die": {"adapter": "dice", "eye": 4}}})


def test_a_broken_package_is_named_and_harms_no_other(installed: Path) -> None:
    """What breaks at import, in the making or by not being an adapter is a problem of that device alone."""
    assert refusal("broken") == (
        "R009",
        "the adapter 'broken' of gapless_broken_dice:Dice breaks when it is imported: "
        "OSError: the driver is not there",
    )
    assert refusal("nowhere")[0] == "R009"
    assert "is none" in refusal("function")[1]
    assert refusal("loaded") == ("R009", "the adapter 'loaded' breaks: ZeroDivisionError: no side is down")
    assert "lacks part" in refusal("half")[1]
    assert Rig.of({"devices": {"d": {"adapter": "dice"}}}).devices["d"].adapter_class.family == "dice"
    with pytest.raises(RigRefused, match="gapless_broken_dice"):
        adapter_class("broken")


def test_what_can_be_used_is_told_of_each(installed: Path) -> None:
    """The list has every adapter; a name of the package is never taken over."""
    told = {(offer.name, offer.about): offer.problem for offer in offers()}
    assert {name for name, _ in told} == set(adapter_names())
    assert told["dice", "from gapless_dice:Dice"] == ""
    assert told["host", "from gapless_dice:Dice"] == "hidden by the adapter of gapless"
    assert "the driver is not there" in told["broken", "from gapless_broken_dice:Dice"]
    assert adapter_class("host").__module__ == "gapless.acquire.devices.host"


def test_an_unknown_adapter_is_not_found() -> None:
    """The error lists what there is."""
    with pytest.raises(NotFound, match="simulated"):
        adapter_class("steam")


WITHOUT = """
import sys
from importlib.machinery import PathFinder


class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] == "pymodbus" else super().find_spec(name, path, target)


sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
"""


def run_without_pymodbus(script: str) -> str:
    """Return what a script prints in a process where pymodbus is not installed."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + textwrap.dedent(script)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_missing_extra_is_named() -> None:
    """The class raises MissingExtra, the rig has a problem, the list has the command that installs it."""
    printed = run_without_pymodbus("""
        from gapless.acquire.problem import RigProblems
        from gapless.acquire.registry import adapter_class, offers
        from gapless.acquire.rig import Rig
        from gapless.errors import MissingExtra

        try:
            adapter_class("modbus")
        except MissingExtra as error:
            print(error)
        print([offer.problem for offer in offers() if offer.name in ("modbus", "host")])
        try:
            Rig.of({"devices": {"d": {"adapter": "modbus"}, "e": {"adapter": "host", "rate": 1}}})
        except RigProblems as error:
            for problem in error.problems:
                print(problem.code, problem.message, "->", problem.next_step)
    """)
    first, second, third, fourth = printed.splitlines()
    install = "pip install 'gapless[modbus]'"
    assert first.startswith("the adapter 'modbus' needs a library")
    assert install in first
    assert second == repr(["", install])
    assert third.startswith("R008 the adapter 'modbus' needs a library")
    assert third.endswith(f"{install} -> {install}")
    assert fourth.startswith("R002")


def test_the_list_of_adapters_imports_no_library() -> None:
    """Naming a device costs the import of that device's library, and of no other."""
    printed = run_without_pymodbus("""
        from gapless.acquire.registry import adapter_class, offers
        offers()
        adapter_class("host")
        print(sorted({"av", "aiomqtt", "asyncua", "caproto", "serial", "pint"} & set(sys.modules)))
    """)
    assert printed == "[]\n"
