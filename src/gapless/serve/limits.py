"""How much a server takes at one time."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from gapless.errors import LimitReached, RecordTooLarge, UsageError, ValueRefused


@dataclass(frozen=True, slots=True)
class Limits:
    """Every bound of a server; raises UsageError for one that is not above 0.

    The transport itself takes messages of any size, from any number of peers, before a key is looked at: what
    is above a bound has been in memory when it is refused. Only the process's own memory limit holds then.
    """

    max_batch_bytes: int = 64 << 20  # one record batch as it arrives
    max_request_bytes: int = 16 << 20  # the JSON of one action, command or ticket
    max_calls: int = 1024  # going on at one time; each has a thread
    max_connections: int = 512  # with a call going on
    max_writers: int = 256  # sequences being written
    lease_s: float = 60.0  # a writer without a connection is let go of after this time
    session_lease_s: float = (
        3600.0  # a quiet Mosaico session: its client may be alive and cannot take it up again
    )

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise UsageError(
                    "a limit must be a number above 0", found=f"{name}={value!r}", expected="> 0"
                )

    def told(self) -> dict[str, int | float]:
        """Return the bounds by name, as a client is told them."""
        return asdict(self)

    def check_batch(self, batch: Any, *, sequence: str | None = None, topic: str | None = None) -> None:
        """Raise RecordTooLarge for a batch above the bound, ValueRefused for one whose buffers are not sound.

        A batch from the network is not used before this: Arrow reads offsets and lengths as they come. Its types
        are known to be ones that can be stored: of some others Arrow cannot even look at a batch without rows.
        """
        import pyarrow as pa

        try:
            batch.validate(full=True)
            size_bytes = batch.nbytes
        except pa.ArrowException as error:
            raise ValueRefused(
                "a batch is damaged", sequence=sequence, topic=topic, found=str(error)
            ) from error
        if size_bytes > self.max_batch_bytes:
            raise RecordTooLarge(
                "a batch is larger than the server takes",
                sequence=sequence,
                topic=topic,
                found=f"{size_bytes} bytes",
                expected=f"at most {self.max_batch_bytes}",
                next_step="send it in smaller pieces",
            )

    def check_request(self, body: bytes | memoryview | Any) -> None:
        """Raise LimitReached for a request above the bound."""
        size_bytes = memoryview(body).nbytes
        if size_bytes > self.max_request_bytes:
            raise LimitReached(
                "a request is larger than the server takes",
                found=f"{size_bytes} bytes",
                expected=f"at most {self.max_request_bytes}",
                next_step="ask for less at one time",
            )
