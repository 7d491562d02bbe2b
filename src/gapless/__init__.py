"""Record time-ordered data and never lose any of it silently.

``with gapless.connect("./data") as client`` is the door to everything. Names are imported when they are
first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gapless._version import __version__

if TYPE_CHECKING:
    from gapless.client.client import Client, connect
    from gapless.client.remote.spool_warning import SpoolWarning
    from gapless.client.sequence_handler import SequenceHandler
    from gapless.client.sequence_writer import SequenceWriter
    from gapless.client.topic_handler import TopicHandler
    from gapless.client.topic_writer import TopicWriter
    from gapless.errors import GaplessError
    from gapless.model.expression import Field, Sequence, Topic
    from gapless.model.message import Message
    from gapless.model.ontology import (
        GPS,
        IMU,
        CompressedImage,
        CovarianceMixin,
        HeaderMixin,
        Image,
        Ontology,
        Pose,
        Pressure,
        Quaternion,
        Temperature,
        Vector2d,
        Vector3d,
        field,
    )
    from gapless.model.outcome import OnErrorPolicy, Outcome, State, TopicErrorPolicy, TopicStatus
    from gapless.model.query_builders import Query, QueryOntologyCatalog, QuerySequence, QueryTopic

_WHERE = {
    "gapless.client.client": ("Client", "connect"),
    "gapless.client.remote.spool_warning": ("SpoolWarning",),
    "gapless.client.sequence_handler": ("SequenceHandler",),
    "gapless.client.sequence_writer": ("SequenceWriter",),
    "gapless.client.topic_handler": ("TopicHandler",),
    "gapless.client.topic_writer": ("TopicWriter",),
    "gapless.errors": ("GaplessError",),
    "gapless.model.expression": ("Field", "Sequence", "Topic"),
    "gapless.model.message": ("Message",),
    "gapless.model.ontology": (
        "GPS",
        "IMU",
        "CompressedImage",
        "CovarianceMixin",
        "HeaderMixin",
        "Image",
        "Ontology",
        "Pose",
        "Pressure",
        "Quaternion",
        "Temperature",
        "Vector2d",
        "Vector3d",
        "field",
    ),
    "gapless.model.outcome": ("OnErrorPolicy", "Outcome", "State", "TopicErrorPolicy", "TopicStatus"),
    "gapless.model.query_builders": ("Query", "QueryOntologyCatalog", "QuerySequence", "QueryTopic"),
}
_MODULE_OF = {name: module for module, names in _WHERE.items() for name in names}

__all__ = [
    "GPS",
    "IMU",
    "Client",
    "CompressedImage",
    "CovarianceMixin",
    "Field",
    "GaplessError",
    "HeaderMixin",
    "Image",
    "Message",
    "OnErrorPolicy",
    "Ontology",
    "Outcome",
    "Pose",
    "Pressure",
    "Quaternion",
    "Query",
    "QueryOntologyCatalog",
    "QuerySequence",
    "QueryTopic",
    "Sequence",
    "SequenceHandler",
    "SequenceWriter",
    "SpoolWarning",
    "State",
    "Temperature",
    "Topic",
    "TopicErrorPolicy",
    "TopicHandler",
    "TopicStatus",
    "TopicWriter",
    "Vector2d",
    "Vector3d",
    "__version__",
    "connect",
    "field",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'gapless' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
