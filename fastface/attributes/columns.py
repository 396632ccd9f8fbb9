"""Splits and label columns side by side, as columns and as groups of rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastface.attributes.estimator import AttributeDiscovery
from fastface.attributes.labels import BinaryAttribute

__all__ = ["attribute_columns", "audited_groups", "by_column"]

_AUDITED_SPLITS = 5


def by_column(questions: Sequence[BinaryAttribute]) -> dict[str, list[BinaryAttribute]]:
    """Return the questions of each label column."""
    columns: dict[str, list[BinaryAttribute]] = {}
    for question in questions:
        columns.setdefault(question.column, []).append(question)
    return columns


def attribute_columns(
    model: AttributeDiscovery, questions: Sequence[BinaryAttribute]
) -> dict[str, NDArray[np.int8]]:
    """Return sides of the strongest splits, and answers, by name: 0, 1, or −1."""
    splits = {
        names.name: side
        for names, side in zip(
            model.names_[:_AUDITED_SPLITS], model.splits_[:_AUDITED_SPLITS], strict=True
        )
    }
    return {**splits, **{question.name: question.values for question in questions}}


def audited_groups(
    model: AttributeDiscovery, questions: Sequence[BinaryAttribute]
) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Return which rows are in which group, for the strongest splits and each label column."""
    groups: dict[str, dict[str, NDArray[np.bool_]]] = {
        names.name: {
            names.sides[value] if names.sides != ("0", "1") else f"side {value}": side == value
            for value in (0, 1)
        }
        for names, side in zip(
            model.names_[:_AUDITED_SPLITS], model.splits_[:_AUDITED_SPLITS], strict=True
        )
    }
    for column, parts in by_column(questions).items():
        for question in parts:
            for value in (0, 1):
                # Of one class against the rest, the rest is no group of its own.
                if len(parts) == 1 or value == 1:
                    group = {question.classes[value]: question.values == value}
                    groups[column] = {**groups.get(column, {}), **group}
    return groups
