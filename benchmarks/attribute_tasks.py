"""The questions the attribute benchmark asks of labelled faces, and how a draw is made.

Classes are balanced by drawing, so that 50 % is what a coin gets; every draw is divided anew.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import ROOT

FACES = ROOT.parent / "shared" / "faces"
Columns = Mapping[str, np.ndarray]
# For a set, its embeddings: the stored ones, or those of its crops embedded again.
Source = Callable[[str, Columns], np.ndarray]


@dataclass(frozen=True)
class Task:
    """A yes-or-no question about some rows.

    `paper` is the figure of arXiv:2102.03176, `target` what this project set out to reach;
    `chosen_on` says that settings were chosen for this task.
    """

    name: str
    X: np.ndarray
    truth: np.ndarray
    people: np.ndarray
    paper: float | None = None
    target: float | None = None
    chosen_on: bool = False


def columns(name: str) -> dict[str, np.ndarray]:
    """Read the manifest of a set."""
    with (FACES / name / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


def stored(name: str, _: Columns) -> np.ndarray:
    """Return the embeddings kept beside the crops."""
    with np.load(FACES / name / "embeddings.npz", allow_pickle=False) as file:
        return np.asarray(file["emb"])


def from_crops(name: str, labels: Columns) -> np.ndarray:
    """Embed the crops of a set by the default model."""
    from PIL import Image

    from fastface import Embedder

    crops = np.stack(
        [np.asarray(Image.open(FACES / name / path).convert("RGB")) for path in labels["path"]]
    )
    return np.asarray(Embedder().embed(crops))


def between_people(source: Source, sets: tuple[str, ...]) -> Iterator[Task]:
    """Yield the questions about people."""
    if "celeba" in sets:
        labels = columns("celeba")
        X, people = source("celeba", labels), labels["identity"]
        male = labels["Male"].astype(int)
        yield Task("gender, celeba photos", X, male, people, 0.993)
        names, codes = np.unique(people, return_inverse=True)
        sizes = np.bincount(codes)
        means = np.zeros((len(names), X.shape[1]))
        np.add.at(means, codes, X)
        means /= sizes[:, None]
        mostly = (np.bincount(codes, male) / sizes > 0.5).astype(int)
        yield Task("gender, celeba people", means, mostly, names, 0.993, 0.99)
    if "lfw" in sets:
        labels = columns("lfw")
        known = np.isin(labels["gender_by_name"], ["male", "female"])
        male = (labels["gender_by_name"] == "male").astype(int)
        X, people = source("lfw", labels)[known], labels["identity"][known]
        yield Task("gender, lfw (noisy labels)", X, male[known], people, 0.993, chosen_on=True)
    if "utk" in sets:
        yield from _utk(source)


def _utk(source: Source) -> Iterator[Task]:
    labels = columns("utk")
    X, age, race = source("utk", labels), labels["age"].astype(int), labels["race"]
    adult = age >= 18

    def task(name: str, one: np.ndarray, other: np.ndarray, **about: Any) -> Task:
        kept = np.flatnonzero(one | other)
        return Task(name, X[kept], one[kept].astype(int), kept, **about)

    male = labels["gender"] == "male"
    middle = adult & (age <= 60)
    white = adult & (race == "White")
    young = adult & (age <= 30)
    yield task("gender, utk 18+", male & adult, ~male & adult, paper=0.993)
    yield task("gender, utk 18–60", male & middle, ~male & middle, paper=0.993, target=0.965)
    yield task("white/black", white, adult & (race == "Black"), paper=0.993, target=0.94)
    yield task("white/Indian", white, adult & (race == "Indian"), paper=0.993, target=0.90)
    yield task("age 18–25 / 65+", age >= 65, adult & (age <= 25), paper=0.941, target=0.98)
    yield task("age 18–30 / 55+", age >= 55, young, paper=0.941, target=0.94)
    yield task("child / adult", age <= 12, adult, paper=0.941, target=0.92, chosen_on=True)


def within_people(source: Source, sets: tuple[str, ...]) -> Iterator[Task]:
    """Yield the questions about photos of one person."""
    if "celeba" in sets:
        labels = columns("celeba")
        X, people = source("celeba", labels), labels["identity"]
        men = np.unique(people[labels["Male"] == "1"])

        def task(name: str, column: str, **about: Any) -> Task:
            truth = labels[column].astype(int)
            if column == "No_Beard":
                truth = np.where(np.isin(people, men), 1 - truth, -1)
            return Task(name, X, truth, people, **about)

        yield task("glasses", "Eyeglasses", paper=0.76, target=0.91, chosen_on=True)
        yield task("beard, men", "No_Beard", paper=0.90, target=0.70)
        yield task("smiling", "Smiling", chosen_on=True)
        yield task("hat", "Wearing_Hat")
        yield task("mouth open", "Mouth_Slightly_Open")
        yield task("bangs", "Bangs")
    if "cmu" in sets:
        labels = columns("cmu")
        X, people = source("cmu", labels), labels["identity"]
        yield Task("sunglasses, cmu", X, labels["sunglasses"].astype(int), people)
        yield Task("angry or neutral, cmu", X, (labels["emotion"] == "angry").astype(int), people)


def emotions(source: Source, sets: tuple[str, ...]) -> Iterator[Task]:
    """Yield pairs of studio expressions, one photo of each a person."""
    if "yale" not in sets:
        return
    labels = columns("yale")
    X, condition = source("yale", labels), labels["condition"]
    for one, other in (("happy", "surprised"), ("sad", "surprised"), ("happy", "sad")):
        truth = np.where(condition == one, 1, np.where(condition == other, 0, -1))
        yield Task(f"{one} or {other}, yale", X, truth, labels["identity"])


def draw_between(task: Task, rng: np.random.Generator) -> np.ndarray:
    """Return rows: one a person, as many of each class."""
    order = rng.permutation(len(task.truth))
    first = order[np.unique(task.people[order], return_index=True)[1]]
    classes = [rng.permutation(first[task.truth[first] == value]) for value in (0, 1)]
    return np.concatenate([rows[: min(map(len, classes))] for rows in classes])


def draw_within(task: Task, rng: np.random.Generator, fewest: int = 4) -> list[np.ndarray]:
    """Return rows of every person with so many photos of both classes, as many of each."""
    groups = []
    for person in np.unique(task.people):
        here = np.flatnonzero(task.people == person)
        classes = [rng.permutation(here[task.truth[here] == value]) for value in (0, 1)]
        n = min(map(len, classes))
        if n >= fewest:
            groups.append(np.concatenate([rows[:n] for rows in classes]))
    return groups
