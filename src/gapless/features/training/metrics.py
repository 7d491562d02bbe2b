"""How good a classifier is at one label, and at all of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Metrics = dict[str, float | int | None]
_MEANS = ("precision", "recall", "f1", "average_precision")


def class_metrics(truth: NDArray[np.bool_], probability: NDArray[np.float64], threshold: float) -> Metrics:
    """Return precision, recall, f1, average_precision and support (rows that have the label).

    A ratio over nothing is None: precision where nothing is predicted, recall, f1 and average precision where
    no row has the label.
    """
    predicted = probability >= threshold
    hits = int(np.count_nonzero(predicted & truth))
    support, claimed = int(np.count_nonzero(truth)), int(np.count_nonzero(predicted))
    return {
        "precision": hits / claimed if claimed else None,
        "recall": hits / support if support else None,
        "f1": 2 * hits / (support + claimed) if support else None,
        "average_precision": _average_precision(truth, probability) if support else None,
        "support": support,
    }


def mean_metrics(classes: Mapping[str, Metrics]) -> Metrics:
    """Return the plain mean over the classes of each metric, over those that have it."""
    found: Metrics = {}
    for name in _MEANS:
        values = [value for item in classes.values() if (value := item[name]) is not None]
        found[name] = sum(values) / len(values) if values else None
    return found


def _average_precision(truth: NDArray[np.bool_], probability: NDArray[np.float64]) -> float:
    """Return the mean precision at each new recall, rows of equal probability taken together."""
    order = np.argsort(-probability, kind="stable")
    ranked, values = truth[order], probability[order]
    last = np.append(values[1:] != values[:-1], True)
    hits = np.cumsum(ranked)[last]
    precision = hits / (np.flatnonzero(last) + 1)
    return float(np.sum(np.diff(hits, prepend=0) * precision) / hits[-1])
