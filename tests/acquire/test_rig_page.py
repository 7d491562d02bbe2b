"""docs/rig.md says of every table of a rig what the program takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from gapless.acquire.channel import ChannelSpec
from gapless.acquire.device_config import PolledConfig, SafeState
from gapless.acquire.problem import FINDINGS
from gapless.acquire.settings import RecordingSpec, RunSettings, SetpointSpec

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "rig.md").read_text(encoding="utf-8")
TABLES: list[tuple[str, type[BaseModel]]] = [
    ("[run]", RunSettings),
    ("[devices.NAME]", PolledConfig),
    ("[[channels]]", ChannelSpec),
    ("[recording]", RecordingSpec),
    ("[setpoints.NAME]", SetpointSpec),
]


def section(title: str) -> str:
    """Return the text under a heading."""
    found = re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^##)", PAGE, re.M | re.S)
    assert found is not None, title
    return found[1]


def rows(title: str) -> dict[str, str]:
    """Return what the page says is the default of each key of a table."""
    cells = re.findall(r"^\| (`.*?) \| ?(.*?) ?\| .* \|$", section(title), re.M)
    return {key: default for names, default in cells for key in re.findall(r"`(\w+)`", names)}


def written(default: Any) -> str:
    """Return how the page writes a default."""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, int | float):
        return f"{default:.15g}"
    if isinstance(default, tuple):
        return "`[" + ", ".join(f'"{item}"' for item in default) + "]`"
    return f"`{default}`" if default else '`""`'


@pytest.mark.parametrize(("table", "model"), TABLES, ids=[table for table, _ in TABLES])
def test_every_key_and_default_is_told(table: str, model: type[BaseModel]) -> None:
    """The page has the keys of the model, no other, and their defaults."""
    told = rows(f"`{table}`")
    assert set(told) == set(model.model_fields)
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if field.is_required() or default == {}:
            assert told[name] == "", name
        elif default is None or default == ():
            assert told[name] in ("none", "`[]`") or " " in told[name], name
        else:
            assert told[name] == written(default), name


def test_the_safe_state_s_keys_are_told() -> None:
    """They stand in a sentence, with their defaults."""
    words = section("`[devices.NAME]`")
    for name, field in SafeState.model_fields.items():
        assert f"`{name}`" in words
        if not field.is_required():
            assert f"{written(field.default)}" in words


def test_every_code_is_told() -> None:
    """The page lists the codes that `gapless explain` knows."""
    told = re.findall(r"^\| `(R\d+)` \|", section("What is wrong with a rig"), re.M)
    assert told == sorted(FINDINGS)
