"""What embeddings tell apart: the paper, plain k-means, ours, luck, and a probe that sees labels.

From the stored embeddings of the labelled crops, or with ``--crops`` from the crops by the default
model.  Balanced classes, mean over draws; between people the best of the first five splits.
Intervals are the 95 % of resampled people, averaged over draws.  ``--rows N`` times a fit.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.attribute_tasks import (
    FACES,
    Source,
    Task,
    between_people,
    columns,
    draw_between,
    draw_within,
    emotions,
    from_crops,
    stored,
    within_people,
)
from benchmarks.harness import isolated_python, measure_peak_rss, print_table, write_results
from fastface import AttributeDiscovery
from fastface.attributes.importance import attribute_importance
from fastface.attributes.kmeans import plain_k_means
from fastface.attributes.probe import linear_probe, probe_within
from fastface.attributes.significance import score_between, score_within
from fastface.attributes.two_means import spatial_signs

HEADERS = ["task", "n", "paper", "k-means", "ours", "interval", "luck", "probe", "target", "split"]


# Within one person there is a second ceiling: what the labels of a person's other photos tell.
WITHIN = [*HEADERS[:8], "own probe", *HEADERS[8:]]


def percent(value: float | None) -> str:
    """Write a share as a number of percent."""
    return "–" if value is None or np.isnan(value) else f"{100 * value:.1f}"


def row(task: Task, n: str, found: dict[str, list[float]], split: str) -> list[str]:
    """Return one row of the table: means over draws."""
    mean = {key: float(np.mean(values)) if values else None for key, values in found.items()}
    reached = "" if task.target is None else f"≥ {100 * task.target:.1f}"
    if task.target is not None and mean["ours"] is not None:
        reached += " ✓" if mean["ours"] >= task.target else " ✗"
    return [
        task.name + (" *" if task.chosen_on else ""),
        n,
        percent(task.paper),
        percent(mean["plain"]),
        percent(mean["ours"]),
        f"{percent(mean['low'])}–{percent(mean['high'])}",
        percent(mean["luck"]),
        percent(mean["probe"]),
        reached,
        split,
    ]


def empty() -> dict[str, list[float]]:
    """Return the columns that are averaged over draws."""
    return {key: [] for key in ("plain", "ours", "low", "high", "luck", "probe")}


def between(task: Task, n_draws: int) -> list[str]:
    """Score one question between people."""
    found, ranks, n = empty(), [], 0
    for seed in range(n_draws):
        rng = np.random.default_rng(seed)
        rows = draw_between(task, rng)
        X, truth, n = task.X[rows], task.truth[rows], len(rows)
        model = AttributeDiscovery(5, max_depth=0, random_state=seed).fit(X)
        score = score_between(task.name, np.stack(model.splits_, axis=1), truth, rng=rng)
        plain = plain_k_means(X, 2, seed=seed)[:, None]
        found["plain"].append(
            score_between(task.name, plain, truth, rng=rng, n_resamples=1).balanced_accuracy
        )
        ceiling = linear_probe(X, truth, np.arange(n), rng=rng, n_resamples=1)
        if ceiling is not None:
            found["probe"].append(ceiling.balanced_accuracy)
        add_score(found, score)
        ranks.append(score.split + 1)
    return row(task, str(n), found, f"{int(np.median(ranks))}")


def add_score(found: dict[str, list[float]], score: Any) -> None:
    """Note accuracy, interval and random level of one draw."""
    found["ours"].append(score.balanced_accuracy)
    found["low"].append(score.low)
    found["high"].append(score.high)
    found["luck"].append(score.random_level)


def within(task: Task, n_draws: int) -> list[str]:
    """Score one question about the photos of one person, person by person."""
    found = empty()
    model = AttributeDiscovery(1, max_depth=0).fit(task.X, person_ids=task.people)
    groups: list[np.ndarray] = []
    own = []
    for seed in range(n_draws):
        rng = np.random.default_rng(seed)
        groups = draw_within(task, rng)
        rows = np.concatenate(groups)
        codes = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        truth = task.truth[rows]
        sides = model.divide(task.X[rows], codes)
        plain = np.concatenate([plain_k_means(task.X[g], 2, seed=seed) for g in groups])
        for side, key in ((sides, "ours"), (plain, "plain")):
            score = score_within(task.name, [side], truth, codes, rng=rng)
            if score is None:
                continue
            if key == "ours":
                add_score(found, score)
            else:
                found["plain"].append(score.balanced_accuracy)
        own.append(
            np.mean(
                [
                    own_probe(
                        spatial_signs(task.X[g] @ model.whitening_.matrix, np.array([0, len(g)])),
                        task.truth[g],
                    )
                    for g in groups
                ]
            )
        )
    # The probe sees all photos, not the draws alone: it is a ceiling.
    known = np.flatnonzero(task.truth >= 0)
    people = np.unique(task.people[known], return_inverse=True)[1]
    rng = np.random.default_rng(0)
    ceiling = probe_within(task.X[known], task.truth[known], people, rng=rng, n_folds=10)
    if ceiling is not None:
        found["probe"].append(ceiling.balanced_accuracy)
    sizes = f"{len(groups)} × {np.mean([len(g) for g in groups]):.0f}" if groups else "0"
    cells = row(task, sizes, found, "own")
    return [*cells[:8], percent(float(np.mean(own))), *cells[8:]]


def own_probe(X: np.ndarray, truth: np.ndarray) -> float:
    """Return how well one person's photos are told by the labels of that person's other photos.

    Each photo joins the nearer mean of the two classes without it, in the space that is divided.
    """
    right = np.zeros(len(X))
    for i in range(len(X)):
        others = np.arange(len(X)) != i
        one, zero = (X[others & (truth == value)].mean(axis=0) for value in (1, 0))
        nearer = X[i] @ (one - zero) > (one @ one - zero @ zero) / 2
        right[i] = nearer == truth[i]
    return float((right[truth == 1].mean() + right[truth == 0].mean()) / 2)


def pooled(task: Task) -> list[str]:
    """Score expressions over people, after each person's mean of the two photos is removed."""
    found = empty()
    known = np.flatnonzero(task.truth >= 0)
    X, truth = task.X[known], task.truth[known]
    codes = np.unique(task.people[known], return_inverse=True)[1]
    means = np.zeros((codes.max() + 1, X.shape[1]))
    np.add.at(means, codes, X)
    residual = X - (means / np.bincount(codes)[:, None])[codes]
    rng = np.random.default_rng(0)
    splits = AttributeDiscovery(5, max_depth=0).fit(residual).splits_
    score = score_between(task.name, np.stack(splits, axis=1), truth, rng=rng)
    add_score(found, score)
    plain = plain_k_means(residual, 2, seed=0)[:, None]
    found["plain"].append(score_between(task.name, plain, truth, rng=rng).balanced_accuracy)
    ceiling = linear_probe(residual, truth, codes, rng=rng, n_resamples=1)
    if ceiling is not None:
        found["probe"].append(ceiling.balanced_accuracy)
    return row(task, str(len(known)), found, f"{score.split + 1}")


