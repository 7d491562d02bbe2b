"""A run's status as lines of plain text, for `gapless run status` and `gapless watch`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gapless.cli import output

_EVENTS_SHOWN = 5


def status_lines(status: dict[str, Any]) -> list[str]:
    """Return headline, questions, devices, channels, queues, countdown and the last events."""
    return [
        _headline(status),
        *_prompts(status),
        *_devices(status["devices"]),
        *_channels(status["channels"]),
        *_queues(status),
        *(event_line(event) for event in status["events"][-_EVENTS_SHOWN:]),
    ]


def status_line(status: dict[str, Any]) -> str:
    """Return the run in one line: state, values with units, what waits for the disk."""
    values = ", ".join(
        f"{name} {_value(sample)} {sample['unit']}".rstrip() + (" !" if sample["status"] else "")
        for name, sample in status["channels"].items()
    )
    waiting = status["writer"]["waiting_rows"]
    disk = "" if waiting is None else f"; {output.count(waiting)} rows not durable yet"
    return f"{status['state']} {status['elapsed_s']:.1f} s  {values}{disk}"


def event_line(event: dict[str, Any]) -> str:
    """Return an event in one line."""
    time = output.local_time(event["timestamp_ns"])
    return f"{time}  {event['severity']:<7}  {event['kind']}  {event['message']}".rstrip()


def flags_text(status: int) -> str:
    """Return the names of a sample's flags, in small letters; nothing for a good one."""
    if not status:
        return ""
    from gapless.acquire.emission import SampleStatus

    return ", ".join(flag.name.lower() for flag in SampleStatus(status) if flag.name is not None)


def _headline(status: dict[str, Any]) -> str:
    outcome = f" ({status['outcome']})" if status.get("outcome") else ""
    procedure = status.get("procedure") or {}
    text = f"  {procedure['text']}" if procedure.get("text") else ""
    return f"{status['sequence']}  {status['state']}{outcome}  {status['elapsed_s']:.1f} s{text}"


def _prompts(status: dict[str, Any]) -> Iterator[str]:
    for prompt in (status.get("procedure") or {}).get("prompts", ()):
        yield (
            f"asks: {prompt['text']}  (`gapless run confirm {status['sequence']} ANSWER`: "
            f"{', '.join(prompt['choices'])})"
        )


def _devices(devices: dict[str, Any]) -> list[str]:
    rows = []
    for name, device in devices.items():
        age_s = device["age_s"]
        age = "waiting" if age_s is None else f"{age_s:.1f} s ago"
        rows.append([name, output.rate(device["rate_hz"]), output.count(device["readings"]), age])
    return output.table(["DEVICE", "RATE/s", "READINGS", "LAST"], rows, right=frozenset({1, 2, 3}))


def _channels(channels: dict[str, Any]) -> list[str]:
    rows = [
        [name, _value(sample), sample["unit"], flags_text(sample["status"])]
        for name, sample in channels.items()
    ]
    return output.table(["CHANNEL", "VALUE", "UNIT", "STATUS"], rows, right=frozenset({1}))


def _value(sample: dict[str, Any]) -> str:
    return "-" if sample["value"] is None else output.number(sample["value"], 6)


def _queues(status: dict[str, Any]) -> Iterator[str]:
    depths = [f"{name} {hop['depth']}" for name, hop in status["hops"].items() if "depth" in hop]
    waiting = status["writer"]["waiting_rows"]
    disk = "" if waiting is None else f"disk: {output.count(waiting)} rows not durable yet"
    yield "; ".join(part for part in (f"queues: {', '.join(depths)}" if depths else "", disk) if part)
    saturation = status["saturation"]
    if saturation.get("worst"):
        left_s = max(0.0, saturation["deadline_s"] - saturation["held_s"])
        yield f"held: {saturation['worst']}, safe shutdown in {left_s:.1f} s"
