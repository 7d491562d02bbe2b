"""`gapless explain`: every code has a page."""

from __future__ import annotations

import json

from gapless.cli.explain import explanations
from gapless.errors import GaplessError

from .conftest import Cli


def all_errors(kind: type[GaplessError]) -> list[type[GaplessError]]:
    """Return an error class and everything below it."""
    return [kind, *(found for child in kind.__subclasses__() for found in all_errors(child))]


def test_every_error_is_explained() -> None:
    """Each error class of the package has a code of its own, a meaning and a next step."""
    kinds = [kind for kind in all_errors(GaplessError) if kind.__module__.startswith("gapless.errors.")]
    known = explanations()
    assert len({kind.code for kind in kinds}) == len(kinds)
    for kind in kinds:
        assert known[kind.code].name == kind.__name__
        assert known[kind.code].meaning
        assert known[kind.code].next


def test_findings_are_explained() -> None:
    """Findings of verify, check, doctor, of rig files and of deliveries are among the codes."""
    verbs = {entry.name for entry in explanations().values() if entry.kind == "finding"}
    assert verbs == {
        "gapless verify", "gapless check", "gapless doctor", "gapless devices check RIG.toml",
        "gapless bluesky deliver",
    }  # fmt: skip


def test_one_code_is_printed(cli: Cli) -> None:
    """`explain E401` says what the error means and what to do."""
    done = cli("explain", "e401")
    assert done.returncode == 0
    assert "StorageFailed" in done.stdout
    assert json.loads(cli("explain", "E401", "--json").stdout)["exit_code"] == 1


def test_an_unknown_code_is_not_found(cli: Cli) -> None:
    """A code that does not exist ends with 3 and names near ones."""
    done = cli("explain", "E999")
    assert done.returncode == 3
    assert "E" in done.stderr
