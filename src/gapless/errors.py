"""Every error the package raises, as one tree.

::

    GaplessError
    ├── UsageError                 the call or the configuration is wrong; nothing happened
    │   ├── NameRefused            a name that cannot be stored
    │   ├── NameTaken              a sequence, topic or artifact of that name exists
    │   ├── MetadataRefused        metadata that is not JSON
    │   ├── OntologyConflict       two different types under one tag
    │   ├── SchemaRefused          a schema that cannot become a topic
    │   ├── QueryRefused           a query that means nothing
    │   ├── MissingExtra           an optional dependency is not installed
    │   ├── ImportRefused          a file that is ambiguous or not readable as data
    │   ├── RigRefused             a rig or method file that cannot run as it is written
    │   ├── ResourceConflict       two devices claim one port, bus or camera
    │   ├── ArgumentRefused        a value that an argument of a feature run cannot have
    │   ├── MixedTimebaseError     inputs on different clocks, with no rule that joins them
    │   ├── IdentityRefused        a parameter that has no canonical form
    │   ├── UntrustedArtifact      an artifact that runs code when it is loaded
    │   ├── DeterminismRefused     the same bytes for the same seed are asked of a mode that cannot give them
    │   ├── SchemaChanged          a recorder's columns changed and its version did not
    │   ├── SimulationRefused      a simulation file that cannot be stepped
    │   └── ExportRefused          a recording that the other format cannot hold as it is
    ├── NotFound                   no sequence, topic, artifact or file of that name
    │   ├── LabelsMissing          no labels of that kind
    │   └── ArtifactMissing        a feature run has no such artifact
    ├── WriteError                 this push or call was refused; what was recorded before is unharmed
    │   ├── ValueRefused           a value of the wrong type, shape or range
    │   ├── RecordTooLarge         one record is larger than the limit
    │   ├── WrongThread            a topic writer used from a thread that does not own it
    │   ├── WrongProcess           a writer used in a forked child
    │   ├── WriterClosed           the sequence or topic takes no more rows
    │   └── BridgeClosed           a bridge, queue or bus takes no more items
    │       └── BridgeEnded        and everything that was in it has been taken
    ├── RecordingFailed            the recording itself broke: what was durable stays durable
    │   ├── StorageFailed          the disk refused a write or a sync
    │   ├── WriterDied             the writer thread ended with an error
    │   ├── DeadlinePassed         a wait reached its deadline
    │   └── MediaFailed            an encoder failed
    ├── FeatureFailed              a feature run broke; what it computed is kept
    │   ├── AllEntriesFailed       not one entry could be computed
    │   ├── OverlapRefused         rows of neighbours cannot be cut off again
    │   ├── RunCancelled           a feature run was cancelled
    │   └── ModelFailed            a training failed
    ├── RunFailed                  an acquisition run broke; what it recorded is sealed or recoverable
    │   ├── DeviceUnreachable      a device did not answer when it was opened
    │   ├── DeviceFault            a device answered wrongly, too late or not at all
    │   ├── PreflightFailed        a check before the run said no
    │   ├── ProcedureFailed        a step of the method failed
    │   ├── SubscriberTooSlow      a reader of the data bus that must keep up did not
    │   ├── DeviceUnsafe           a device may not have reached its safe state
    │   └── ControlFailed          a run's control socket refused or did not answer
    ├── ObserveFailed              an episode or its session broke; what it recorded is kept
    │   ├── EpisodeFailed          a source, a writer or an encoder ended the episode
    │   ├── ApprovalRefused        the recording was not approved
    │   ├── NotAuthenticated       the hub wants a token and there is none
    │   └── HubFailed              the hub did not answer, or not as agreed
    ├── StateError                 the sequence is in a state that does not allow the call
    │   ├── SequenceOwned          another live process is writing it
    │   ├── SequenceSealed         it is immutable
    │   ├── SequenceOpen           it is not sealed yet
    │   ├── CatalogBusy            another process keeps the catalog locked
    │   └── TransitionRefused      the observer is in a state that has no such move
    └── IntegrityError             bytes on disk are not what was written
        ├── LedgerUnbalanced       produced is not written + dropped + gapped
        └── FormatUnknown          a format version this release cannot read

Each class has a stable ``code`` (``gapless explain CODE``), the exit code of the command line and a
default next step.
"""

from __future__ import annotations

from typing import ClassVar


