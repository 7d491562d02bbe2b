"""Which topics and runs a look will ask for, told before anything is read: so that one statement reads them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gapless.features.code_digest import feature_code
from gapless.features.identity import RunOptions, identify, named_run, references, storage_name
from gapless.features.labels_source import FeatureLabelsSource
from gapless.features.result import Result

if TYPE_CHECKING:
    from gapless.features.dataset import Dataset
    from gapless.features.feature import Feature
    from gapless.features.registry import Pair, WantedRun


class Foresight:
    """What features of a data set will ask for, without a look at it.

    ``runs`` are storages and run ids. A run id is None where only a look tells it: that of a feature which
    depends on its scope, and of what reads such a one. The newest run is then the likely one.
    """

    def __init__(self, ds: Dataset) -> None:
        self._ds = ds
        self._made: dict[str, set[str]] = {}  # storage -> run ids of the features so far
        self.topics = {ds.topic}
        self.runs: list[WantedRun] = []

    def add(self, feature: Feature, options: RunOptions, policy: str) -> WantedRun:
        """Add a feature that may read those before it; return its storage and run id. Raises what naming it does."""
        self.topics |= {item.name for item in feature.inputs.topic_inputs if named_run(item) is None}
        self.runs += filter(None, map(named_run, feature.inputs.root))
        pins: dict[str, Pair] = {}
        told = not feature.scope_dependent
        for ref in references(feature):
            if isinstance(ref.value, Result | FeatureLabelsSource):
                pinned = self._pinned(ref.value)
                if pinned is None:
                    told = False
                else:
                    pins[ref.place] = pinned
        run: WantedRun = storage_name(feature), None
        if told:
            run = self._run(feature, options, policy, pins)
        self.runs += [*pins.values(), run]
        return run

    def _run(self, feature: Feature, options: RunOptions, policy: str, pins: dict[str, Pair]) -> Pair:
        code = feature_code(feature, self._ds) if policy == "rerun" else None
        found = identify(
            feature, options, columns=self._ds.columns, topic=self._ds.topic, pins=pins, code=code
        )
        self._made.setdefault(found.storage, set()).add(found.run_id)
        return found.storage, found.run_id

    def _pinned(self, result: Result[Any] | FeatureLabelsSource) -> Pair | None:
        if result.run_id is not None:
            return result.feature, result.run_id
        run_ids = self._made.get(result.feature, set())
        return (result.feature, next(iter(run_ids))) if len(run_ids) == 1 else None
