"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # machines are shared: no example is judged by its time
settings.load_profile("untimed")
