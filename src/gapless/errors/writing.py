"""A push was refused, or the recording itself broke."""

from __future__ import annotations

from gapless.errors.error import GaplessError


class WriteError(GaplessError):
    """A push or call was refused; what was recorded before is unharmed."""

    code = "E300"
    next_step = "correct the value and push it again"


class ValueRefused(WriteError):
    """A value has the wrong type, shape or range for its field."""

    code = "E301"


class RecordTooLarge(WriteError):
    """One record is larger than the limit of one frame."""

    code = "E302"
    next_step = "split the record, or store it as an artifact"


class WrongThread(WriteError):
    """A topic writer belongs to the thread that pushed first."""

    code = "E303"
    next_step = "call topic.lane() in this thread and push through what it returns"


class WrongProcess(WriteError):
    """A writer was inherited by a forked child; only the parent may write."""

    code = "E304"
    next_step = "open a sequence of its own in the child"


class WriterClosed(WriteError):
    """The sequence or topic is closed and takes no more rows."""

    code = "E305"
    next_step = "push inside the with-block, or add a layer with client.sequence_update(name)"


class BridgeClosed(WriteError):
    """A bridge, queue or bus is closed and takes no more items; what was in it is still delivered."""

    code = "E306"
    next_step = "put items before the run stops"


class BridgeEnded(BridgeClosed):
    """A bridge, queue or subscription is closed and everything that was in it has been taken."""

    code = "E307"
    next_step = "stop reading; `async for` ends by itself"


class RecordingFailed(GaplessError):
    """The recording broke; rows that were reported durable stay durable."""

    code = "E400"
    next_step = "`gapless recover NAME` seals what reached the disk"


class StorageFailed(RecordingFailed):
    """The disk refused a write or a sync."""

    code = "E401"
    next_step = "free or repair the disk, then `gapless recover NAME`"


class WriterDied(RecordingFailed):
    """The writer thread ended with an error."""

    code = "E402"


class DeadlinePassed(RecordingFailed):
    """A wait for the disk or another thread reached its deadline."""

    code = "E403"
    next_step = "look at the disk with `gapless doctor`, then `gapless recover NAME`"


class MediaFailed(RecordingFailed):
    """A video or image encoder failed."""

    code = "E404"