class GaplessError(Exception):
    """Base of every error: says what happened, where, what was found and what to do next.

    ``message`` is one sentence. The keyword arguments name the place and the evidence; they are kept
    as attributes and appended to the text.
    """

    code: ClassVar[str] = "E000"
    exit_code: ClassVar[int] = 1
    next_step: ClassVar[str] = "report this with the output of `gapless doctor`"

    def __init__(
        self,
        message: str,
        *,
        sequence: str | None = None,
        topic: str | None = None,
        field: str | None = None,
        found: object = None,
        expected: object = None,
        next_step: str | None = None,
    ) -> None:
        self.message = message
        self.sequence = sequence
        self.topic = topic
        self.field = field
        self.found = found
        self.expected = expected
        self.advice = next_step or self.next_step
        super().__init__(self._text())

    def _text(self) -> str:
        place = [
            f"{kind} {name!r}"
            for kind, name in (("sequence", self.sequence), ("topic", self.topic), ("field", self.field))
            if name is not None
        ]
        parts = [self.message.rstrip(".")]
        if place:
            parts[0] += f" ({', '.join(place)})"
        if self.found is not None:
            parts.append(f"found {_short(self.found)}")
        if self.expected is not None:
            parts.append(f"expected {_short(self.expected)}")
        return f"{'; '.join(parts)}. Next: {self.advice}. [{self.code}]"

    def __reduce__(self) -> tuple[object, ...]:
        return (
            _rebuild,
            (
                type(self),
                self.message,
                self.sequence,
                self.topic,
                self.field,
                repr(self.found) if self.found is not None else None,
                repr(self.expected) if self.expected is not None else None,
                self.advice,
            ),
        )


def _rebuild(
    kind: type[GaplessError],
    message: str,
    sequence: str | None,
    topic: str | None,
    field: str | None,
    found: object,
    expected: object,
    advice: str,
) -> GaplessError:
    """Make an error again in another process; evidence travels as text so that any value can."""
    return kind(
        message, sequence=sequence, topic=topic, field=field, found=found, expected=expected, next_step=advice
    )


def _short(value: object, limit: int = 120) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


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


class NotFound(GaplessError):
    """There is no sequence, topic, artifact or file of that name."""

    code = "E201"
    exit_code = 3
    next_step = "`gapless ls` lists what there is"


class LabelsMissing(NotFound):
    """There are no labels of the kind that a feature or a model needs."""

    code = "E202"
    next_step = "`gapless label` puts labels on a sequence"


class ArtifactMissing(NotFound):
    """A feature run has no artifact that a later feature needs, or more than one."""

    code = "E203"
    next_step = "run the step that makes it, or name the file with pattern="


class WriteError(GaplessError):
    """A push or call was refused; what was recorded before is unharmed."""

    code = "E300"
    next_step = "correct the value and push it again"


class ValueRefused(WriteError):
    """A value has the wrong type, shape or range for its field."""

    code = "E301"


class RecordTooLarge(WriteError):
    """One record is larger than the limit of one frame."""

    code = "E302"
    next_step = "split the record, or store it as an artifact"


class WrongThread(WriteError):
    """A topic writer belongs to the thread that pushed first."""

    code = "E303"
    next_step = "call topic.lane() in this thread and push through what it returns"


class WrongProcess(WriteError):
    """A writer was inherited by a forked child; only the parent may write."""

    code = "E304"
    next_step = "open a sequence of its own in the child"


class WriterClosed(WriteError):
    """The sequence or topic is closed and takes no more rows."""

    code = "E305"
    next_step = "push inside the with-block, or add a layer with client.sequence_update(name)"


class BridgeClosed(WriteError):
    """A bridge, queue or bus is closed and takes no more items; what was in it is still delivered."""

    code = "E306"
    next_step = "put items before the run stops"


class BridgeEnded(BridgeClosed):
    """A bridge, queue or subscription is closed and everything that was in it has been taken."""

    code = "E307"
    next_step = "stop reading; `async for` ends by itself"


class RecordingFailed(GaplessError):
    """The recording broke; rows that were reported durable stay durable."""

    code = "E400"
    next_step = "`gapless recover NAME` seals what reached the disk"


class StorageFailed(RecordingFailed):
    """The disk refused a write or a sync."""

    code = "E401"
    next_step = "free or repair the disk, then `gapless recover NAME`"


class WriterDied(RecordingFailed):
    """The writer thread ended with an error."""

    code = "E402"


class DeadlinePassed(RecordingFailed):
    """A wait for the disk or another thread reached its deadline."""

    code = "E403"
    next_step = "look at the disk with `gapless doctor`, then `gapless recover NAME`"


class MediaFailed(RecordingFailed):
    """A video or image encoder failed."""

    code = "E404"


