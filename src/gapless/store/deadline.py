"""A bound on calls to a disk that may hang: the caller gets its answer or DeadlinePassed, never a wedge."""

from __future__ import annotations

import threading
from collections.abc import Callable

from gapless.errors import DeadlinePassed


def within(seconds: float, what: str, sequence: str, call: Callable[[], object]) -> None:
    """Return when the call is done, or raise its error, or DeadlinePassed when it takes longer than that.

    A call that hangs goes on in a thread of its own and finishes when the disk comes back.
    """
    errors: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - the thread's boundary: the caller raises it
            errors.append(error)

    thread = threading.Thread(target=run, name=f"gapless-{what}-{sequence}", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise DeadlinePassed(
            "the disk did not finish in time",
            sequence=sequence,
            found=f"no end of {what}",
            expected=f"within {seconds} s",
        )
    if errors:
        raise errors[0]
