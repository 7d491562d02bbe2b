"""Optional columns for any type: header, covariance and variance, present only where they are used."""

from __future__ import annotations

from gapless.model.ontology.declaration import Ontology, field
from gapless.model.ontology.leaf import Int16, Values
from gapless.model.ontology.stamps import Header

# The empty units stop the unit of a nested member from spreading to columns that it does not describe.


class HeaderMixin(Ontology, mixin=True):
    """Adds ``header``: the stamp, frame and count that the device gave."""

    header: Header | None = field(default=None, unit="", uncertainty="", description="header of the device")


class CovarianceMixin(Ontology, mixin=True):
    """Adds ``covariance``, row by row, and ``covariance_type``."""

    covariance: Values[float] | None = field(
        default=None, unit="", uncertainty="", description="covariance matrix, row by row"
    )
    covariance_type: Int16 | None = field(
        default=None, unit="", uncertainty="", description="number of the parameterisation of the covariance"
    )


class VarianceMixin(Ontology, mixin=True):
    """Adds ``variance`` and ``variance_type``."""

    variance: float | None = field(default=None, unit="", uncertainty="", description="variance of the value")
    variance_type: Int16 | None = field(
        default=None, unit="", uncertainty="", description="number of the parameterisation of the variance"
    )


MIXINS = (CovarianceMixin, HeaderMixin, VarianceMixin)
