"""People who do not exist: embeddings in any number, spread as a face network spreads real ones.

A face is ``common + person + variation``, scaled to length one:

* *common*: what all faces share, 0.91 of the length.
* *person*: a normal deviate whose variances fall off as ``exp(-j / 18) / sqrt(j)``, so that people
  live in some 20 dimensions however wide the vectors are.  Some people are *look-alikes*: most of
  their deviate is that of somebody before them.
* *variation*: a normal deviate that falls off as ``exp(-j / 40)``, larger for some people and for
  some photos.  A few faces are *bad*: they vary more and lean to one direction that all bad faces
  share, as blurred faces do.

How many photos a person has follows Lomax's law: most have few, some have hundreds.

`DLIB` holds the constants for dlib's network, fitted to the spectra and to the distances within and
between people of labelled photos; ``scripts/plot_synthetic_people.py`` draws both next to each
other (``docs/graph.md`` shows it).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["DLIB", "FaceModel", "SyntheticPeople", "make"]

_BLOCK = 1 << 14  # rows that one stream of random numbers makes


@dataclass(frozen=True)
class FaceModel:
    """How embeddings of one network are spread; variances are shares of a squared length of one."""

    common: float = 0.912  # length of what all faces share
    person_variance: float = 0.122
    person_decay: float = 18.0  # dimensions
    variation: float = 0.043  # variance of a good face around its person
    variation_decay: float = 40.0  # dimensions
    variation_of_people: float = 0.22  # standard deviation of the logarithm of a person's variance
    variation_of_faces: float = 0.32  # likewise of a face's
    lookalikes: float = 0.10  # share of people
    likeness: float = 0.80  # correlation of a look-alike with its original
    bad_faces: float = 0.03  # share of faces
    bad_variation: float = 2.5  # factor on the variance of a bad face
    bad_lean: float = 0.25  # length by which it leans to where bad faces are
    photos_tail: float = 2.0  # exponent of Lomax's law


DLIB = FaceModel()


class SyntheticPeople:
    """A population whose faces are made when they are asked for.

    Parameters
    ----------
    n_faces : int
        Rows.
    n_people : int
        At most `n_faces`; everybody has one face at least.
    dim : int
        Width of the rows.
    seed : int
        Same seed, same rows, in whatever pieces they are asked for.
    model : FaceModel
        How they are spread.

    Attributes
    ----------
    person_ids : ndarray of int32, shape (n_faces,)
        Who is who, in no order.
    is_bad : ndarray of bool, shape (n_faces,)
        Faces of bad quality.
    is_lookalike : ndarray of bool, shape (n_people,)
        People who take after another.
    """

    def __init__(
        self, n_faces: int, n_people: int, *, dim: int = 128, seed: int = 0, model: FaceModel = DLIB
    ) -> None:
        if not 1 <= n_people <= n_faces:
            raise ValueError(f"{n_faces} faces cannot be of {n_people} people")
        self.dim, self.model = dim, model
        self._seed = seed
        rng = np.random.default_rng([seed, 0])
        share = rng.pareto(model.photos_tail, n_people)
        photos = 1 + rng.multinomial(n_faces - n_people, share / share.sum())
        self.person_ids = rng.permutation(np.repeat(np.arange(n_people, dtype=np.int32), photos))
        self.is_bad = rng.random(n_faces) < model.bad_faces

        # Directions of the common part, of the bad faces and of the spectra, in general position.
        self._axes = _rotation(dim, rng)
        self._person_scale = _spectrum(dim, model.person_decay, 0.5) * model.person_variance**0.5
        self._variation_scale = _spectrum(dim, model.variation_decay, 0.0)
        self._bad_direction = _unit(rng.standard_normal(dim) * self._person_scale)
        self._common = _unit(rng.standard_normal(dim)) * np.float32(model.common)

        people = rng.standard_normal((n_people, dim), dtype=np.float32)
        self.is_lookalike = rng.random(n_people) < model.lookalikes
        self.is_lookalike[0] = False
        copies = np.flatnonzero(self.is_lookalike)
        originals = (rng.random(len(copies)) * copies).astype(np.int64)
        people[copies] *= np.float32(np.sqrt(1 - model.likeness**2))
        people[copies] += np.float32(model.likeness) * people[originals]
        people *= self._person_scale
        self._people = people
        self._variance = (
            model.variation * np.exp(model.variation_of_people * rng.standard_normal(n_people))
        ).astype(np.float32)

    def __len__(self) -> int:
        return len(self.person_ids)

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return faces `start` to `stop`, of shape (stop - start, dim) and length one."""
        out = np.empty((stop - start, self.dim), np.float32)
        for block in range(start // _BLOCK, -(-stop // _BLOCK)):
            first = block * _BLOCK
            low, high = max(start, first), min(stop, first + _BLOCK)
            out[low - start : high - start] = self._block(block)[low - first : high - first]
        return out

    def chunks(self, size: int = 1 << 16) -> Iterator[NDArray[np.float32]]:
        """Yield all faces in order, at most `size` at a time."""
        for start in range(0, len(self), size):
            yield self.rows(start, min(len(self), start + size))

    def _block(self, block: int) -> NDArray[np.float32]:
        model = self.model
        mine = slice(block * _BLOCK, min(len(self), (block + 1) * _BLOCK))
        ids, bad = self.person_ids[mine], self.is_bad[mine]
        rng = np.random.default_rng([self._seed, 1, block])
        deviates = rng.standard_normal((len(ids), self.dim), dtype=np.float32)
        variance = self._variance[ids] * np.exp(
            np.float32(model.variation_of_faces) * rng.standard_normal(len(ids), dtype=np.float32)
        )
        variance[bad] *= np.float32(model.bad_variation)
        rows = deviates * self._variation_scale
        rows *= np.sqrt(variance)[:, None]
        rows += self._people[ids]
        rows[bad] += np.float32(model.bad_lean) * self._bad_direction
        rows += self._common
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows @ self._axes


def make(
    n_faces: int, n_people: int, dim: int = 128, seed: int = 0, model: FaceModel = DLIB
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return all faces of a `SyntheticPeople` and who they are.

    Returns
    -------
    X : ndarray of float32, shape (n_faces, dim)
        Rows of length one.
    person_ids : ndarray of int32, shape (n_faces,)
    """
    people = SyntheticPeople(n_faces, n_people, dim=dim, seed=seed, model=model)
    return people.rows(0, n_faces), people.person_ids


def _spectrum(dim: int, decay: float, power: float) -> NDArray[np.float32]:
    """Return standard deviations of the axes whose variances sum to one."""
    j = np.arange(1, dim + 1)
    variances = np.exp(-j / decay) / j**power
    return np.sqrt(variances / variances.sum()).astype(np.float32)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float32]:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def _rotation(dim: int, rng: np.random.Generator) -> NDArray[np.float32]:
    return np.linalg.qr(rng.standard_normal((dim, dim)))[0].astype(np.float32)
