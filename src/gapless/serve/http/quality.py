"""Reports on a sequence: is what was recorded good, and are its files what was sealed?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeVar

import pyarrow as pa
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from gapless.model.names import to_component
from gapless.serve.http.asking import Asking
from gapless.serve.http.finite import finite
from gapless.serve.http.names import Name
from gapless.serve.http.nanoseconds import Nanoseconds, NanosecondsBetween
from gapless.serve.http.shared_work import Gone, SharedWork
from gapless.serve.rights import Right
from gapless.serve.visible import reach, visible_findings
from gapless.store import quality, verify

if TYPE_CHECKING:
    from gapless.serve.http.asking import HttpCall

T = TypeVar("T")
router = APIRouter(tags=["quality"])
REPORTS: Final = SharedWork(at_once=2, queued=16)  # of this process: each keeps a core and the disk busy


class CheckFinding(BaseModel):
    """One thing worth knowing about the data."""

    model_config = ConfigDict(extra="forbid")

    code: str
    severity: Literal["problem", "warning", "info"]
    message: str
    topic: str | None
    means: str = Field(description="what the code stands for")


class TopicFigures(BaseModel):
    """How regular and complete a topic is; intervals in ns."""

    model_config = ConfigDict(extra="forbid")

    rows: int
    rate_hz: float | None
    interval_median_ns: float | None
    interval_max_ns: NanosecondsBetween | None
    jitter_ns: float | None
    gaps: int
    missing: int
    dropped: int
    duplicates: int
    out_of_order: int
    late_max_ns: NanosecondsBetween
    pauses: int
    nan_values: int
    null_values: int
    nan_by_column: dict[str, int]
    dead_columns: list[str]
    constant_time: bool
    verdict: Literal["good", "doubtful", "bad"]


class ClockStep(BaseModel):
    """A moment at which the wall clock was moved, and by how much."""

    model_config = ConfigDict(extra="forbid")

    timestamp_ns: Nanoseconds
    step_ns: NanosecondsBetween


class QualityReport(BaseModel):
    """The quality of a sequence's data; the worst topic or finding gives the verdict."""

    model_config = ConfigDict(extra="forbid")

    verdict: Literal["good", "doubtful", "bad"]
    topics: dict[str, TopicFigures]
    clock_steps: list[ClockStep]
    findings: list[CheckFinding]


class VerifyFinding(BaseModel):
    """One thing that is wrong with a file: which one, and the first and last row that cannot be trusted."""

    model_config = ConfigDict(extra="forbid")

    code: str
    severity: Literal["error", "warning"]
    message: str
    file: str | None
    rows: tuple[int, int] | None
    means: str = Field(description="what the code stands for")


class VerifyReport(BaseModel):
    """Whether every byte is as it was sealed: ``sound`` means that no finding is an error."""

    model_config = ConfigDict(extra="forbid")

    sound: bool
    findings: list[VerifyFinding]


@router.get("/sequences/{name}/check")
def check_sequence(call: Asking, name: Name) -> QualityReport:
    """Report rates, jitter, gaps, duplicates, clock steps and dead columns; reads all rows once.

    Who asks while it is being made gets the same report. It ends when nobody waits for it.
    """

    def work(bundle: Path, watch: Callable[[], None]) -> QualityReport:
        return _quality(quality.check(bundle, watch=watch))

    return _report(call, name, "check", work)


@router.get("/sequences/{name}/verify")
def verify_sequence(
    call: Asking,
    name: Name,
    deep: Annotated[bool, Query(description="also decode every row and count the ledger again")] = False,
) -> VerifyReport:
    """Compare a sequence's files with what was sealed; reads all of them.

    Who asks while it is being made gets the same report. It ends when nobody waits for it.
    """

    def work(bundle: Path, watch: Callable[[], None]) -> VerifyReport:
        found = verify.verify(bundle, deep=deep, watch=watch)
        return _verified(visible_findings(call.served, found))

    return _report(call, name, f"verify {deep}", work)


def _report(call: HttpCall, name: str, kind: str, work: Callable[[Path, Callable[[], None]], T]) -> T:
    """Return a report on a sequence that the caller sees, one of a kind at a time for each sequence."""
    reach(call.served, call, Right.READ, name)
    bundle = call.served.root / "sequences" / to_component(name)

    def watched(gone: Gone) -> T:
        def watch() -> None:
            if gone():
                raise pa.ArrowCancelled("nobody waits for the report any more")

        return work(bundle, watch)

    return REPORTS.result((bundle, kind), watched, call.cancelled)


def _quality(report: quality.Report) -> QualityReport:
    steps = [ClockStep(timestamp_ns=at, step_ns=by) for at, by in report.clock_steps]
    findings = [
        CheckFinding.model_validate({**asdict(f), "means": quality.FINDINGS[f.code]}) for f in report.findings
    ]
    topics = {
        name: TopicFigures.model_validate(finite(asdict(figures))) for name, figures in report.topics.items()
    }
    return QualityReport.model_validate(
        {"verdict": report.verdict, "topics": topics, "clock_steps": steps, "findings": findings}
    )


def _verified(found: list[verify.Finding]) -> VerifyReport:
    findings = [VerifyFinding.model_validate({**asdict(f), "means": verify.FINDINGS[f.code]}) for f in found]
    return VerifyReport(sound=all(f.severity != "error" for f in findings), findings=findings)
