"""Figures as Prometheus reads them: the text format 0.0.4."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Final, NamedTuple

from gapless.serve.metrics import Labels

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
Samples = Mapping[tuple[str, Labels], float]


class Family(NamedTuple):
    """What a name stands for: ``counter``, ``gauge`` or ``histogram``, and its sentence."""

    kind: str
    help: str


#: Every name that has a sentence; one without is a counter if it ends in ``_total``, else a gauge.
FAMILIES: Final[Mapping[str, Family]] = {
    "gapless_build_info": Family("gauge", "The releases that run, as labels; always 1."),
    "gapless_uptime_seconds": Family("gauge", "Time since the server began to serve."),
    "gapless_draining": Family("gauge", "1 while the server is going down."),
    "gapless_calls": Family("gauge", "Requests that are going on, streams included."),
    "gapless_connections": Family("gauge", "Connections with a request that is going on."),
    "gapless_open_writers": Family("gauge", "Sequences that clients are writing."),
    "gapless_open_sessions": Family("gauge", "Sessions that Mosaico clients are writing."),
    "gapless_requests_total": Family("counter", "Requests by Flight method, refused ones included."),
    "gapless_requests_refused_total": Family(
        "counter", "Requests that were not let in: key, limits, draining."
    ),
    "gapless_requests_failed_total": Family("counter", "Requests that ended with an error, by its code."),
    "gapless_actions_total": Family("counter", "Actions that were run, by name."),
    "gapless_action_seconds": Family("histogram", "How long actions took until their answer began."),
    "gapless_received_rows_total": Family("counter", "Rows that clients sent and the server took."),
    "gapless_received_bytes_total": Family("counter", "Bytes of the batches that clients sent."),
    "gapless_accepted_rows_total": Family("counter", "Rows of clients that became durable here."),
    "gapless_mosaico_rows_total": Family("counter", "Rows that Mosaico clients sent and the server took."),
    "gapless_unaccepted_bytes": Family("gauge", "Bytes that were taken and are not durable yet."),
    "gapless_sync_lag_seconds": Family(
        "gauge", "The longest that a row of an open sequence waited to be durable."
    ),
    "gapless_sealer_backlog_bytes": Family("gauge", "Closed journal segments that are not Parquet yet."),
    "gapless_disk_free_bytes": Family("gauge", "Room on the store's file system for this user."),
    "gapless_disk_size_bytes": Family("gauge", "Size of the store's file system."),
    "gapless_retention_owner": Family("gauge", "1 while this server holds serve.lock."),
    "gapless_retention_rounds_total": Family(
        "counter", "Times that this server looked for what is past keeping."
    ),
    "gapless_retention_deleted_total": Family("counter", "Discarded recordings that were deleted for good."),
    "gapless_retention_freed_bytes_total": Family("counter", "Bytes of files that were deleted for good."),
    "gapless_retention_recovered_total": Family(
        "counter", "Recordings whose client never came back, sealed as interrupted."
    ),
    "gapless_retention_failures_total": Family("counter", "What could not be deleted or recovered."),
    "gapless_http_requests_total": Family("counter", "HTTP requests by page and status."),
    "process_resident_memory_bytes": Family("gauge", "Memory that the process has in use."),
    "process_cpu_seconds_total": Family("counter", "Processor time of the process."),
    "process_open_fds": Family("gauge", "Files and sockets that the process has open."),
    "process_start_time_seconds": Family("gauge", "When the process began, in seconds since 1970."),
}
_PARTS: Final = ("_bucket", "_sum", "_count")
_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n"})


def render(samples: Samples) -> str:
    """Return the text of all samples, each family in one piece, the same for the same samples.

    A histogram's samples are named like its parts: ``_bucket`` with the label ``le``, ``_sum`` and ``_count``.
    """
    ordered = sorted(samples, key=_order)
    lines: list[str] = []
    for family, keys in groupby(ordered, key=lambda key: family_of(key[0])):
        lines += _family(family, keys, samples)
    return "".join(f"{line}\n" for line in lines)


def family_of(name: str) -> str:
    """Return the family that a sample belongs to: its own name, but for the parts of a histogram."""
    for part in _PARTS:
        whole = name.removesuffix(part)
        if whole != name and whole in FAMILIES and FAMILIES[whole].kind == "histogram":
            return whole
    return name


def _order(key: tuple[str, Labels]) -> tuple[str, Labels, int, float]:
    """Sort by family, then by labels, and within a histogram buckets upwards, the sum, the count."""
    name, labels = key
    part = next((number for number, part in enumerate(_PARTS) if name.endswith(part)), 0)
    rest = tuple(label for label in labels if label[0] != "le")
    return family_of(name), rest, part, float(dict(labels).get("le", "0"))


def _family(name: str, keys: Iterable[tuple[str, Labels]], samples: Samples) -> Iterable[str]:
    known = FAMILIES.get(name, Family("counter" if name.endswith("_total") else "gauge", ""))
    if known.help:
        yield f"# HELP {name} {known.help.translate(_HELP_ESCAPES)}"
    yield f"# TYPE {name} {known.kind}"
    for key in keys:
        yield f"{key[0]}{_labels(key[1])} {_number(samples[key])}"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    inside = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels)
    return f"{{{inside}}}"


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(float(value))
