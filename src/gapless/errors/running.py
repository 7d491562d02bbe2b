"""An acquisition run broke."""

from __future__ import annotations

from gapless.errors.error import GaplessError


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
