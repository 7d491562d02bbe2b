"""The call or the configuration is wrong; nothing happened."""

from __future__ import annotations

from gapless.errors.error import GaplessError


class UsageError(GaplessError):
    """The call or the configuration is wrong; nothing was done."""

    code = "E100"
    exit_code = 2
    next_step = "correct the call"


class NameRefused(UsageError):
    """A name cannot be stored as one path component of at most 200 bytes."""

    code = "E101"
    next_step = "choose another name"


class NameTaken(UsageError):
    """A sequence, topic or artifact of that name exists, also when only the case differs."""

    code = "E102"
    next_step = "choose another name"


class MetadataRefused(UsageError):
    """Metadata holds something that is not JSON."""

    code = "E103"
    next_step = "use only objects with text keys, lists, text, numbers, booleans and null"


class OntologyConflict(UsageError):
    """Two different ontology types carry the same tag in one client."""

    code = "E104"
    next_step = "give one of the types another tag or a higher version"


class SchemaRefused(UsageError):
    """A schema cannot become a topic."""

    code = "E105"
    next_step = "give each column a name of its own and a type that Parquet can hold"


class QueryRefused(UsageError):
    """A query expression has no meaning."""

    code = "E106"
    next_step = "see docs/query.md for the operators"


class MissingExtra(UsageError):
    """The call needs an optional dependency that is not installed."""

    code = "E107"
    next_step = "install the extra named in the message"


class ImportRefused(UsageError):
    """A file is ambiguous, or cannot be read as data."""

    code = "E108"
    next_step = "name the column, zone or unit that the message asks for"


class RigRefused(UsageError):
    """A rig or method file cannot run as it is written."""

    code = "E109"
    next_step = "correct the lines that are named; `gapless devices check RIG.toml` lists all of them"


class ResourceConflict(UsageError):
    """Two devices claim one port, bus or camera, or another rig holds it."""

    code = "E110"
    next_step = "give each device a resource of its own, or end the run that holds it"


class ArgumentRefused(UsageError, ValueError):
    """An argument of a feature run, step or model has a value it cannot have."""

    code = "E111"
    next_step = "correct the argument that the message names"


class MixedTimebaseError(UsageError):
    """A feature reads inputs whose rows have different times, and nothing says how to join them."""

    code = "E112"
    next_step = 'name a topic as TopicInput(name, align="hold" | "asof" | "interp", tolerance_ns=...)'


class IdentityRefused(UsageError, ValueError):
    """A parameter has no canonical form, so no run could be found again by it."""

    code = "E113"
    next_step = "use numbers, text, lists, mappings or models of them as parameters"


class UntrustedArtifact(UsageError):
    """An artifact would run code when it is loaded."""

    code = "E114"
    next_step = "pass trust=True if you made the file, or save the model with skops"


class DeterminismRefused(UsageError):
    """Identical bytes for identical seeds are asked of something that cannot give them."""

    code = "E115"
    next_step = "record in the mode 'simulated' with the policy 'block', or leave deterministic out"


class SchemaChanged(UsageError):
    """A recorder's columns differ from those of the same version in the group."""

    code = "E116"
    next_step = "raise the recorder's version, or record into another session"


class SimulationRefused(UsageError):
    """A simulation file cannot be stepped as it is written."""

    code = "E117"
    next_step = "docs/observe.md shows what a simulation file must have"


class ExportRefused(UsageError):
    """A recording cannot be written in the wanted format as it is."""

    code = "E118"
    next_step = "choose other topics or options; the recording itself is unharmed"
