"""What the verbs print: data to stdout, messages and progress to stderr, plain text that a pipe can read.

Standard library only: `ls` and `show` print through this module.
"""

from __future__ import annotations

import codecs
import json
import math
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import IO, Any, Final, TextIO, cast

from gapless.cli.lasting_stream import LastingStream
from gapless.errors import GaplessError

_NS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CUT_CHARACTERS = 24  # of a long name: enough to tell two recordings of a day apart
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_CONTROL_BUT_STYLES: Final = re.compile(r"(?!\x1b\[(?:0|1|2|31|32|33|36)m)[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def prepare_streams() -> None:
    """Let the output streams replace or escape what their encoding cannot carry instead of failing half-way.

    A stream that was closed before the program began leads to nobody.
    """
    codecs.register_error("gapless", _replaced)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - open as long as Python runs
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="gapless")


def outlast_readers() -> None:
    """Let what the program does go on when nobody reads its output any more: a closed terminal, a pipe that ended."""
    sys.stdout = cast("TextIO", LastingStream(sys.stdout))
    sys.stderr = cast("TextIO", LastingStream(sys.stderr))


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    """Write the program's own `…` as three dots where the encoding lacks it; escape everything else."""
    if isinstance(error, UnicodeEncodeError) and error.object[error.start] == "…":
        return "...", error.start + 1
    if isinstance(error, UnicodeEncodeError):
        error.end = error.start + 1
    return codecs.backslashreplace_errors(error)


def say(text: str = "") -> None:
    """Print a line of data to stdout; control characters that somebody recorded are shown, not obeyed."""
    print(visible(text, styles=is_terminal(sys.stdout)))


def note(text: str) -> None:
    """Print a message to stderr, so that stdout stays data; control characters are shown."""
    print(visible(text, styles=is_terminal(sys.stderr)), file=sys.stderr, flush=True)


def visible(text: str, *, styles: bool = False) -> str:
    """Return text in which control characters stand as ``\\x1b``, but for line ends, tabs and our own ``styles``."""
    pattern = _CONTROL_BUT_STYLES if styles else _CONTROL
    return pattern.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def counted(number: int, word: str) -> str:
    """Return a number with its word: ``1 row``, ``1,500 rows``."""
    return f"{count(number)} {word}{'s' if number != 1 else ''}"


def say_json(value: Any) -> None:
    """Print a value as JSON to stdout; NaN and infinities, which JSON lacks, become text."""
    print(json.dumps(plain(value), indent=2, ensure_ascii=not is_unicode(sys.stdout), allow_nan=False))


def print_error(error: GaplessError, *, as_json: bool) -> None:
    """Print a typed error to stderr, as text or as one JSON object."""
    if not as_json:
        note(f"error: {error}")
        return
    fields: dict[str, Any] = {
        "error": type(error).__name__,
        "code": error.code,
        "exit_code": error.exit_code,
        "message": error.message,
        "sequence": error.sequence,
        "topic": error.topic,
        "field": error.field,
        "next": error.advice,
    }
    note(json.dumps(plain(fields), ensure_ascii=not is_unicode(sys.stderr)))


def is_unicode(stream: IO[str]) -> bool:
    """Return whether a stream can carry any character."""
    return (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "").startswith("utf")


