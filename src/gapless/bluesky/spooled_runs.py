"""Runs that went on in a spool while their server was away, brought to it on request."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from gapless.bluesky.delivery_report import DeliveredRun, Delivery
from gapless.bluesky.spool import FOLDER
from gapless.bluesky.stored_run import StoredRun, is_run
from gapless.errors import Unreachable

if TYPE_CHECKING:
    from gapless.client.remote.remote_client import RemoteClient

_PATIENCE_S: Final = 30.0


def store_of(source: Path) -> Path | None:
    """Return the store that ``source`` is, or whose spool it is; None for other files of documents."""
    if (source / FOLDER).is_dir():
        return source
    return source.parent if source.name == FOLDER and source.is_dir() else None


def deliver_spooled(source: Path, client: RemoteClient, report: Delivery) -> None:
    """Bring what waits in the store ``source``, or in its spool, to its server; write down what became of it.

    What was recorded for another server stays, which is a finding, as is all that this one refuses. Raises
    Unreachable where it does not answer.
    """
    from gapless.client.remote.deliver import deliver_all
    from gapless.client.remote.spool import SpoolStore, name_in
    from gapless.store.recover import read_header

    folder = store_of(source)
    if folder is None:
        return
    store = SpoolStore(folder)
    headers = {name_in(bundle): read_header(bundle) for bundle in store.waiting()}
    if not report.dry_run and headers:
        _, hindered = deliver_all(folder, client._pool, timeout_s=_PATIENCE_S, from_anywhere=False)
        for name, error in hindered.items():
            if isinstance(error, Unreachable):
                raise error
            report.find("B106", None, str(error))
            headers.pop(name, None)
    for header in headers.values():
        layer = header["name"] if header["base"] else None
        report.runs.append(_told(client, header["base"]["name"] if layer else header["name"], layer, report))


def _told(client: RemoteClient, sequence: str, layer: str | None, report: Delivery) -> DeliveredRun:
    found = DeliveredRun("", sequence, "sent", layer=layer)
    if not report.dry_run:
        reader = client.sequence_handler(sequence).reader
        if is_run(reader):
            run = StoredRun(reader)
            found.uid, found.stop = run.uid, "delivered" if run.stop else "missing"
    return found
