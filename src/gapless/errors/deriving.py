"""A feature run or a training broke."""

from __future__ import annotations

from gapless.errors.error import GaplessError


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
