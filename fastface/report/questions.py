"""Questions as the pages ask them: two faces, and what to type for either answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .run_data import Person, Question, RunData
from .views import FaceTile, person_label

__all__ = ["QuestionView", "ask"]


@dataclass(frozen=True, slots=True)
class QuestionView:
    """One question.

    Attributes
    ----------
    text : str
    faces : list of (FaceTile, str, str)
        The two to look at, each with the label and the address of its person.
    n_faces : int
        How many faces would change hands.
    yes, no : str
        Commands.
    """

    text: str
    faces: list[tuple[FaceTile, str, str]]
    n_faces: int
    yes: str | None
    no: str


def ask(
    question: Question,
    data: RunData,
    tile: Callable[[int], FaceTile],
    address: Callable[[Person], str],
) -> QuestionView:
    """Word a question.

    Parameters
    ----------
    question : Question
    data : RunData
    tile : callable
        Of a face.
    address : callable
        Of a person's page.
    """
    people = [data.people[data.person_of[face]] for face in (question.face, question.other)]
    shown = [
        (tile(face), person_label(person), address(person))
        for face, person in zip((question.face, question.other), people, strict=True)
    ]
    # Not the folder's path: the same run gives the same pages, wherever it lies.
    command = "fastface people {} RUN"
    if question.same_person:
        label = person_label(people[0])
        split = f"{command.format('split')} {people[0].person_id} --faces {question.face}"
        return QuestionView(f"Is the left one {label}?", shown, question.n_faces, None, split)
    # The larger one keeps its id, a name before none.
    people.sort(key=lambda person: (person.name is None, -len(person.faces), person.person_id))
    ids = f"{people[0].person_id} {people[1].person_id}"
    return QuestionView(
        "The same person?",
        shown,
        question.n_faces,
        f"{command.format('merge')} {ids}",
        f"{command.format('apart')} {ids}",
    )
