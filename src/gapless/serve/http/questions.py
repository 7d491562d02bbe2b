"""The parameters of a request: one that a route does not know is a mistake, never passed over."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import isclass
from typing import Any

from fastapi.dependencies.models import Dependant
from pydantic import BaseModel
from starlette.requests import HTTPConnection

from gapless.errors import QuestionRefused


async def known_questions(connection: HTTPConnection) -> None:
    """Raise QuestionRefused for query parameters that the route does not have."""
    known = _names(connection.scope["route"])
    unknown = sorted(set(connection.query_params) - known)
    if unknown:
        raise QuestionRefused(
            "the request has parameters that mean nothing here",
            field=unknown[0],
            found=", ".join(unknown),
            expected=", ".join(sorted(known)) or "none",
        )


def _names(route: Any) -> frozenset[str]:
    """Return the query parameters of a route; those of a model are its fields."""
    names: set[str] = set()
    for parameter in _parameters(route.dependant):
        kind = parameter.field_info.annotation
        if isclass(kind) and issubclass(kind, BaseModel):
            names |= {field.alias or name for name, field in kind.model_fields.items()}
        else:
            names.add(parameter.alias)
    return frozenset(names)


def _parameters(dependant: Dependant) -> Iterator[Any]:
    yield from dependant.query_params
    for inner in dependant.dependencies:
        yield from _parameters(inner)
