"""Binary frames as a program reads them that knows the format alone, and the answers that hold them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import numpy.typing as npt
from tests.page.served import serving

_TYPES = {"f64": "<f8", "i64": "<i8", "u64": "<u8", "i32": "<i4", "u32": "<u4", "u8": "u1"}


@dataclass(frozen=True)
class Decoded:
    """A frame: header, and arrays by name."""

    header: dict[str, Any]
    columns: dict[str, npt.NDArray[Any]]
    size_bytes: int

    @property
    def base_ns(self) -> int:
        """The time that offsets count from."""
        return int(self.header["base_ns"])

    def times(self, name: str) -> list[int]:
        """Return a column of offsets as times."""
        return [self.base_ns + int(offset) for offset in self.columns[name]]

    def field(self, number: int) -> dict[str, Any]:
        """Return what the header says of a field."""
        about: dict[str, Any] = self.header["fields"][number]
        return about


def decode(data: bytes) -> Decoded:
    """Return the frame, with everything checked that the format promises."""
    assert data[:4] == b"GLF1"
    start = 8 + int.from_bytes(data[4:8], "little")
    assert start % 8 == 0
    header = json.loads(data[8:start])
    columns, end = {}, 0
    for column in header["columns"]:
        assert column["offset"] % 8 == 0
        assert column["offset"] == end, "arrays follow each other"
        kind = np.dtype(_TYPES[column["type"]])
        columns[column["name"]] = np.frombuffer(data, kind, column["length"], start + column["offset"])
        end = column["offset"] + -(-column["length"] * kind.itemsize // 8) * 8
    assert start + end == len(data)
    assert len(columns) == len(header["columns"])
    return Decoded(header, columns, len(data))


def part(name: str) -> str:
    """Return a name as one segment of a path."""
    return quote(name, safe="")


@contextmanager
def api(root: Path, work: Path, *words: str, **extra: str) -> Iterator[httpx.Client]:
    """Serve a store in a process of its own; the client's paths begin after ``/api/v1``. ``extra``: its environment."""
    with (
        serving(root, work, "--http-port", "0", *words, **extra) as site,
        httpx.Client(base_url=site.api, timeout=60, trust_env=False) as client,
    ):
        yield client
