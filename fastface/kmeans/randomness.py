"""Random numbers that belong to a place, not to a position in a stream.

Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) is a function of a
key and a counter.  The key comes from the seed; the counter is made of purpose, initialisation,
round and row.  So what is drawn for a row does not depend on which rows came before it in this
process.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

__all__ = ["Draws", "Purpose"]

_WORDS = 4  # 64-bit numbers one counter value gives


class Purpose(IntEnum):
    """What a number is drawn for; numbers of different purposes are independent."""

    FIRST_CENTER = 1
    CANDIDATES = 2
    OVERSAMPLING = 3
    RANDOM_ROWS = 4
    SAMPLE = 5
    BATCH = 6
    REASSIGNMENT = 7
    CALLABLE = 8
    VALIDATION = 9


class Draws:
    """Random numbers of one initialisation.

    Parameters
    ----------
    random_state : int, RandomState or None
        As everywhere in scikit-learn.  None takes fresh entropy.
    init : int
        Number of the initialisation.
    """

    def __init__(self, random_state: Any, init: int = 0) -> None:
        generator = check_random_state(random_state)
        words = generator.randint(0, 2**32, size=4, dtype=np.uint64)
        self._key: NDArray[np.uint64] = words[:2] | (words[2:] << np.uint64(32))
        self.init = init

    def for_init(self, init: int) -> Draws:
        """Return the draws of another initialisation of the same seed."""
        other = object.__new__(Draws)
        other._key, other.init = self._key, init
        return other

    def key_text(self) -> str:
        """Return the key, to compare seeds by."""
        return " ".join(str(int(word)) for word in self._key)

    def bits(self, purpose: Purpose, round_: int, start: int, count: int) -> NDArray[np.uint64]:
        """Return 64 random bits for each of the places `start`, ..., `start + count - 1`."""
        skipped = start % _WORDS
        counter = np.array([start // _WORDS, round_, int(purpose), self.init], dtype=np.uint64)
        generator = np.random.Philox(counter=counter, key=self._key)
        words: NDArray[np.uint64] = generator.random_raw(skipped + count)
        return words[skipped:]

    def uniform(self, purpose: Purpose, round_: int, start: int, count: int) -> NDArray[np.float64]:
        """Return a number in [0, 1) for each of those places."""
        result: NDArray[np.float64] = (
            self.bits(purpose, round_, start, count) >> np.uint64(11)
        ).astype(np.float64) * 2.0**-53
        return result

    def below(self, limit: int, purpose: Purpose, round_: int, count: int) -> list[int]:
        """Return `count` integers in [0, limit)."""
        return [int(word) * limit >> 64 for word in self.bits(purpose, round_, 0, count)]

    def numpy_state(self, purpose: Purpose) -> np.random.RandomState:
        """Return a scikit-learn random state, for callables that want one."""
        return np.random.RandomState(self.bits(purpose, 0, 0, 4).view(np.uint32))

    def distinct(self, n: int, count: int, purpose: Purpose, round_: int = 0) -> NDArray[np.int64]:
        """Return `count` different integers in [0, n), in random order.

        The `count` places with the smallest keys win, so no place depends on another.
        """
        keys = self.bits(purpose, round_, 0, n)
        chosen = np.argpartition(keys, count - 1)[:count] if count < n else np.arange(n)
        order = np.lexsort((chosen, keys[chosen]))
        return chosen[order].astype(np.int64)
