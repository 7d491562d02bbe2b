"""The server's log on stderr: text for people, or one JSON object in each line for programs; never a key."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, Final, TextIO

FORMATS: Final = ("text", "json")
_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_FIELDS: Final = "gapless_fields"
#: A key, or as much of one as a text that was cut still shows.
_KEY: Final = re.compile(r"gapless_[0-9a-f]{8}_[0-9a-f]+", re.IGNORECASE)
_HIDDEN: Final = "gapless_***"


def tell(log: logging.Logger, level: int, event: str, message: str, /, **fields: Any) -> None:
    """Log a line about an event, one word, with what a program wants to know of it as fields."""
    log.log(level, message, extra={"event": event, _FIELDS: fields})


def hidden(text: str) -> str:
    """Return a text without the secrets of keys: names that clients make up may hold anything."""
    return _KEY.sub(_HIDDEN, text)


def write_log(form: str, stream: TextIO | None = None) -> logging.Handler:
    """Send the log of this process to ``stream``, stderr if None; return the handler, which was added.

    ``text``: warnings and errors. ``json``: also what goes as it should, such as a session that begins.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonLine() if form == "json" else TextLine(_TEXT))
    logging.getLogger().addHandler(handler)
    logging.getLogger("gapless").setLevel(logging.INFO if form == "json" else logging.WARNING)
    return handler


class TextLine(logging.Formatter):
    """A line for people, with the traceback below it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        return hidden(super().format(record))


class JsonLine(logging.Formatter):
    """One JSON object: time (UTC, RFC 3339), level, logger, event, message, the event's fields, trace."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, without its end."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": getattr(record, "event", None),
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in getattr(record, _FIELDS, {}).items() if name not in line}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return hidden(json.dumps(line, default=str))
