"""A run's safety under one roof: supervisor, saturation, silence and alarms, and the guard child."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gapless.acquire.device_config import OnFailure
from gapless.acquire.guard import Guard
from gapless.acquire.safe_state import SafeReport
from gapless.acquire.safety import SafetyMonitor
from gapless.acquire.saturation import SaturationMonitor, Signal
from gapless.acquire.supervisor import Supervisor
from gapless.flow.policy import BackpressurePolicy
from gapless.model.outcome import Outcome

if TYPE_CHECKING:
    from gapless.acquire.run import Run
