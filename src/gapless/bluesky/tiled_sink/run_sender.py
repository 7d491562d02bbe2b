"""Sending runs that a store has to a Tiled server, on request; they stay in the store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import httpx

from gapless.bluesky.delivery_report import DeliveredRun, Delivery
from gapless.bluesky.run_reference import run_uid
from gapless.bluesky.tiled_sink.claim import Claim
from gapless.bluesky.tiled_sink.deliver_run import deliver_run, last_words
from gapless.bluesky.tiled_sink.delivered import Delivered
from gapless.bluesky.tiled_sink.server import Server, is_unanswered, refused
from gapless.errors import DeliveryFailed, SequenceOwned

if TYPE_CHECKING:
    from gapless.client.client import Client
    from gapless.client.sequence_handler import SequenceHandler


def sealed_runs(client: Client) -> list[str]:
    """Return the names of the sealed runs of a store, oldest first."""
    from gapless.model.expression import Sequence

    sealed = Sequence.Q.user_metadata["start.uid"].exists() & Sequence.Q.state.eq("sealed")
    return [item.name for item in client.query(sealed, order="created")]


def send_runs(client: Client, url: str, sequences: Iterable[str], report: Delivery) -> None:
    """Bring runs to the Tiled server at a URL, so that it holds each row once, and report each.

    What the server has is found by reading it back; again changes nothing. A run that it refuses, that is not
    sealed or that a live writer is sending is a finding, and the others go on. With ``report.dry_run`` nobody
    asks the server. Raises DeliveryFailed when the server does not answer or wants a key, and SequenceOwned while
    another process sends runs of the store on request.
    """
    server, claim = Server.of_url(url), Claim(client.path)
    try:
        if not claim.take_requests():
            raise SequenceOwned(
                "another process is sending runs of this store",
                found=str(client.path),
                next_step="do it again when that has ended",
            )
        if not report.dry_run:
            server.connect()
        for name in sequences:
            _send(client.sequence_handler(name), server, claim, report)
    finally:
        claim.release()
        server.close()


def _send(handler: SequenceHandler, server: Server, claim: Claim, report: Delivery) -> None:
    uid = str(run_uid(handler.metadata))
    run = DeliveredRun(uid, handler.name, "sent")
    if handler.state != "sealed":
        _find_unsealed(handler, report)
        return
    if report.dry_run:
        run.stop = "store" if "stop" in handler.metadata else "missing"
        report.runs.append(run)
        return
    if not _is_free(handler, server, claim):
        report.find("B106", None, f"{handler.name}: a live writer is sending it")
        return
    try:
        done = Delivered.told_by(uid, server.metadata_of(uid), last_words(handler))
        run.result = "there" if done is not None else "sent"
        done = done or deliver_run(handler, server)
    except (DeliveryFailed, httpx.HTTPError) as error:
        failure = error if isinstance(error, DeliveryFailed) else refused(error, uid)
        if is_unanswered(failure.__cause__ or error):
            raise failure from error
        report.find("B106", None, str(failure))
        return
    run.stop = "delivered" if done.has_stop else "missing"
    run.only_here = done.findings
    report.runs.append(run)


def _find_unsealed(handler: SequenceHandler, report: Delivery) -> None:
    if handler.state == "open" and handler.owner_alive:
        report.find("B104", None, f"{handler.name} is being recorded by a live process")
        return
    step = f"gapless {'recover' if handler.state == 'open' else 'seal'} {handler.name}"
    report.find("B106", None, f"{handler.name} is {handler.state}, not sealed: `{step}`")


def _is_free(handler: SequenceHandler, server: Server, claim: Claim) -> bool:
    """Tell whether no sink sends a run; one that was recorded for the server belongs to its sink or an heir."""
    delivery = handler.metadata.get("delivery") or {}
    if delivery.get("url") != server.url:
        return True
    return claim.is_free(delivery.get("sink")) and claim.take_left_behind()
