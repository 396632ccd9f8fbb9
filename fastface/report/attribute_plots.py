"""The numbers behind the plots on the page of attributes: positions from 0 to 100."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fastface.attributes.audit import Rate
from fastface.attributes.importance import Importance
from fastface.attributes.study import Answer, Study

# Accuracies in arXiv:2102.03176, by what a label column is likely to be called.
_PAPER = (
    ("between", r"male|female|gender|sex", 0.993),
    ("between", r"skin|race|ethnic", 0.993),
    ("between", r"(?<![a-z])age(?![a-z])|young|old", 0.941),
    ("within", r"beard", 0.900),
    ("within", r"glasses", 0.760),
)


def paper_figure(name: str, level: str) -> float | None:
    """Return the accuracy that the paper gives for such a question, if it does."""
    if " = " in name:  # one of several classes against the rest was not asked there
        return None
    for where, pattern, figure in _PAPER:
        if level == where and re.search(pattern, name.lower().replace("_", " ")):
            return figure
    return None


def place(value: float, low: float = 0.4, high: float = 1.0) -> float:
    """Return the position of a value between two ends, 0 to 100."""
    return round(100 * min(max((value - low) / (high - low), 0.0), 1.0), 2)


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One row of the table of scores, with its marks on a scale from 40 % to 100 %."""

    name: str
    level: str
    split: str
    answer: Answer
    paper: float | None
    is_sure: bool
    dot: float
    low: float
    high: float
    random: float
    plain: float | None
    probe: float | None
    printed: float | None


def score_rows(study: Study) -> list[ScoreRow]:
    """Return the rows of the table of scores."""
    levels = {"between": "between people", "within": "within people", "shared": "within, shared"}
    rows = []
    for answer in study.answers:
        score = answer.score
        paper = paper_figure(score.name, score.level)
        split = "own" if score.level == "within" else f"{score.split + 1}"
        if score.level == "between":
            split = study.discovery.names_[score.split].name
        rows.append(
            ScoreRow(
                name=score.name,
                level=levels[score.level],
                split=split,
                answer=answer,
                paper=paper,
                is_sure=score.q_value <= 0.05,
                dot=place(score.balanced_accuracy),
                low=place(score.low),
                high=place(score.high),
                random=place(score.random_level),
                plain=place(answer.plain.balanced_accuracy) if answer.plain else None,
                probe=place(answer.ceiling.balanced_accuracy) if answer.ceiling else None,
                printed=None if paper is None else place(paper),
            )
        )
    return rows


@dataclass(frozen=True, slots=True)
class Sweep:
    """Balanced accuracy of plain k-means by number of clusters, as points of two lines."""

    name: str
    accuracy: str
    random: str
    first: float
    last: float
    last_random: float
    n_clusters: int


def sweeps(study: Study) -> list[Sweep]:
    """Return one chart for each question."""
    found = []
    for name, matches in study.kmeans_matches.items():
        clusters = sorted(matches)
        if len(clusters) < 2:
            continue
        last = matches[clusters[-1]]
        found.append(
            Sweep(
                name,
                _line([matches[k].balanced for k in clusters]),
                _line([matches[k].balanced_random for k in clusters]),
                matches[clusters[0]].balanced,
                last.balanced,
                last.balanced_random,
                clusters[-1],
            )
        )
    return found


def _line(values: Sequence[float]) -> str:
    step = 100 / (len(values) - 1)
    return " ".join(f"{i * step:.1f},{50 - place(value) / 2:.1f}" for i, value in enumerate(values))


@dataclass(frozen=True, slots=True)
class ImportanceRow:
    """What verification loses without an attribute, on a scale that all rows share."""

    found: Importance
    zero: float
    dot: float
    low: float
    high: float
    random_low: float
    random_high: float


def importance_rows(study: Study) -> list[ImportanceRow]:
    """Return the rows of the chart of importance."""
    ends = [v for i in study.importances for v in (i.low, i.high, i.random_low, i.random_high)]
    low, high = min([*ends, -0.01]), max([*ends, 0.01])
    return [
        ImportanceRow(
            i,
            *(
                place(value, low, high)
                for value in (0.0, i.change, i.low, i.high, i.random_low, i.random_high)
            ),
        )
        for i in study.importances
    ]


def percent(value: float | None, digits: int = 1) -> str:
    """Write 0.9931 as ``99.3 %``, and a dash where there is nothing."""
    return "–" if value is None or value != value else f"{100 * value:.{digits}f} %"


def points(value: float) -> str:
    """Write −0.0123 as ``−1.2``: percentage points with their sign."""
    return f"{100 * value:+.1f}".replace("-", "−")


def rate(value: Rate | None, digits: int = 2) -> str:
    """Write a share with its interval."""
    if value is None or value.value != value.value:
        return "–"
    low, high = (f"{100 * v:.{digits}f}" for v in (value.low, value.high))
    return f"{100 * value.value:.{digits}f} % ({low}–{high})"
