"""The parameters of features, made from what a user overrides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel, model_validator

from gapless.errors import ArgumentRefused
from gapless.features.artifact import ArtifactSpec, ParquetArtifact
from gapless.features.strict_model import Knob, StrictModel

__all__ = ["GlobalModelParams", "Knob", "Params"]

M = TypeVar("M", bound=ArtifactSpec[Any, Any])


class Params(StrictModel):
    """Base of the parameters of a feature, which are the fields of the subclass."""

    @classmethod
    def from_overrides(cls, overrides: Mapping[str, Any] | None = None) -> Self:
        """Return the parameters with some fields given; the others have their defaults.

        A mapping given for a field that holds a model by ``default_factory`` replaces only the keys it
        names, one level deep. Raises ArgumentRefused for unknown fields and wrong values.
        """
        if overrides is not None and not isinstance(overrides, Mapping):
            raise ArgumentRefused("parameters are given by name", found=repr(overrides), expected="a mapping")
        merged = dict(overrides or {})
        for name, given in merged.items():
            field = cls.model_fields.get(name)
            if field is None or field.default_factory is None or not isinstance(given, Mapping):
                continue
            default = field.get_default(call_default_factory=True, validated_data={})
            if isinstance(default, BaseModel):
                merged[name] = {**_fields(default), **given}
        return cls(**merged)


class GlobalModelParams(Params, Generic[M]):
    """Parameters of a feature that fits a model on a templates artifact or loads a fitted one.

    Exactly one of ``templates`` and ``model`` is given; the other is None, whatever its default. ``M`` is
    the type of the model artifact. What a dump of it holds makes an equal one.
    """

    templates: ParquetArtifact | None = None
    model: M | None = None

    @model_validator(mode="after")
    def _exclusive_source(self) -> Self:
        given = {
            name
            for name in ("templates", "model")
            if name in self.model_fields_set and getattr(self, name) is not None
        }
        if len(given) != 1:
            raise ArgumentRefused(
                "exactly one of templates and model is given", found=sorted(given) or "neither",
                next_step="give templates to fit a model, or model to use a fitted one",
            )  # fmt: skip
        if "templates" in given:
            self.model = None
        else:
            self.templates = None
        return self


def _fields(model: BaseModel) -> dict[str, Any]:
    """Return the fields of a model as they are, so that nested models keep their types."""
    return {name: getattr(model, name) for name in type(model).model_fields}
