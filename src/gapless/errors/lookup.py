"""There is nothing of that name."""

from __future__ import annotations

from gapless.errors.error import GaplessError


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
