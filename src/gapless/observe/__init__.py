"""Simulations become episodes: an observer drives recorders inside a stepping program and seals what they saw."""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    "gapless.observe.approval": (
        "Approval",
        "Approver",
        "Decision",
        "EpisodeReports",
        "LocalPolicy",
        "NoApproval",
        "SessionRequest",
    ),
    "gapless.store.episode_rows": ("FrameFlag",),
    "gapless.observe.gym_env": ("RecordEpisodes",),
    "gapless.observe.http_approval": ("HttpApprover",),
    "gapless.observe.hub_client": ("HubRecordingClient",),
    "gapless.observe.observer": ("Observer",),
    "gapless.observe.report_streamer": ("EpisodeReportStreamer",),
    "gapless.observe.options": ("ImagePolicy", "Mode"),
    "gapless.observe.recorder": ("Camera", "CameraSpec", "Recorder", "Source", "Table", "TableSpec"),
    "gapless.observe.recorder_registry": ("recorder_for",),
    "gapless.observe.session_run": ("EpisodeResult", "Progress", "episode_seed", "run_session"),
    "gapless.observe.simulation": ("Simulation", "load_simulation", "sources_of"),
    "gapless.observe.sources": ("CameraSource", "DataSource", "DroneSource", "MujocoSource", "RobotSource"),
    "gapless.observe.state": ("DataState",),
    "gapless.observe.step": ("Phase", "StepContext"),
}
_MODULE_OF = {name: module for module, names in _WHERE.items() for name in names}

__all__ = sorted(_MODULE_OF)  # noqa: PLE0605 - one list, of which each name is imported on first use


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'gapless.observe' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
