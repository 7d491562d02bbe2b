"""Runs that went on in a spool while their server was away, brought to it on request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gapless.bluesky.delivery_report import DeliveredRun, Delivery
from gapless.bluesky.spool import FOLDER
from gapless.bluesky.stored_run import StoredRun, is_run
from gapless.errors import GaplessError, NotFound, Unreachable

if TYPE_CHECKING:
    from gapless.bluesky.spooled_run import RunDocuments, WaitingBundle
    from gapless.client.remote.remote_client import RemoteClient
    from gapless.store.layout import Bundle

_PATIENCE_S: Final = 30.0


def store_of(source: Path) -> Path | None:
    """Return the store that ``source`` is, or whose spool it is; None for other files of documents."""
    if (source / FOLDER).is_dir():
        return source
    return source.parent if source.name == FOLDER and source.is_dir() else None


def deliver_spooled(source: Path, client: RemoteClient, report: Delivery) -> dict[str, RunDocuments]:
    """Bring what waits in the store ``source``, or in its spool, to its server; write down what became of it.

    What was recorded for another server stays, which is a finding, as is all that this one refuses. A dry run
    asks the server what it has, and returns by uid the runs that a real one would find there afterwards. Raises
    Unreachable where it does not answer.
    """
    from gapless.client.remote.deliver import deliver_all
    from gapless.client.remote.spool import SpoolStore

    folder = store_of(source)
    if folder is None:
        return {}
    waiting, unreadable = _looked_at(SpoolStore(folder).waiting())
    if report.dry_run:
        _find_hindered(unreadable, report)
        return _foretold(list(waiting.values()), client, report)
    if not waiting and not unreadable:
        return {}
    _, hindered = deliver_all(folder, client._pool, timeout_s=_PATIENCE_S, from_anywhere=False)
    _find_hindered(unreadable | hindered, report)
    report.runs += [_told(client, each) for name, each in waiting.items() if name not in hindered]
    return {}


def _looked_at(
    bundles: list[Bundle],
) -> tuple[dict[str, WaitingBundle], dict[str, GaplessError | OSError]]:
    """Return by its name what each bundle says of itself, or why it cannot be read."""
    from gapless.bluesky.spooled_run import WaitingBundle
    from gapless.client.remote.spool import name_in

    waiting: dict[str, WaitingBundle] = {}
    unreadable: dict[str, GaplessError | OSError] = {}
    for bundle in bundles:
        try:
            waiting[name_in(bundle)] = WaitingBundle.of(bundle)
        except (GaplessError, OSError) as error:
            unreadable[name_in(bundle)] = error
    return waiting, unreadable


def _find_hindered(hindered: Mapping[str, GaplessError | OSError], report: Delivery) -> None:
    """Write down what stays in the spool, and why; raises Unreachable, behind which nothing was tried."""
    for error in hindered.values():
        if isinstance(error, Unreachable):
            raise error
        report.find("B106", None, str(error))


def _foretold(
    waiting: list[WaitingBundle], client: RemoteClient, report: Delivery
) -> dict[str, RunDocuments]:
    found: dict[str, RunDocuments] = {}
    for each in waiting:
        try:
            each.check(client)
            documents = None if each.is_discarded else each.documents(client)
        except Unreachable:
            raise
        except (GaplessError, OSError) as error:
            report.find("B106", None, str(error))
            continue
        run = _run(each)
        report.runs.append(run)
        if documents is not None:
            run.uid, run.stop = documents.uid, "delivered" if documents.has_stop else "missing"
            before = found.get(documents.uid, documents)
            is_layer = before is not documents and before.sequence == documents.sequence
            found[documents.uid] = before.with_layer(documents) if is_layer else documents
    return found


def _run(bundle: WaitingBundle) -> DeliveredRun:
    result = "discarded" if bundle.is_discarded else "sent"
    return DeliveredRun("", bundle.sequence, result, layer=bundle.layer)


def _told(client: RemoteClient, delivered: WaitingBundle) -> DeliveredRun:
    found = _run(delivered)
    if delivered.is_discarded:
        return found
    try:
        reader = client.sequence_handler(delivered.sequence).reader
    except NotFound:  # somebody discarded it there since
        found.result = "discarded"
        return found
    if is_run(reader):
        run = StoredRun(reader)
        found.uid, found.stop = run.uid, "delivered" if run.stop else "missing"
    return found
