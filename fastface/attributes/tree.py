"""A tree of splits: each branch divided again along its own strongest direction.

One division in two follows only the strongest axis of a collection.  What is second there (age,
say) may be first within each side (women, men), and along a different direction in each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.attributes.moments import blocks
from fastface.attributes.splits import SearchParameters, Split, find_splits, sides

__all__ = ["SplitNode", "grow_tree"]


@dataclass(frozen=True)
class SplitNode:
    """One branch of the tree.

    Attributes
    ----------
    path : str
        The sides that lead here, ``""`` at the root, ``"01"`` for side 1 within side 0.
    n_samples : int
        How many rows are here: people where people were given.
    split : Split or None
        How they are divided again; None in a leaf.
    children : tuple of SplitNode
        Side 0 and side 1; empty in a leaf.
    """

    path: str
    n_samples: int
    split: Split | None
    children: tuple[SplitNode, ...]

    def walk(self) -> Iterator[SplitNode]:
        """Go through this node and all below it, a branch at a time.

        Yields
        ------
        SplitNode
            Side 0 of a node with all below it comes before side 1.
        """
        yield self
        for child in self.children:
            yield from child.walk()

    def paths(self, X: NDArray[Any]) -> NDArray[np.str_]:
        """Return the path of the leaf that each row ends in.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows.
        """
        found = np.full(len(X), self.path, dtype=f"<U{max(1, self._depth())}")
        if self.split is not None:
            side = sides(X, [self.split])[:, 0]
            for child in self.children:
                here = np.flatnonzero(side == int(child.path[-1]))
                if len(here):
                    found[here] = child.paths(X[here])
        return found

    def _depth(self) -> int:
        return max((len(node.path) for node in self.walk()), default=0)


def grow_tree(
    X: NDArray[Any],
    *,
    max_depth: int,
    min_samples: int,
    rng: np.random.Generator,
    parameters: SearchParameters | None = None,
) -> SplitNode:
    """Divide rows again and again.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows.
    max_depth : int
        Divisions from the root to a leaf, at most.
    min_samples : int
        A branch with fewer rows than twice this is a leaf.
    rng : Generator
        Where random starts come from.
    parameters : SearchParameters, optional
        Constants of the search.

    Returns
    -------
    SplitNode
        The root.
    """
    p = parameters or SearchParameters()

    def grow(rows: NDArray[np.int64], path: str) -> SplitNode:
        found: list[Split] = []
        if len(path) < max_depth and len(rows) >= 2 * min_samples:
            # Only what is searched is copied, so that branches do not each hold their rows.
            sample = rows
            if len(rows) > p.most_rows:
                sample = np.sort(rng.choice(rows, p.most_rows, replace=False))
            found = find_splits(X[sample], max_splits=1, rng=rng, parameters=p)
        if not found:
            return SplitNode(path, len(rows), None, ())
        side = np.concatenate(
            [sides(X[rows[part]], found)[:, 0] for part in blocks(len(rows), X.shape[1])]
        )
        children = tuple(grow(rows[side == value], f"{path}{value}") for value in (0, 1))
        return SplitNode(path, len(rows), found[0], children)

    return grow(np.arange(len(X)), "")
