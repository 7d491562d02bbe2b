"""Measures the candidates of decision 0001, interleaved; prints min / median / max GB/s."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
import zlib
from collections.abc import Callable

import crc32c


def candidates() -> dict[str, Callable[[bytes], int]]:
    """Return the checksum functions that are installed, by package."""
    found: dict[str, Callable[[bytes], int]] = {"crc32c": crc32c.crc32c, "zlib.crc32": zlib.crc32}
    try:
        import google_crc32c
    except ImportError:
        print("google-crc32c is not installed; left out", file=sys.stderr)
    else:
        found["google-crc32c"] = google_crc32c.value
    return found


def main() -> None:
    """Print one line per block size."""
    print(f"Python {platform.python_version()}, zlib {zlib.ZLIB_RUNTIME_VERSION}, {os.cpu_count()} cores")
    for size in (256, 64 << 10, 1 << 20, 64 << 20):
        data = os.urandom(size)
        times = min(20_000, max(1, (64 << 20) // size))
        rates: dict[str, list[float]] = {}
        for _ in range(7):
            for name, checksum in candidates().items():
                start = time.perf_counter()
                for _ in range(times):
                    checksum(data)
                rates.setdefault(name, []).append(size * times / (time.perf_counter() - start) / 1e9)
        line = ", ".join(
            f"{name} {min(r):.1f} / {statistics.median(r):.1f} / {max(r):.1f}" for name, r in rates.items()
        )
        print(f"{size:>9} bytes: {line}")


if __name__ == "__main__":
    main()