def mixture(source: Source) -> Iterator[list[str]]:
    """Fit once on everybody in utk, nothing balanced, and say which split answers what."""
    labels = columns("utk")
    model = AttributeDiscovery(5).fit(source("utk", labels))
    race = np.where(np.isin(labels["race"], ["White", "Black"]), labels["race"], "")
    questions = {"gender": labels["gender"], "white/black": race, "age": labels["age"]}
    for score in model.score(questions, cuts={"age": (25, 65)}):
        interval = f"{percent(score.low)}–{percent(score.high)}"
        yield [
            score.name,
            str(score.n_units),
            percent(score.balanced_accuracy),
            interval,
            percent(score.random_level),
            f"{score.split + 1}",
        ]


def importance(source: Source) -> Iterator[list[str]]:
    """Measure what verification of celeba loses without an attribute."""
    labels = columns("celeba")
    names = ("Male", "Young", "Dark_Skin", "Eyeglasses", "No_Beard", "Smiling")
    attributes = {name: labels[name].astype(int) for name in names}
    for found in attribute_importance(
        source("celeba", labels), labels["identity"], attributes, rng=np.random.default_rng(0)
    ):
        yield [
            found.name,
            str(found.n_dimensions),
            percent(found.variance_share),
            percent(found.true_acceptance),
            f"{100 * found.change:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})",
            f"{100 * found.change_of_first:+.1f}",
            f"{100 * found.random_change:+.1f}",
        ]


