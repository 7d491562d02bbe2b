"""A state that does not allow the call, and bytes that are not what was written."""

from __future__ import annotations

from gapless.errors.error import GaplessError


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
