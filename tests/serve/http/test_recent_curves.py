"""Curves of growing sequences: how often they are drawn follows from what they cost."""

from __future__ import annotations

import pyarrow as pa

from gapless.serve.http.drawn_field import DrawnField, DrawnRows
from gapless.serve.http.recent_curves import RecentCurves
from gapless.store.leaf import Leaf


class Work:
    """A clock, and a curve that takes two seconds of it."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.drawn = 0

    def draw(self) -> DrawnField:
        """Return a curve."""
        self.drawn += 1
        self.now_s += 2.0
        leaf = Leaf.of(pa.schema([("x", pa.int64())]), "x", "t")
        empty = pa.array([], pa.int64()).to_numpy()
        return DrawnField(f"t{self.drawn}", leaf, DrawnRows(empty, empty, None, 0))


def test_a_curve_is_drawn_again_when_it_is_old_for_its_cost() -> None:
    """Two seconds of work are good for thirty, not for forty; one key says nothing of another."""
    work = Work()
    recent = RecentCurves(lambda: work.now_s)
    assert recent.get("a", work.draw).topic == "t1"
    work.now_s += 29
    assert recent.get("a", work.draw).topic == "t1"
    assert recent.get("b", work.draw).topic == "t2"
    work.now_s += 2
    assert recent.get("a", work.draw).topic == "t3"


def test_few_are_kept() -> None:
    """The one that was drawn longest ago goes."""
    work = Work()
    recent = RecentCurves(lambda: work.now_s, most=2)
    topics = [recent.get(key, work.draw).topic for key in ("a", "b", "c", "c", "b", "a")]
    assert topics == ["t1", "t2", "t3", "t3", "t2", "t4"]
