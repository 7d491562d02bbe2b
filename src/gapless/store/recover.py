"""Recovery: sealing what a dead owner left, with the sealer that every normal end uses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gapless.errors import IntegrityError, NotFound, StorageFailed
from gapless.model.outcome import Outcome
from gapless.store import journal
from gapless.store.frame import Frame, Kind, read_payload, scan
from gapless.store.late_events import last_words_event, take_late_events
from gapless.store.layout import CUTS, Bundle, Cuts, segment_name
from gapless.store.platform import PLATFORM, Platform
from gapless.store.seal import clear_journal, seal
from gapless.store.sealer import Sealer
from gapless.store.unnoted import put_unnoted_aside
from gapless.store.watermark import read_watermark


def segment_paths(bundle: Bundle) -> list[Path]:
    """Return the journal's segments, carried ones first, each kind in its order."""
    return sorted(bundle.journal.glob("*.seg"), key=lambda p: (not p.name.startswith("carry"), p.name))


def read_header(bundle: Bundle) -> dict[str, Any]:
    """Return the sequence's header from open.json, or from any segment when that is damaged."""
    header = journal.read_checked(bundle.journal / "open.json")
    if header is not None:
        return header
    for path in segment_paths(bundle):
        for item in scan(path, None):
            if isinstance(item, Frame) and item.header.kind == Kind.OPEN:
                found: dict[str, Any] = json.loads(read_payload(path, item))
                return found
    raise IntegrityError(
        "neither open.json nor any segment tells whose journal this is",
        found=str(bundle.journal),
        next_step="nothing can be recovered from it; keep the folder and report it",
    )


def read_journal(bundle: Bundle, header: dict[str, Any], platform: Platform, cuts: Cuts = CUTS) -> Sealer:
    """Return a sealer that knows the published parts and has read every segment behind them."""
    sealer = Sealer.resume(bundle, header, platform, cuts)
    sealer.take(*[sealer.read_segment(segment) for segment in segment_paths(bundle)])
    return sealer


def recover(
    path: Path,
    platform: Platform = PLATFORM,
    *,
    outcome: Outcome | None = None,
    cause: str | None = None,
    cuts: Cuts = CUTS,
) -> dict[str, Any]:
    """Seal an unsealed bundle that no live process owns, and return its manifest.

    Every whole frame with a good CRC comes back, in order; what is damaged or missing becomes gap rows.
    What a guard of the dead owner reported becomes rows of ``_events``; one still at work is waited for, 5 s.
    Doing it twice changes nothing. Raises SequenceOwned while the owner lives.
    """
    bundle = Bundle(path)
    if not bundle.journal.exists() and not bundle.manifest.exists():
        raise NotFound("there is neither a journal nor a manifest", found=str(path))
    if bundle.manifest.exists():
        manifest = journal.read_json(bundle.manifest)
        if bundle.journal.exists() and not platform.is_locked(bundle.lock):
            clear_journal(bundle, platform)
        return manifest
    try:
        lock = platform.lock(bundle.lock)
    except FileNotFoundError:  # its owner sealed it a moment ago and took the journal away
        return journal.read_json(bundle.manifest)
    try:
        if bundle.manifest.exists():  # sealed between the look above and the lock
            clear_journal(bundle, platform)
            return journal.read_json(bundle.manifest)
        header = read_header(bundle)
        sealer = read_journal(bundle, header, platform, cuts)
        words = last_words_event(journal.read_closing(bundle))
        take_late_events(bundle, sealer, platform, also=words)
        for damage in sealer.damage:
            keep_damaged(bundle, damage, platform)
        lost = lost_durable(bundle)
        if lost is not None and lost not in sealer.damage:
            sealer.damage.append(lost)
        put_unnoted_aside(bundle, sealer.artifacts.values(), platform)
        return seal(bundle, header, sealer, platform, outcome=outcome, cause=cause)
    except OSError as error:
        raise StorageFailed(
            "the disk refused the recovery; the journal is as it was",
            found=str(error),
            next_step="free or repair the disk, then try again",
        ) from error
    finally:
        platform.close(lock)


def lost_durable(bundle: Bundle) -> dict[str, Any] | None:
    """Return a damage for bytes that the watermark calls durable and that are in no file any more."""
    mark = read_watermark(bundle.journal / "watermark")
    if mark is None or not mark.offset:
        return None
    name = segment_name(mark.segment)
    put_aside = bundle.journal / "quarantine" / name
    path = bundle.journal / name
    there = path.stat().st_size if path.exists() else 0
    if there >= mark.offset or put_aside.exists():
        return None
    if not there and any(p.name > name for p in bundle.journal.glob("[0-9]*.seg")):
        return None  # a later segment was begun: this one became parts
    reason = f"the journal had {mark.offset:,} bytes durable, {there:,} are there"
    return {"segment": name, "start": 0, "end": 0, "reason": reason}


def keep_damaged(bundle: Bundle, damage: dict[str, Any], platform: Platform) -> None:
    """Keep damaged bytes for inspection; the rest of their segment becomes parts as always.

    The segment itself is not kept: every kill in the middle of a write would cost 64 MiB for a torn frame.
    """
    segment = bundle.journal / damage["segment"]
    if not segment.exists():  # put aside whole while recording went on
        return
    folder = bundle.journal / "quarantine"
    folder.mkdir(exist_ok=True)
    with segment.open("rb") as file:
        file.seek(damage["start"])
        torn = file.read(damage["end"] - damage["start"])
    name = f"{segment.stem}-{damage['start']}-{damage['end']}.bytes"
    platform.write_atomically(folder / name, torn)
    platform.sync_directory(bundle.journal)
