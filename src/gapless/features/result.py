"""References to what earlier features made: their outputs and single columns of them."""

from __future__ import annotations

from typing import Any, Generic, Self

from pydantic import Field
from typing_extensions import TypeVar

from gapless.features.strict_model import StrictModel

F = TypeVar("F", default=str)

_ATTEMPT = frozenset({"execution_id", "cache_hit", "failed_entries"})


class Result(StrictModel, Generic[F]):
    """The output of a feature: what ``run_feature`` returns, and an input of later features.

    ``run_id`` None means the latest finished run. The remaining fields tell how one attempt went; they are
    in no dump and in no comparison, so no identity depends on them: ``execution_id`` of the attempt,
    ``cache_hit`` if nothing had to be computed, ``failed_entries`` as (group, sequence).
    """

    feature: F
    run_id: str | None = None
    execution_id: str | None = Field(default=None, exclude=True)
    cache_hit: bool | None = Field(default=None, exclude=True)
    failed_entries: tuple[tuple[str, str], ...] = Field(default=(), exclude=True)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Result) or _family(self) is not _family(other):
            return NotImplemented
        return _lasting(self) == _lasting(other)

    __hash__ = None  # type: ignore[assignment]  # fields can be assigned


class ResultColumn(Result[str]):
    """One column of a feature's output."""

    column: str

    def from_result(self, result: Result[Any]) -> Self:
        """Return a copy that refers to another run."""
        return _referring(self, result)


class TracksColumn(StrictModel):
    """One column of the data set's recorded topic."""

    column: str


class BodyScaleResult(Result[str]):
    """The output of a feature of the body-scale family, whatever it was derived from."""

    feature: str = "body-scale"

    def from_result(self, result: Result[Any]) -> Self:
        """Return a copy that refers to another run."""
        return _referring(self, result)


class NNResult(Result[str]):
    """The output of a feature of the nearest-neighbor family, whatever it was derived from."""

    feature: str = "nearest-neighbor"

    def from_result(self, result: Result[Any]) -> Self:
        """Return a copy that refers to another run."""
        return _referring(self, result)


R = TypeVar("R", bound=Result[str])


def _referring(reference: R, result: Result[Any]) -> R:
    return reference.model_copy(update={"feature": result.feature, "run_id": result.run_id})


def _family(result: Result[Any]) -> type:
    """Return the class without type arguments: Result and Result[str] are one."""
    return type(result).__pydantic_generic_metadata__["origin"] or type(result)


def _lasting(result: Result[Any]) -> dict[str, Any]:
    return {name: getattr(result, name) for name in type(result).model_fields if name not in _ATTEMPT}
