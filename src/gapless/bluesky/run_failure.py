"""What went wrong with a run, as an error of ours that names the run."""

from __future__ import annotations

from gapless.errors import DocumentFailed, GaplessError


def failure_of(
    error: BaseException, run: str | None, *, kind: type[DocumentFailed] = DocumentFailed
) -> GaplessError:
    """Return an error with the uid of its run in its text; ``error`` itself where it says all that.

    What is not one of ours, such as an error of a patch, becomes a ``kind``. The error that was there first is
    the cause of a new one.
    """
    if not isinstance(error, GaplessError):
        message = "a run could not be recorded or handed on in full"
        failure: GaplessError = kind(message, sequence=run, found=said_by(error))
    elif run is None or run in str(error):
        return error
    else:
        failure = type(error)(
            error.message if error.sequence is None else f"run {run}: {error.message}",
            sequence=error.sequence or run,
            topic=error.topic,
            field=error.field,
            found=error.found,
            expected=error.expected,
            next_step=error.advice,
        )
    failure.__cause__ = error
    return failure


def said_by(error: BaseException) -> str:
    """Return an error's class and text; the class alone where its own code fails to say more."""
    name = type(error).__name__
    try:
        return f"{name}: {error}"
    except BaseException as broken:  # code of the error's class may raise anything
        if not isinstance(broken, Exception):
            raise
        return name
