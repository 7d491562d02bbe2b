"""A typed function as a feature."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, overload

from pydantic import create_model
from pydantic.errors import PydanticUserError

from gapless.errors import ArgumentRefused
from gapless.features import params as feature_params
from gapless.features.kit import TableFeature

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
Function = Callable[..., Any]
_FRAME_TYPES = {"pandas": "pandas", "pd": "pandas", "polars": "polars", "pl": "polars", "pyarrow": "arrow",
                "pa": "arrow"}  # fmt: skip


class FunctionFeature(TableFeature):
    """What :func:`feature` makes of a function: ``function`` is the function itself."""

    function: ClassVar[Function]

    def apply(self, df: Any) -> Any:
        """Return what the function makes of the frame."""
        params = {name: getattr(self.params, name) for name in type(self.params).model_fields}
        return type(self).function(df, **params)


@overload
def feature(function: Function, /) -> type[FunctionFeature]: ...


@overload
def feature(
    *,
    name: str | None = None,
    version: str = "1.0",
    units: Mapping[str, str] | None = None,
    input_columns: Sequence[str] | None = None,
    parallelizable: bool = True,
) -> Callable[[Function], type[FunctionFeature]]: ...


def feature(
    function: Function | None = None,
    /,
    *,
    name: str | None = None,
    version: str = "1.0",
    units: Mapping[str, str] | None = None,
    input_columns: Sequence[str] | None = None,
    parallelizable: bool = True,
) -> Any:
    """Make a feature of a function from a frame to a table.

    ``@feature def path_length(df: pd.DataFrame, *, window_s: float = 1.0) -> pd.DataFrame``: the keyword-only
    arguments become the parameters, checked by their types; ``Annotated[float, Field(gt=0)]`` bounds one. The
    frame is pandas unless its annotation says polars or Arrow. The name is the function's with hyphens.
    ``units``: of output columns; ``input_columns``: the data columns to read, None all.

    The function becomes a feature class; the function itself is its attribute ``function``. Raises ArgumentRefused
    for a signature that is not of that form.
    """
    if function is None:
        return lambda made: feature_of(made, name, version, units, input_columns, parallelizable)
    return feature_of(function, name, version, units, input_columns, parallelizable)


def feature_of(
    function: Function,
    name: str | None,
    version: str,
    units: Mapping[str, str] | None,
    input_columns: Sequence[str] | None,
    parallelizable: bool,
) -> type[FunctionFeature]:
    """Return the feature class of a function; see :func:`feature`."""
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or parameters[0].kind not in _POSITIONAL:
        raise ArgumentRefused("a feature's function takes a frame", found=f"{function.__name__}()")
    members = {
        "__module__": function.__module__,
        "__qualname__": function.__qualname__,
        "__doc__": function.__doc__,
        "__wrapped__": staticmethod(function),  # its source is the feature's source
        "function": staticmethod(function),
        "name": name or function.__name__.replace("_", "-"),
        "version": version,
        "units": dict(units or {}),
        "input_columns": tuple(input_columns) if input_columns is not None else None,
        "frame_type": _frame_type(parameters[0].annotation),
        "parallelizable": parallelizable,
        "Params": _params_of(function, parameters[1:]),
    }
    return type(function.__name__, (FunctionFeature,), members)


def _params_of(function: Function, given: Sequence[inspect.Parameter]) -> type[feature_params.Params]:
    fields: dict[str, Any] = {}
    for parameter in given:
        if parameter.kind != parameter.KEYWORD_ONLY or parameter.annotation is parameter.empty:
            raise ArgumentRefused(
                f"{function.__name__}() takes more than a frame and typed keyword-only arguments",
                found=str(parameter), expected="def f(df, *, window_s: float = 1.0)",
            )  # fmt: skip
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (_resolved(parameter.annotation, function), default)
    try:
        made = create_model(
            "Params",
            __base__=feature_params.Params,
            __module__=function.__module__,
            __doc__=f"The keyword arguments of {function.__name__}.",
            **fields,
        )
    except (PydanticUserError, NameError) as error:
        raise ArgumentRefused(
            f"an argument of {function.__name__}() has a name or type that a parameter cannot have",
            found=str(error).splitlines()[0],
        ) from error
    made.__qualname__ = f"{function.__qualname__}.Params"
    return made


def _resolved(annotation: Any, function: Function) -> Any:
    """Return the type that an annotation names, which may be text."""
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, function.__globals__)
    except (NameError, AttributeError, KeyError, SyntaxError, TypeError) as error:
        raise ArgumentRefused(
            f"the type of an argument of {function.__name__}() cannot be had", found=annotation,
            next_step="import it at the top of the module, not only for type checking",
        ) from error  # fmt: skip


def _frame_type(annotation: Any) -> str:
    """Return the kind of frame that an annotation names: by where its type lives, or by how it is written."""
    place = annotation if isinstance(annotation, str) else getattr(annotation, "__module__", "")
    return _FRAME_TYPES.get(place.partition(".")[0].strip("'\" "), "pandas")
