"""Which sequences become episodes, in which order, and why others do not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from gapless.errors import ExportRefused, NotFound
from gapless.exchange.lerobot.export_options import ExportOptions

if TYPE_CHECKING:
    from gapless.catalog.catalog import SequenceRow
    from gapless.client.client import Client
    from gapless.client.sequence_handler import SequenceHandler


class LeftOut(NamedTuple):
    """A sequence that was named and is not in the dataset, and why."""

    sequence: str
    reason: str


def choose(
    client: Client, references: Sequence[str], options: ExportOptions
) -> tuple[list[str], list[LeftOut]]:
    """Return the names of the sequences to export in order, and those left out.

    A reference is a group, a sequence, or the beginning of sequences' names; the sequences of each come by
    name. Raises NotFound for a reference to nothing.
    """
    client.list_sequences()  # brings the catalog up to date
    rows = client.catalog.sequences(order="name")
    named = {row.name: row for reference in references for row in _referred(rows, reference)}
    chosen: list[str] = []
    left_out: list[LeftOut] = []
    for row in named.values():
        reason = _why_not(client, row, options)
        if reason is None:
            chosen.append(row.name)
        else:
            left_out.append(LeftOut(row.name, reason))
    wanted = set(chosen if options.only is None else _places(chosen, options.only))
    wanted -= set(_places(chosen, options.skip))
    left_out += [LeftOut(name, "not chosen") for name in chosen if name not in wanted]
    return [name for name in chosen if name in wanted], left_out


def success_of(sequence: SequenceHandler) -> bool | None:
    """Return whether the episode's task was done; None if nobody judged it, or the recording broke off."""
    if "episode" not in sequence.topics or "success" not in sequence.topic("episode").schema.names:
        return None
    values = sequence.topic("episode").reader.to_arrow(["success"])["success"].to_pylist()
    return bool(values[-1]) if values and values[-1] is not None else None


def _referred(rows: Sequence[SequenceRow], reference: str) -> list[SequenceRow]:
    for found in (
        [row for row in rows if row.group == reference],
        [row for row in rows if row.name == reference],
        [row for row in rows if reference and row.name.startswith(reference)],
    ):
        if found:
            return found
    raise NotFound("there is no group and no sequence of that name", found=reference)


def _why_not(client: Client, row: SequenceRow, options: ExportOptions) -> str | None:
    if row.state != "sealed":
        return row.status
    if row.outcome not in options.outcomes:
        return str(row.outcome)
    if options.success is not None:
        success = success_of(client.sequence_handler(row.name))
        if success is not options.success:
            return {True: "success", False: "no success", None: "not judged"}[success]
    return None


def _places(chosen: Sequence[str], wanted: Iterable[int | str]) -> list[str]:
    """Return the names that numbers and names stand for."""
    names = []
    for one in wanted:
        if isinstance(one, int) and not 0 <= one < len(chosen):
            raise ExportRefused(
                "there is no episode of that number", found=one, expected=f"0 to {len(chosen) - 1}"
            )
        if isinstance(one, str) and one not in chosen:
            raise NotFound("the sequence is not among those to export", sequence=one)
        names.append(chosen[one] if isinstance(one, int) else one)
    return names
