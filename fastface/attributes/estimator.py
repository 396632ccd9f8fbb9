"""`AttributeDiscovery`: the scikit-learn estimator of what embeddings tell apart."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from fastface.attributes.checks import check_embeddings, check_parameters
from fastface.attributes.labels import binary_attributes
from fastface.attributes.people import People, group_people
from fastface.attributes.scoring import score_new_rows, score_questions
from fastface.attributes.shared import shared_directions, sides_within, without_nuisance
from fastface.attributes.significance import AttributeScore
from fastface.attributes.splits import SearchParameters, Split, find_splits, margins, sides
from fastface.attributes.storage import Names, load_model, save_model
from fastface.attributes.tree import grow_tree
from fastface.attributes.within import divide_within, fit_whitening
from fastface.errors import InvalidInputError
from fastface.validation import check_integer

__all__ = ["AttributeDiscovery"]


class AttributeDiscovery(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Find what a face model tells apart, without labels.

    *Between people*, the embeddings (each person's mean where people are given) are divided in two
    along the directions in which they fall into two bumps, strongest first; each side is divided
    again in a tree.  *Within people*, the photos of each person are divided in two, after what
    differs between photos of everybody (pose, light, blur) has been scaled down.  What a split
    stands for is for a person to say, or for labels: `score`.

    Parameters
    ----------
    max_splits : int
        Most splits between people.
    max_depth : int
        Divisions from the root of the tree to a leaf, at most.
    min_share : float
        A split with a smaller side than this share of the rows is no split.
    min_samples : int
        A branch of the tree with fewer rows (people) than twice this is not divided.
    min_photos : int
        People with fewer photos are not divided within, at least 4.
    n_nuisance : int
        How many of the strongest directions in which photos of one person differ are removed
        before people are told apart; needs `person_ids`.
    n_starts : int
        Random starts of the search for directions.
    random_state : int
        Seed.  The same seed and rows give the same splits.

    Attributes
    ----------
    splits_ : list of ndarray of int8, shape (n_samples,)
        Side, 0 or 1, of every row, strongest split first; 1 is the rarer side.  With `person_ids`
        all rows of a person have the side of the person's mean.
    hyperplanes_ : list of Split
        Direction, threshold, strength and separation of each.
    tree_ : SplitNode
        The tree of splits.
    within_splits_ : list of ndarray of int8, shape (n_samples,)
        Only with `person_ids`; 0, 1, or −1 for people with fewer than `min_photos` photos.  The
        first divides every person by what sets that person's own photos apart most; the others
        follow directions that are the same for everybody.
    within_hyperplanes_ : list of Split
        Those shared directions, for differences from a person's mean, whitened.
    whitening_ : Whitening or None
        The scale of differences between photos of one person.
    names_ : list of Names
        What the splits are called; see `name_split`.
    n_people_ : int
        How many people there were; rows where none were given.
    n_features_in_ : int
        Number of features.

    References
    ----------
    R. Furlong et al. "Feature representation in pretrained deep metric embeddings."
    arXiv:2102.03176, 2021.
    """

    def __init__(
        self,
        max_splits: int = 10,
        *,
        max_depth: int = 3,
        min_share: float = 0.1,
        min_samples: int = 25,
        min_photos: int = 4,
        n_nuisance: int = 0,
        n_starts: int = 40,
        random_state: int = 0,
    ) -> None:
        self.max_splits = max_splits
        self.max_depth = max_depth
        self.min_share = min_share
        self.min_samples = min_samples
        self.min_photos = min_photos
        self.n_nuisance = n_nuisance
        self.n_starts = n_starts
        self.random_state = random_state

    def fit(
        self, X: ArrayLike, y: object = None, *, person_ids: ArrayLike | None = None
    ) -> AttributeDiscovery:
        """Find the splits.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings of photos.
        person_ids : array-like of shape (n_samples,), optional
            Whom each photo shows.

        Returns
        -------
        AttributeDiscovery
            Itself.

        Raises
        ------
        InvalidInputError
            If the embeddings, the ids or a parameter cannot be used.
        """
        parameters = check_parameters(self)
        x = check_embeddings(self, X, reset=True)
        people = None if person_ids is None else group_people(person_ids, len(x))
        if people is None and self.n_nuisance:
            raise InvalidInputError(
                "n_nuisance needs person_ids: nuisances are what differs between photos of one"
                " person"
            )
        # On one thread the sums have one order, whatever the number of cores; the matrices are too
        # small for a second thread to help.
        with threadpool_limits(1, user_api="blas"):
            self._fit(x, people, parameters)
        return self

    def _fit(self, x: NDArray[Any], people: People | None, parameters: SearchParameters) -> None:
        self.whitening_ = None if people is None else fit_whitening(x, people)
        units = x if people is None else people.means(x)
        if self.whitening_ is not None:
            units = without_nuisance(units, self.whitening_, self.n_nuisance)
        self.hyperplanes_ = find_splits(
            units, max_splits=self.max_splits, rng=self._rng(0), parameters=parameters
        )
        self.tree_ = grow_tree(
            units,
            max_depth=self.max_depth,
            min_samples=self.min_samples,
            rng=self._rng(1),
            parameters=parameters,
        )
        self.within_hyperplanes_: list[Split] = []
        if people is not None and self.whitening_ is not None:
            self.within_hyperplanes_ = shared_directions(
                x,
                people,
                self.whitening_,
                min_photos=self.min_photos,
                max_splits=self.max_splits,
                rng=self._rng(2),
                parameters=parameters,
            )
        self.names_ = [Names(f"split {j + 1}") for j in range(len(self.hyperplanes_))]
        self._place(x, people)

    def apply(self, X: ArrayLike, *, person_ids: ArrayLike | None = None) -> AttributeDiscovery:
        """Place new rows in the known splits, as if they had been fitted: for `score`, say.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings by the same model.
        person_ids : array-like of shape (n_samples,), optional
            Whom each photo shows.

        Returns
        -------
        AttributeDiscovery
            Itself, with `splits_` and `within_splits_` of these rows.
        """
        x = self._check(X)
        self._place(x, None if person_ids is None else group_people(person_ids, len(x)))
        return self

    def _place(self, x: NDArray[Any], people: People | None) -> None:
        """Fill in the sides of rows from the hyperplanes."""
        of_rows = sides(x if people is None else people.means(x), self.hyperplanes_)
        self.n_people_ = len(of_rows)
        if people is not None:
            of_rows = of_rows[people.codes]
        self.splits_ = [np.ascontiguousarray(column) for column in of_rows.T]
        self.within_splits_: list[NDArray[np.int8]] = []
        self._people = people
        if people is None or self.whitening_ is None:
            return
        self.within_splits_ = sides_within(
            x,
            people,
            self.whitening_,
            self.within_hyperplanes_,
            min_photos=self.min_photos,
            seed=self.random_state,
        )

    def transform(self, X: ArrayLike) -> NDArray[np.floating[Any]]:
        """Say where new photos lie in every split between people.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings by the same model.

        Returns
        -------
        ndarray of shape (n_samples, n_splits)
            float32, or float64 where `X` is.  Distance from the threshold in standard deviations
            within the sides; positive on side 1.
        """
        return margins(self._check(X), self.hyperplanes_)

    def predict(self, X: ArrayLike) -> NDArray[np.int8]:
        """Return the side of new photos in every split.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings; the answer is 0 or 1, of shape (n_samples, n_splits).
        """
        return sides(self._check(X), self.hyperplanes_)

    def divide(self, X: ArrayLike, person_ids: ArrayLike) -> NDArray[np.int8]:
        """Divide the photos of new people by the scale learned from those seen in `fit`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings by the same model.
        person_ids : array-like of shape (n_samples,)
            Whom each photo shows.

        Returns
        -------
        ndarray of int8, shape (n_samples,)
            0 or 1; −1 for people with fewer than `min_photos` photos.

        Raises
        ------
        InvalidInputError
            If the model was fitted without people.
        """
        x = self._check(X)
        if self.whitening_ is None:
            raise InvalidInputError(
                "this model saw no two photos of one person in fit: give it person_ids there"
            )
        people = group_people(person_ids, len(x))
        return divide_within(x, people, self.whitening_, self.min_photos, self.random_state)

    @overload
    def score(
        self,
        labels: ArrayLike | Mapping[str, ArrayLike],
        y: None = None,
        *,
        missing: Iterable[object] = ...,
        cuts: Mapping[str, tuple[float, float]] | None = ...,
        n_resamples: int = ...,
    ) -> list[AttributeScore]: ...
    @overload
    def score(self, labels: ArrayLike, y: ArrayLike) -> float: ...
    def score(
        self,
        labels: ArrayLike | Mapping[str, ArrayLike],
        y: ArrayLike | None = None,
        *,
        missing: Iterable[object] = (),
        cuts: Mapping[str, tuple[float, float]] | None = None,
        n_resamples: int = 2000,
    ) -> list[AttributeScore] | float:
        """Compare the splits of the fitted rows with labels.

        Parameters
        ----------
        labels : array-like of shape (n_samples,), or mapping of str to such
            Of the rows given to `fit`: one column, or several by name.  NaN, None and empty text
            mean that nothing is known.  Two values make one question, three to sixteen one each
            against the rest, more numbers one of the highest against the lowest third.
        y : array-like of shape (n_samples,), optional
            As scikit-learn calls it, ``score(X, y)``: rows and their labels.  The answer is then
            the balanced accuracy of the best split on these rows, averaged over questions.
        missing : iterable
            More values that mean nothing is known, such as ``-1``.
        cuts : mapping of str to (low, high), optional
            For a column of numbers: ask for ``≥ high`` against ``≤ low``.
        n_resamples : int
            Permutations and resamplings.

        Returns
        -------
        list of AttributeScore, or float
            For each question, between people by each person's commonest answer, and, where people
            were given, within people.
        """
        check_is_fitted(self)
        if y is not None:
            x = self._check(labels)
            return score_new_rows(x, binary_attributes(y, len(x)), self.hyperplanes_)
        if not self.splits_:
            raise InvalidInputError(
                "there are no splits of rows to compare: none was found, or a loaded model was not"
                " given rows by apply"
            )
        return score_questions(
            binary_attributes(labels, len(self.splits_[0]), missing=missing, cuts=cuts),
            self.splits_,
            self.within_splits_,
            self._people,
            seed=self.random_state,
            n_resamples=n_resamples,
        )

    def name_split(self, split: int, name: str, sides: tuple[str, str] = ("0", "1")) -> None:
        """Say what a split stands for; `save` keeps it.

        Parameters
        ----------
        split : int
            Its place in `splits_`.
        name : str
            What it tells apart.
        sides : tuple of str
            What sides 0 and 1 are.
        """
        check_is_fitted(self)
        index = check_integer(split, name="split", low=0, high=len(self.names_) - 1)
        self.names_[index] = Names(str(name), (str(sides[0]), str(sides[1])))

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Return the names of the splits, one for each column of `transform`.

        Parameters
        ----------
        input_features : object
            Ignored.
        """
        check_is_fitted(self)
        return np.array([names.name for names in self.names_], dtype=object)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what `transform`, `predict`, `divide` and the tree need, without pickle.

        Parameters
        ----------
        path : path
            A ``.npz`` file.  It holds directions and no embedding of anybody.
        """
        check_is_fitted(self)
        save_model(path, self)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AttributeDiscovery:
        """Read what `save` wrote.

        Parameters
        ----------
        path : path
            The file.

        Returns
        -------
        AttributeDiscovery
            It knows its splits and their names, but not the rows they were found in.

        Raises
        ------
        StorageError
            If the file is not there, damaged, or something else.
        """
        model = cls()
        load_model(path, model)
        return model

    def _check(self, X: Any) -> NDArray[Any]:
        check_is_fitted(self)
        return check_embeddings(self, X, reset=False)

    def _rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.random_state, purpose])
