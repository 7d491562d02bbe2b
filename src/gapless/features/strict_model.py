"""Models that refuse what they do not know: the parameters, inputs and references of features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from gapless.errors import ArgumentRefused, GaplessError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class Knob:
    """Marks a field that changes how fast or where something is computed, never a value.

    ``batch_rows: Annotated[int, Knob()] = 1_000`` stays out of the identity of a run.
    """


class StrictModel(BaseModel):
    """A model without unknown fields and without types that pydantic cannot check.

    Its constructor raises ArgumentRefused, a ValueError that names every wrong field.
    """

    model_config = ConfigDict(extra="forbid", frozen=False, arbitrary_types_allowed=False)

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise refused(error) from error

    # Tells pydantic that nested models need not be built through this constructor, so that the fields of
    # all levels stand in one error.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    def identity_dump(self) -> dict[str, Any]:
        """Return the fields that can change a value, by name; nested models stay models.

        Left out are fields marked with :class:`Knob` and fields excluded from every dump.
        """
        return {
            name: getattr(self, name)
            for name, field in type(self).model_fields.items()
            if not field.exclude
            and not any(isinstance(mark, Knob) or mark is Knob for mark in field.metadata)
        }


def refused(error: ValidationError) -> ArgumentRefused:
    """Return the typed error of a failed validation: each wrong field with what is wrong."""
    wrong = error.errors(include_url=False)
    told = dict.fromkeys(f"{_place(item['loc'])}{_sentence(item)}" for item in wrong)
    message = f"{error.title}: {'; '.join(told)}"
    if len(wrong) != 1:
        return ArgumentRefused(message)
    cause = _cause(wrong[0])
    if cause is not None:
        return ArgumentRefused(message, found=cause.found, expected=cause.expected, next_step=cause.advice)
    return ArgumentRefused(message, found=None if wrong[0]["type"] == "missing" else repr(wrong[0]["input"]))


def _place(loc: tuple[int | str, ...]) -> str:
    """Return the path of a field; the branches of a union, which pydantic spells as types, are left out."""
    parts = [str(part) for part in loc if isinstance(part, int) or part.isidentifier()]
    return f"{'.'.join(parts)}: " if parts else ""


def _sentence(item: ErrorDetails) -> str:
    cause = _cause(item)
    return (cause.message if cause else item["msg"]).rstrip(".")


def _cause(item: ErrorDetails) -> GaplessError | None:
    """Return the typed error that one of our own validators raised."""
    error = item.get("ctx", {}).get("error")
    return error if isinstance(error, GaplessError) else None
