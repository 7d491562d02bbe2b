"""Sentences of navigation receivers."""

from __future__ import annotations

from gapless.model.ontology.declaration import Ontology, field


class NMEASentence(Ontology):
    """One NMEA 0183 sentence as received."""

    sentence: str = field(description="ASCII, checksum included")