_TIMED = """
import sys, time, resource
import numpy as np
from fastface import AttributeDiscovery
n, per_person = int(sys.argv[-2]), int(sys.argv[-1])
rng = np.random.default_rng(0)
X = rng.standard_normal((n, 128), dtype=np.float32)
X *= np.linspace(2, 0.2, 128, dtype=np.float32)
for axis, (share, gap) in enumerate(((0.45, 6), (0.4, 5), (0.5, 4))):
    X[rng.random(n) < share, axis] += gap
ids = rng.integers(0, n // per_person, n) if per_person else None
AttributeDiscovery(n_starts=4).fit(X[:400], person_ids=None if ids is None else ids[:400] % 40)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
AttributeDiscovery().fit(X, person_ids=ids)
print(time.perf_counter() - start, before * 1024)
"""


def timed(n_rows: int) -> Iterator[list[str]]:
    """Fit drawn rows in a process of their own."""
    for per_person in (0, 20):
        argv = [*isolated_python(_TIMED), str(n_rows), str(per_person)]
        done = measure_peak_rss(argv)
        seconds, before = (float(part) for part in done.stdout.split()[-2:])
        people = "no people" if not per_person else f"{n_rows // per_person:,} people"
        added = (done.rss_bytes - before) / 2**20
        yield [f"{n_rows:,} × 128", people, f"{seconds:.1f}", f"{added:.0f}"]


def main(argv: Sequence[str]) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks attributes", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="small: does it still run?")
    parser.add_argument("--crops", action="store_true", help="embed the crops first")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--rows", type=int, default=0, metavar="N", help="time a fit of N rows too")
    options = parser.parse_args(argv)
    with threadpool_limits(1, user_api="blas"):  # very many small matrices
        return run(options)


def run(options: argparse.Namespace) -> int:
    """Print and write the tables that were asked for."""
    results: dict[str, Any] = {}

    def table(name: str, headers: list[str], rows: Iterator[list[str]]) -> None:
        listed = list(rows)
        if listed:
            print(f"\n{name}")
            print_table(headers, listed)
            results[name] = [dict(zip(headers, r, strict=True)) for r in listed]

    if FACES.is_dir():
        draws = 1 if options.smoke else options.draws
        sets = ("cmu", "yale") if options.smoke else ("celeba", "lfw", "utk", "cmu", "yale")
        known: dict[str, np.ndarray] = {}

        def source(name: str, labels: Any) -> np.ndarray:
            if name not in known:
                known[name] = (from_crops if options.crops else stored)(name, labels)
            return known[name]

        table(
            "between people, best of five splits",
            HEADERS,
            (between(task, draws) for task in between_people(source, sets)),
        )
        table(
            "within one person",
            WITHIN,
            (within(task, draws) for task in within_people(source, sets)),
        )
        table(
            "expressions over people, each person's mean removed, best of five splits",
            HEADERS,
            (pooled(task) for task in emotions(source, sets)),
        )
        if not options.smoke:
            headers = ["question", "n", "ours", "interval", "luck", "split"]
            table("one fit on all of utk, nothing balanced", headers, mixture(source))
            headers = ["attribute", "directions", "variance", "TAR", "change", "first", "random"]
            table("importance, celeba, TAR at FAR 0.1 %", headers, importance(source))
        print("\n* settings were chosen for this task, the others were in view")
        print("n × m: people × photos of each")
    else:
        print(f"the labelled photos are not at {FACES}: nothing to score")
    rows = 2000 if options.smoke else options.rows
    if rows:
        headers = ["rows", "people", "seconds", "MiB above the rows"]
        table("time of a fit", headers, timed(rows))
    print(f"\nwritten to {write_results('attributes', results, peers=['scikit-learn'])}")
    return 0