def is_terminal(stream: IO[str]) -> bool:
    """Return whether a person is looking: a tty that understands cursor movement."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def styled(text: str, style: str) -> str:
    """Return text in a style of the terminal, or as it is when stdout is no terminal or NO_COLOR is set."""
    if os.environ.get("NO_COLOR") or not is_terminal(sys.stdout):
        return text
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def terminal_columns(default: int = 80) -> int:
    """Return the width of the terminal; 80 for a pipe, so that output does not depend on where it runs."""
    return shutil.get_terminal_size((default, 24)).columns if sys.stdout.isatty() else default


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: frozenset[int],
    spare: Sequence[int] = (),
    cut: int | None = None,
) -> list[str]:
    """Return the lines of a table; the columns in ``right`` are aligned to the right.

    On a terminal that is too narrow, texts of the column ``cut`` are cut down to 24 characters, then the
    columns in ``spare`` are left out one after the other until the lines fit; a pipe gets everything.
    """
    body = [list(row) for row in rows]
    widths = [max(len(row[i]) for row in [list(headers), *body]) for i in range(len(headers))]
    shown = list(range(len(headers)))
    if sys.stdout.isatty():
        columns = terminal_columns()
        least = {cut: min(widths[cut], _CUT_CHARACTERS)} if cut is not None else {}
        for index in spare:
            if sum(least.get(i, widths[i]) + 2 for i in shown) - 2 <= columns:
                break
            shown.remove(index)
        if cut is not None:
            room = columns - sum(widths[i] + 2 for i in shown if i != cut)
            widths[cut] = min(widths[cut], max(least[cut], room))
            for row in body:
                if len(row[cut]) > widths[cut]:
                    row[cut] = f"{row[cut][: widths[cut] - 1]}…"

    def line(cells: Sequence[str]) -> str:
        padded = (cells[i].rjust(widths[i]) if i in right else cells[i].ljust(widths[i]) for i in shown)
        return "  ".join(padded).rstrip()

    return [styled(line(headers), "bold"), *(line(row) for row in body)]


def definition_lines(items: Iterable[tuple[str, str]], *, indent: int = 0) -> list[str]:
    """Return `label  text` lines, labels in one column, long texts wrapped beside it.

    Lines are at most 100 wide, and no wider than the terminal if there is one.
    """
    pairs = list(items)
    width = min(100, terminal_columns(100))
    column = max((len(label) for label, _ in pairs), default=0)
    lines: list[str] = []
    for label, text in pairs:
        room = max(30, width - indent - column - 2)
        wrapped = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
        for number, part in enumerate(wrapped):
            lines.append(f"{' ' * indent}{(label if number == 0 else ''):<{column}}  {part}".rstrip())
    return lines


def local_time(time_ns: int | None) -> str:
    """Return a time in the local zone to the second, for people."""
    moment = _moment(time_ns)
    if moment is None:
        return "-" if time_ns is None else f"{time_ns} ns"
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def rfc3339(time_ns: int | None) -> str | None:
    """Return a time with all nine digits and its zone, or None for no time or one outside the calendar."""
    moment = _moment(time_ns)
    if moment is None or time_ns is None:
        return None
    zone = moment.strftime("%z")
    return f"{moment.strftime('%Y-%m-%dT%H:%M:%S')}.{time_ns % _NS:09d}{zone[:3]}:{zone[3:5]}"


def _moment(time_ns: int | None) -> datetime | None:
    """Return the local datetime of a time to the second; integer arithmetic, so no digit is invented."""
    if time_ns is None:
        return None
    try:
        return (_EPOCH + timedelta(seconds=time_ns // _NS)).astimezone()
    except (OverflowError, ValueError, OSError):
        return None


def duration(length_ns: int | None) -> str:
    """Return a duration in the largest units that say it: `1h 02m`, `3m 20s`, `12.5 s`, `3.2 ms`."""
    if length_ns is None or length_ns < 0:
        return "-"
    seconds = length_ns / _NS
    if seconds >= 3600:
        return f"{int(seconds // 3600)}h {int(seconds % 3600 // 60):02d}m"
    if seconds >= 60:
        return f"{int(seconds // 60)}m {int(seconds % 60):02d}s"
    if seconds >= 1 or length_ns == 0:
        return f"{seconds:.1f} s" if length_ns else "0 s"
    if length_ns >= 100_000:
        return f"{length_ns / 1e6:.1f} ms"
    return f"{length_ns / 1e3:.1f} µs" if length_ns >= 100 else f"{length_ns} ns"


def size(count_bytes: int | None) -> str:
    """Return a number of bytes with a binary unit."""
    if count_bytes is None:
        return "-"
    value = float(count_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{count_bytes} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def count(number: int | None) -> str:
    """Return a whole number with separators."""
    return "-" if number is None else f"{number:,}"


def rate(per_s: float | None) -> str:
    """Return a rate in rows per second with four digits and never an exponent below ten million."""
    if per_s is None:
        return "-"
    return f"{per_s:,.0f}" if 1000 <= abs(per_s) < 1e7 else f"{per_s:.4g}"


def number(value: object, digits: int = 5) -> str:
    """Return a measured value in few characters; what is no number is cut to 24 characters."""
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    text = str(value)
    return text if len(text) <= 24 else f"{text[:23]}…"


class StatusLine:
    """One line on stderr that is written over; does nothing when stderr is no terminal."""

    def __init__(self) -> None:
        self.active = is_terminal(sys.stderr)

    def show(self, text: str) -> None:
        """Replace the line."""
        if self.active:
            width = shutil.get_terminal_size((80, 24)).columns - 1
            sys.stderr.write(f"\r\x1b[K{text[:width]}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self.active:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def plain(value: Any) -> Any:
    """Return the value with only what JSON knows."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)
