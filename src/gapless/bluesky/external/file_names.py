"""The names of the numbered files of one resource: a URI and a template, in either of its two spellings."""

from __future__ import annotations

import re
from pathlib import Path

from gapless.bluesky.external.file_uri import local_path
from gapless.errors import DocumentRefused

_NUMBER = re.compile(r"%([-+ 0#]*)(\d*)(?:\.(\d+))?[diu]")


class FileNames:
    """Maps the number of a file, from 0, to its path.

    ``template`` is ``"img_{:05d}.tif"``, or ``"%s%s_%06d.tif"`` as area detectors write it, whose first
    ``%s`` is the folder and is dropped where two are given, the next the ``filename``. The name is put
    behind the URI as it is; where no such file exists but one with a slash between them does, that one is
    meant.
    """

    def __init__(self, uri: str, template: str, filename: str = "") -> None:
        self.uri = uri
        self._template = compile_template(template, filename)
        self._joint: str | None = None
        try:
            self._template.format(0)
        except (ValueError, IndexError, KeyError, AttributeError) as error:
            raise DocumentRefused(
                "a stream_resource's template cannot be filled with a number", found=template
            ) from error

    def uri_of(self, number: int) -> str:
        """Return the URI of one file."""
        name = self._template.format(number)
        if self._joint is None:
            self._joint = self._find_joint(name)
        return self._joined(name, self._joint)

    def path(self, number: int) -> Path:
        """Return the path of one file, whether it exists or not."""
        return local_path(self.uri_of(number))

    def _find_joint(self, name: str) -> str | None:
        """Return what stands between URI and name; None while no file shows which."""
        if self.uri.endswith("/") or name.startswith("/"):
            return ""
        for joint in ("", "/"):
            if local_path(self._joined(name, joint)).exists():
                return joint
        return None

    def _joined(self, name: str, joint: str | None) -> str:
        if self.uri.endswith("/") and name.startswith("/"):
            return self.uri + name.lstrip("/")
        return f"{self.uri}{joint or ''}{name}"


def compile_template(template: str, filename: str = "") -> str:
    """Return a template in the spelling of ``str.format``, the filename filled in.

    ``"%s%s_%06d.tif"`` becomes ``"<filename>_{:06d}.tif"``. A template that holds ``{filename}`` gets it
    there.
    """
    if "%" not in template:
        return template.replace("{filename}", _literal(filename))
    text = template.replace("%s", "\0", 1).replace("%s", "").replace("\0", _literal(filename))
    return _NUMBER.sub(_number_format, text)


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _number_format(match: re.Match[str]) -> str:
    flags, width, precision = match.groups()
    align = "<" if "-" in flags else ""
    sign = "+" if "+" in flags else " " if " " in flags else ""
    digits = max(int(width or 0), int(precision or 0)) if precision else int(width or 0)
    zero = "0" if ("0" in flags or precision) and not align else ""
    return f"{{:{align}{sign}{zero if digits else ''}{digits or ''}d}}"
