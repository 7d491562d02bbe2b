"""Times, sizes and tables as people and programs read them."""

from __future__ import annotations

import argparse
import io
import sys

import pytest

from gapless.cli import options, output


@pytest.mark.parametrize(
    ("length_ns", "text"),
    [(0, "0 s"), (1_500, "1.5 µs"), (2_500_000, "2.5 ms"), (12_340_000_000, "12.3 s"),
     (200_000_000_000, "3m 20s"),
     (3_720_000_000_000, "1h 02m"), (None, "-")],
)  # fmt: skip
def test_durations_use_the_unit_that_fits(length_ns: int | None, text: str) -> None:
    """A duration is told in the largest unit that says it."""
    assert output.duration(length_ns) == text


def test_rfc3339_keeps_every_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A time in JSON has nine digits and its zone, also before 1970."""
    text = output.rfc3339(1_700_000_000_123_456_789)
    assert text is not None
    assert ":20.123456789" in text
    assert text[-6] in "+-"
    before = output.rfc3339(-1)
    assert before is not None
    assert ":59.999999999" in before


def test_times_outside_the_calendar_do_not_fail() -> None:
    """A timestamp that no calendar holds is shown as the number it is."""
    far = 2**63 - 1
    assert output.rfc3339(far) is not None
    assert output.local_time(-(2**63) + 1).endswith("ns") or output.local_time(-(2**63) + 1)


def test_tables_align_numbers() -> None:
    """Columns line up and the named ones are aligned to the right."""
    assert output.table(["A", "N"], [["x", "1"], ["yy", "10"]], right=frozenset({1})) == [
        "A    N",
        "x    1",
        "yy  10",
    ]


class Narrow(io.StringIO):
    """A terminal as far as the table can tell."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def test_a_narrow_terminal_does_without_spare_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare columns go one after the other until the lines fit; a pipe has them all."""
    rows = [["x" * 10, "1" * 8, "2" * 8]]
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", Narrow())
    monkeypatch.setenv("COLUMNS", "22")
    shown = output.table(["A", "B", "C"], rows, right=frozenset({1, 2}), spare=(1, 2))
    assert shown == ["A                  C", f"{'x' * 10}  {'2' * 8}"]
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert "1" * 8 in output.table(["A", "B", "C"], rows, right=frozenset({1, 2}), spare=(1, 2))[1]


@pytest.mark.parametrize(
    ("per_s", "text"), [(None, "-"), (9.9981, "9.998"), (275_812.4, "275,812"), (2e9, "2e+09")]
)
def test_rates_are_read_at_a_glance(per_s: float | None, text: str) -> None:
    """A rate has no exponent in the range that recordings have."""
    assert output.rate(per_s) == text


@pytest.mark.parametrize(
    ("text", "value"), [("30s", 30.0), ("500ms", 0.5), ("5m", 300.0), ("2h", 7200.0), ("1.5", 1.5)]
)
def test_durations_are_read_with_their_unit(text: str, value: float) -> None:
    """A duration on the command line takes ms, s, m and h, and seconds without a unit."""
    assert options.seconds(text) == value


@pytest.mark.parametrize("text", ["0", "0s", "soon"])
def test_a_length_is_above_zero(text: str) -> None:
    """A recording of no length and a look without a pause are refused."""
    with pytest.raises(argparse.ArgumentTypeError):
        options.positive_seconds(text)


def test_a_narrow_terminal_cuts_long_names_and_a_pipe_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name too long for 80 columns ends with …; where nobody looks it is whole."""
    rows = [["n" * 100, "sealed", "1,000"]]
    heads = ["NAME", "STATE", "ROWS"]
    assert "n" * 100 in output.table(heads, rows, right=frozenset({2}), cut=0)[1]
    monkeypatch.setattr(sys, "stdout", Narrow())
    monkeypatch.setattr(output, "terminal_columns", lambda: 80)
    monkeypatch.setenv("NO_COLOR", "1")
    lines = output.table(heads, rows, right=frozenset({2}), spare=(2,), cut=0)
    assert [len(line) for line in lines] == [80, 80]
    assert "…  sealed  1,000" in lines[1]
    short = output.table(heads, [["n", "sealed", "1"]], right=frozenset({2}), cut=0)
    assert short == ["NAME  STATE   ROWS", "n     sealed     1"]
