"""The feature protocol and the stream that a feature learns from."""

from __future__ import annotations

from collections.abc import Iterator

from gapless.features.entry import EntryKey
from gapless.features.feature import Feature, InputStream
from gapless.features.kit import TableFeature


class Own:
    """Follows the protocol without any base."""

    name = "own"
    version = "1.0"
    parallelizable = True
    scope_dependent = False

    def __init__(self) -> None:
        self.inputs = TableFeature.Inputs(("tracks",))
        self.params = TableFeature.Params()

    def load_state(self, run_root: object, artifact_paths: object, dependency_lookups: object) -> bool:
        """Nothing to load."""
        return True

    def fit(self, inputs: InputStream) -> None:
        """Nothing to learn."""

    def apply(self, df: object) -> object:
        """Return the rows."""
        return df

    def save_state(self, run_root: object) -> None:
        """Nothing to save."""


def test_a_class_of_the_users_own_is_a_feature() -> None:
    """No base is needed; one without apply is none."""

    class Lacking(Own):
        apply = None  # type: ignore[assignment]

    feature: Feature = Own()
    assert isinstance(feature, Feature)
    assert not isinstance(Lacking(), Feature)
    assert not isinstance("own", Feature)


def test_every_call_of_a_stream_starts_again() -> None:
    """n_entries is known before any frame is read."""
    opened: list[None] = []

    def factory() -> Iterator[tuple[EntryKey, int]]:
        opened.append(None)
        yield ("g", "a"), 1
        yield ("g", "b"), 2

    stream = InputStream(factory, 2)
    assert (stream.n_entries, opened) == (2, [])
    first = stream()
    assert next(first) == (("g", "a"), 1)
    assert list(stream()) == [(("g", "a"), 1), (("g", "b"), 2)]
    assert list(first) == [(("g", "b"), 2)]
    assert len(opened) == 2
