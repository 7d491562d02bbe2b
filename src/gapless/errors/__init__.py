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
    ├── DocumentFailed             documents of a run could not be recorded or handed on; the rest is kept
    │   ├── DocumentRefused        no rule makes sense of it
    │   ├── DeliveryFailed         another server did not take what is recorded here
    │   └── BackupFailed           a document could not even be kept in the spool
    ├── ServingFailed              a server refused the call or could not be asked
    │   ├── KeyRefused             no API key, or one that does not count
    │   ├── RightMissing           the key does not allow this, or not in this group
    │   ├── LimitReached           the server does all it is allowed to do at one time
    │   │   └── RequestTooLarge    the body of a request is larger than the server takes
    │   ├── ServerClosing          the server is going down and takes nothing new
    │   ├── Unreachable            the server does not answer
    │   ├── ServerFault            the server met an error nobody expected
    │   ├── CsrfRefused            a browser asks for a change without its session's token
    │   ├── OriginRefused          the page that asks was not sent by this server
    │   ├── HostRefused            the server is asked for by a name that is not its own
    │   └── QuestionRefused        parameters or a body that mean nothing in the HTTP API
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

from gapless.errors.deriving import (
    AllEntriesFailed,
    FeatureFailed,
    ModelFailed,
    OverlapRefused,
    RunCancelled,
)
from gapless.errors.documents import (
    BackupFailed,
    DeliveryFailed,
    DocumentFailed,
    DocumentRefused,
)
from gapless.errors.error import (
    GaplessError,
)
from gapless.errors.lookup import (
    ArtifactMissing,
    LabelsMissing,
    NotFound,
)
from gapless.errors.observing import (
    ApprovalRefused,
    EpisodeFailed,
    HubFailed,
    NotAuthenticated,
    ObserveFailed,
)
from gapless.errors.running import (
    ControlFailed,
    DeviceFault,
    DeviceUnreachable,
    DeviceUnsafe,
    PreflightFailed,
    ProcedureFailed,
    RunFailed,
    SubscriberTooSlow,
)
from gapless.errors.serving import (
    CsrfRefused,
    HostRefused,
    KeyRefused,
    LimitReached,
    OriginRefused,
    QuestionRefused,
    RequestTooLarge,
    RightMissing,
    ServerClosing,
    ServerFault,
    ServingFailed,
    Unreachable,
)
from gapless.errors.state import (
    CatalogBusy,
    FormatUnknown,
    IntegrityError,
    LedgerUnbalanced,
    SequenceOpen,
    SequenceOwned,
    SequenceSealed,
    StateError,
    TransitionRefused,
)
from gapless.errors.usage import (
    ArgumentRefused,
    DeterminismRefused,
    ExportRefused,
    IdentityRefused,
    ImportRefused,
    MetadataRefused,
    MissingExtra,
    MixedTimebaseError,
    NameRefused,
    NameTaken,
    OntologyConflict,
    QueryRefused,
    ResourceConflict,
    RigRefused,
    SchemaChanged,
    SchemaRefused,
    SimulationRefused,
    UntrustedArtifact,
    UsageError,
)
from gapless.errors.writing import (
    BridgeClosed,
    BridgeEnded,
    DeadlinePassed,
    MediaFailed,
    RecordingFailed,
    RecordTooLarge,
    StorageFailed,
    ValueRefused,
    WriteError,
    WriterClosed,
    WriterDied,
    WrongProcess,
    WrongThread,
)

__all__ = [
    "AllEntriesFailed",
    "ApprovalRefused",
    "ArgumentRefused",
    "ArtifactMissing",
    "BackupFailed",
    "BridgeClosed",
    "BridgeEnded",
    "CatalogBusy",
    "ControlFailed",
    "CsrfRefused",
    "DeadlinePassed",
    "DeliveryFailed",
    "DeterminismRefused",
    "DeviceFault",
    "DeviceUnreachable",
    "DeviceUnsafe",
    "DocumentFailed",
    "DocumentRefused",
    "EpisodeFailed",
    "ExportRefused",
    "FeatureFailed",
    "FormatUnknown",
    "GaplessError",
    "HostRefused",
    "HubFailed",
    "IdentityRefused",
    "ImportRefused",
    "IntegrityError",
    "KeyRefused",
    "LabelsMissing",
    "LedgerUnbalanced",
    "LimitReached",
    "MediaFailed",
    "MetadataRefused",
    "MissingExtra",
    "MixedTimebaseError",
    "ModelFailed",
    "NameRefused",
    "NameTaken",
    "NotAuthenticated",
    "NotFound",
    "ObserveFailed",
    "OntologyConflict",
    "OriginRefused",
    "OverlapRefused",
    "PreflightFailed",
    "ProcedureFailed",
    "QueryRefused",
    "QuestionRefused",
    "RecordTooLarge",
    "RecordingFailed",
    "RequestTooLarge",
    "ResourceConflict",
    "RigRefused",
    "RightMissing",
    "RunCancelled",
    "RunFailed",
    "SchemaChanged",
    "SchemaRefused",
    "SequenceOpen",
    "SequenceOwned",
    "SequenceSealed",
    "ServerClosing",
    "ServerFault",
    "ServingFailed",
    "SimulationRefused",
    "StateError",
    "StorageFailed",
    "SubscriberTooSlow",
    "TransitionRefused",
    "Unreachable",
    "UntrustedArtifact",
    "UsageError",
    "ValueRefused",
    "WriteError",
    "WriterClosed",
    "WriterDied",
    "WrongProcess",
    "WrongThread",
]
