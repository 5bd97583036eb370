"""Speaker verification: is a pair of clips by one speaker?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def equal_error_rate(scores: ArrayLike, same: ArrayLike) -> float:
    """Error rate at the threshold where as many same-speaker pairs are missed as others are accepted.

    Both rates are taken to be linear between the two thresholds around the crossing.

    Args:
        scores: (n,) similarities of pairs, greater for pairs that are more likely by one speaker.
        same: (n,) whether the pair is by one speaker.

    Returns:
        rate in [0, 1]; 0.5 is chance.

    Raises:
        ValueError: lengths differ, a score is not finite, or one of the two kinds of pairs is missing.

    Examples:
        >>> equal_error_rate([0.9, 0.8, 0.3, 0.1], [True, True, False, False])
        0.0
        >>> equal_error_rate([0.9, 0.2, 0.8, 0.1], [True, True, False, False])
        0.5
    """
    values, genuine = np.asarray(scores, dtype=np.float64), np.asarray(same, dtype=bool)
    if values.shape != genuine.shape or values.ndim != 1:
        raise ValueError(f"scores and pairs need one axis and equal length, got {values.shape} and {genuine.shape}")
    if not np.isfinite(values).all():
        raise ValueError("a score is not finite; check the embeddings")
    if genuine.all() or not genuine.any():
        raise ValueError("an equal error rate needs pairs by one speaker and pairs by two")
    order = np.argsort(-values, kind="stable")
    values, genuine = values[order], genuine[order]
    last = np.append(values[1:] < values[:-1], True)  # thresholds lie between different scores only
    missed = np.append(1.0, 1 - np.cumsum(genuine)[last] / genuine.sum())
    accepted = np.append(0.0, np.cumsum(~genuine)[last] / (~genuine).sum())
    crossing = int(np.argmax(accepted >= missed))
    # Rates are straight lines between two thresholds.
    gap_before, gap_after = missed[crossing - 1] - accepted[crossing - 1], accepted[crossing] - missed[crossing]
    share = gap_before / (gap_before + gap_after)
    return float(accepted[crossing - 1] + share * (accepted[crossing] - accepted[crossing - 1]))


def pair_scores(embeddings: ArrayLike, speakers: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of all pairs of clips, and whether each is by one speaker.

    Args:
        embeddings: (n, E), none of them zero.
        speakers: (n,) of anything that can be compared.

    Returns:
        (n (n - 1) / 2,) float64 and bool.
    """
    values, names = np.asarray(embeddings, dtype=np.float64), np.asarray(speakers)
    values = values / np.linalg.norm(values, axis=1, keepdims=True)
    first, second = np.triu_indices(len(values), k=1)
    return (values @ values.T)[first, second], names[first] == names[second]