class RunFailed(GaplessError):
    """An acquisition run broke; what it recorded is sealed or recoverable."""

    code = "E700"
    next_step = "`gapless show NAME` tells the cause and what was recorded"


class DeviceUnreachable(RunFailed):
    """A device did not answer when it was opened."""

    code = "E701"
    exit_code = 5
    next_step = "check power, cable and address; `gapless devices check RIG.toml` tries again"


class DeviceFault(RunFailed):
    """A device answered wrongly, too late or not at all."""

    code = "E702"


class PreflightFailed(RunFailed):
    """A check before the run said no; the devices were closed again."""

    code = "E703"
    exit_code = 5
    next_step = "mend what the check names and start again"


class ProcedureFailed(RunFailed):
    """A step of the method failed; the devices were put into their safe state."""

    code = "E704"


class SubscriberTooSlow(RunFailed):
    """A reader of the data bus that must keep up did not."""

    code = "E705"


class DeviceUnsafe(RunFailed):
    """A device may not have reached its safe state."""

    code = "E706"
    exit_code = 7
    next_step = "go to the device and make it safe by hand"


class ControlFailed(RunFailed):
    """A run's control socket refused the request or did not answer in time."""

    code = "E707"
    exit_code = 5
    next_step = "`gapless ls` tells which sequences are being recorded"


class StateError(GaplessError):
    """The sequence is in a state that does not allow the call."""

    code = "E500"
    next_step = "`gapless show NAME` tells its state"


class SequenceOwned(StateError):
    """Another live process is writing the sequence."""

    code = "E501"
    next_step = "wait for the other process, or stop it"


class SequenceSealed(StateError):
    """The sequence is sealed and immutable."""

    code = "E502"
    next_step = "add a layer with client.sequence_update(name)"


class SequenceOpen(StateError):
    """The sequence is not sealed yet."""

    code = "E503"
    next_step = "seal it first: `gapless seal NAME` or `gapless recover NAME`"


class CatalogBusy(StateError):
    """Another process kept the catalog locked for longer than a caller can wait."""

    code = "E504"
    next_step = "try again; the catalog is a cache, so `catalog.db` may also be deleted"


class TransitionRefused(StateError):
    """The observer's state has no such move."""

    code = "E505"
    next_step = "look at observer.state, and at observer.last_error"


class ObserveFailed(GaplessError):
    """An episode or its session broke; what was recorded is kept."""

    code = "E900"
    next_step = "look at observer.last_error; `gapless ls` shows what was kept"


class EpisodeFailed(ObserveFailed):
    """A source, a writer or an encoder ended the episode."""

    code = "E901"
    next_step = "mend the cause and begin the next episode"


class ApprovalRefused(ObserveFailed):
    """The recording was not approved; nothing was recorded."""

    code = "E902"
    next_step = "ask whoever approves, then start the session again"


class NotAuthenticated(ObserveFailed):
    """The hub wants a token and there is none, or it has ended."""

    code = "E903"
    exit_code = 5
    next_step = "set GAPLESS_HUB_TOKEN or give token="


class HubFailed(ObserveFailed):
    """The hub did not answer, or not as agreed."""

    code = "E904"
    exit_code = 5
    next_step = "look whether the hub runs; reports wait in the outbox until it does"


class IntegrityError(GaplessError):
    """Bytes on disk are not what was written."""

    code = "E600"
    exit_code = 4
    next_step = "`gapless verify NAME --deep` names the file and the rows"


class LedgerUnbalanced(IntegrityError):
    """produced is not written + dropped + gapped."""

    code = "E601"


class FormatUnknown(IntegrityError):
    """The bundle has a format version that this release cannot read."""

    code = "E602"
    next_step = "install a newer gapless"


class FeatureFailed(GaplessError):
    """A feature run broke; what it computed before is kept and not computed again."""

    code = "E800"
    next_step = "mend the cause and run it again: only what is missing is computed"


class AllEntriesFailed(FeatureFailed):
    """Not one entry of a feature run could be computed."""

    code = "E801"
    next_step = "read errors.jsonl in the run's folder, mend the feature and run it again"


class OverlapRefused(FeatureFailed):
    """A feature changed the number of rows, so those of the neighbours cannot be cut off again."""

    code = "E802"
    next_step = "keep the order column in the output, or run the feature without overlap_frames"


class RunCancelled(FeatureFailed):
    """A feature run or a training was cancelled; what it had computed is kept."""

    code = "E803"
    exit_code = 130
    next_step = "run it again to compute the rest"


class ModelFailed(FeatureFailed):
    """A training failed; the run is kept as failed with its error."""

    code = "E804"
    next_step = "read notes in the model run's manifest.json"
