"""Whether a reward is larger where the task succeeds: rank correlation and pairs."""

from __future__ import annotations

import numpy as np

from embodied.types import BoolArray, FloatArray


def agreement_with(values: FloatArray, success: BoolArray) -> dict[str, float] | None:
    """Compare numbers ``[K]`` with success ``[K]``; None unless both outcomes occur.

    Returns:
        ``spearman``, the rank correlation (ties share their mean rank; Spearman 1904), and
        ``pair_accuracy``, how often a success has the larger number than a failure (ties count
        half; the Mann-Whitney statistic over the number of pairs, which is the area under the ROC
        curve).
    """
    positives = int(success.sum())
    negatives = len(success) - positives
    if not positives or not negatives:
        return None
    ranks = mean_ranks(values)
    pairs = ranks[success].sum() - positives * (positives + 1) / 2
    spread = ranks.std() * success.std()
    covariance = ((ranks - ranks.mean()) * (success - success.mean())).mean()
    return {
        "spearman": float(covariance / spread) if spread > 0 else 0.0,
        "pair_accuracy": float(pairs / (positives * negatives)),
    }


def mean_ranks(values: FloatArray) -> FloatArray:
    """Return the ranks 1..K of numbers ``[K]``; equal numbers share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], dtype=np.float64)


def rank_correlation(first: FloatArray, second: FloatArray) -> float:
    """Return the rank correlation of two lists of numbers ``[K]`` (Spearman 1904); 0 for none.

    Ties share their mean rank; a list of equal numbers correlates with nothing.
    """
    ranks = [mean_ranks(np.asarray(item, np.float64)) for item in (first, second)]
    if min(item.std() for item in ranks) == 0.0:
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
