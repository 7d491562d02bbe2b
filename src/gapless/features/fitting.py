"""What a feature learns from all entries: learned once, saved whole, loaded by everybody else."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from gapless.errors import DeadlinePassed, FeatureFailed
from gapless.features.apply import frames
from gapless.features.entry import EntryKey
from gapless.features.feature import InputStream
from gapless.features.owner import Owner
from gapless.features.run_folder import tree_digest
from gapless.features.survey import STATE_LABEL, Survey, learned_from

if TYPE_CHECKING:
    from gapless.features.dataset import Dataset
    from gapless.features.resolve import BoundRun

STATE_CLAIM: EntryKey = ("", "__state__")
_POLL_S = 0.05
_DEADLINE_S = 24 * 3600.0  # a fit may take hours in another process, which is known to be alive


def ensure_state(
    ds: Dataset,
    bound: BoundRun,
    survey: Survey,
    owner: Owner,
    artifact_paths: dict[str, Path],
    dependency_lookups: dict[str, dict[EntryKey, Path]],
    *,
    again: bool,
) -> bool:
    """Give the feature its state, loading or learning it; return whether it was learned now.

    A state is used only if its files are those that were saved and it was learned from what the entries
    hold now. ``again`` learns it whatever there is.
    """
    feature, folder = bound.feature, bound.folder
    nowhere = folder.path / ".no-state"

    def load(*, fresh: bool = False) -> bool:
        document = folder.state_document()
        usable = document is not None and tree_digest(folder.state) == document["digest"]
        usable = usable and (fresh or not (again or survey.state_why))
        return bool(
            feature.load_state(folder.state if usable else nowhere, artifact_paths, dependency_lookups)
        )

    if load():
        _record_digest(ds, bound)
        return False
    before = folder.state_document()
    began = time.monotonic()
    while not ds.registry.claim(*bound.pair, [STATE_CLAIM], owner.id, lambda who: Owner.alive(ds.root, who)):
        if time.monotonic() - began > _DEADLINE_S:
            raise DeadlinePassed("another process is learning the state and does not end", found=bound.pair)
        time.sleep(_POLL_S)
    try:
        learned_meanwhile = folder.state_document() != before
        if learned_meanwhile and load(fresh=True):
            return True
        _learn(ds, bound, survey)
    finally:
        ds.registry.release_entries(*bound.pair, [STATE_CLAIM], owner.id)
    if not load(fresh=True):
        raise FeatureFailed(
            f"{bound.identity.feature} does not load the state that it saved", found=str(folder.state),
            next_step="load_state must return True for what save_state wrote",
        )  # fmt: skip
    _record_digest(ds, bound)
    return True


def _record_digest(ds: Dataset, bound: BoundRun) -> None:
    """Tell the registry the digest of the state on disk: whoever saved it may have died before that."""
    document = bound.folder.state_document()
    ds.registry.set_state(*bound.pair, str(document["digest"]) if document else None)


def _learn(ds: Dataset, bound: BoundRun, survey: Survey) -> None:
    """Fit over all entries in scope whose inputs are there, and save the state whole."""
    feature = bound.feature
    states = [state for state in survey.states if state.plan is not None]
    plans = [state.plan for state in states if state.plan is not None and state.plan.inputs]
    feature.fit(InputStream(lambda: frames(plans, feature, ds.columns, bound.options), len(plans)))
    content = {
        state.key: {label: digest for label, digest in state.inputs.items() if label != STATE_LABEL}
        for state in survey.states
    }
    with bound.folder.new_state(learned_from(content, survey.shared), bound.code) as folder:
        feature.save_state(folder)
