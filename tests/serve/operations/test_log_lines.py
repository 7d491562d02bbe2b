"""Log lines: one JSON object each, whole, and without keys."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from gapless.serve.operations.log_lines import tell, write_log

KEY = "gapless_0a1b2c3d_" + "5e" * 32
LOG = logging.getLogger("gapless.serve")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Return what is written to; the loggers are as before in the end."""
    package = logging.getLogger("gapless")
    handlers, level = list(logging.getLogger().handlers), package.level
    yield io.StringIO()
    package.setLevel(level)
    for handler in set(logging.getLogger().handlers) - set(handlers):
        logging.getLogger().removeHandler(handler)


def test_a_line_is_one_object(stream: io.StringIO) -> None:
    """Event, message and fields are there; line ends inside them do not break the line."""
    write_log("json", stream)
    tell(LOG, logging.INFO, "refused", "two\nlines", peer="ipv4:1.2.3.4:5", message="not the message")
    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert found["time"].endswith("+00:00")
    del found["time"]
    assert found == {
        "level": "info",
        "logger": "gapless.serve",
        "event": "refused",
        "message": "two\nlines",
        "peer": "ipv4:1.2.3.4:5",
    }


def test_a_fault_has_its_trace_in_the_same_line(stream: io.StringIO) -> None:
    """A traceback does not spread over lines."""
    write_log("json", stream)
    LOG.error("it broke", exc_info=ValueError("why"))
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: why" in json.loads(line)["trace"]


def test_text_tells_warnings_only(stream: io.StringIO) -> None:
    """What goes as it should is for programs."""
    write_log("text", stream)
    tell(LOG, logging.INFO, "opened", "nothing of note")
    tell(LOG, logging.WARNING, "abandoned", "of note")
    assert [line.split(": ")[-1] for line in stream.getvalue().splitlines()] == ["of note"]


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("shown", [KEY, KEY.upper(), KEY[:40]])
def test_a_key_is_never_written(stream: io.StringIO, form: str, shown: str) -> None:
    """A key in a message, a field or a trace is hidden, also one that was cut."""
    write_log(form, stream)
    tell(LOG, logging.ERROR, "refused", f"no action {shown!r}", name=shown)
    LOG.error("broke: %s", shown, exc_info=ValueError(shown))
    assert shown[17:] not in stream.getvalue()
    assert "gapless_***" in stream.getvalue()
