"""``fastface attributes``: what the embeddings of a run tell apart."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastface.cli.attribute_labels import FaceLabels, read_labels
from fastface.cli.output import choose_progress, print_json, printable
from fastface.errors import InvalidInputError, MissingDependencyError, StorageError
from fastface.vault import load_array

if TYPE_CHECKING:
    from fastface import AttributeDiscovery
    from fastface.attributes.study import Study

_EPILOG = """\
The CSV file names faces by a column face_id, photo (its largest face) or person_id (all of a
person's faces), with one more column for each label.  A column person or identity with the known
people makes importance and audit rest on them.

Attributes are for auditing and understanding a model, not for judging, sorting or profiling people.
"""


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "attributes",
        parents=[common],
        help="show what the embeddings of a run tell apart",
        description="Split the faces of a run without labels, and compare with labels if given.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="the run folder")
    parser.add_argument("--labels", metavar="FILE", help="CSV of labels to compare with")
    parser.add_argument(
        "--missing",
        action="append",
        default=[],
        metavar="VALUE",
        help="a value that means nothing is known, beside the empty one; may be repeated",
    )
    parser.add_argument(
        "--cut",
        action="append",
        default=[],
        metavar="COLUMN=LOW,HIGH",
        help="of a column of numbers, compare HIGH and above with LOW and below",
    )
    parser.add_argument("--person", metavar="COLUMN", help="the column with the known people")
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="N=NAME[:SIDE0/SIDE1]",
        help="call split N so; kept for the next time, and in model.npz",
    )
    parser.add_argument(
        "--model",
        metavar="FILE",
        help="use the splits of another run's attributes/model.npz instead of looking for new ones",
    )
    parser.add_argument("--splits", type=int, default=10, metavar="N", help="(%(default)s)")
    parser.add_argument("--depth", type=int, default=3, metavar="N", help="of the tree (3)")
    parser.add_argument(
        "--nuisance",
        type=int,
        default=0,
        metavar="N",
        help="remove the N strongest directions in which photos of one person differ (0)",
    )
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    parser.set_defaults(call=call)


def call(options: argparse.Namespace) -> int:
    """Study the run and write the page."""
    try:
        from fastface.attributes.study import study_attributes
        from fastface.pipeline.storage import read_table
        from fastface.report.attributes import write_attributes
        from fastface.report.folder import refuse_foreign
    except ModuleNotFoundError as error:
        raise MissingDependencyError.for_package(
            error.name or "a package", extra="faces,report", purpose="The page of attributes"
        ) from error
    folder = Path(options.run)
    embeddings = _embeddings(folder)
    refuse_foreign(folder / "attributes")
    faces = read_table(folder / "faces.parquet").to_pydict()
    person_ids = np.asarray(faces["person_id"])
    if len(person_ids) != len(embeddings):
        raise StorageError(
            f"{folder} has {len(embeddings)} embeddings and {len(person_ids)} faces: it is not"
            " finished; run the command that made it again"
        )
    cuts = dict(_cut(text) for text in options.cut)
    labels: FaceLabels | None = None
    if options.labels:
        skipped = set(read_table(folder / "skipped.parquet")["file"].to_pylist())
        labels = read_labels(Path(options.labels), faces, skipped, options.person)
    elif options.cut or options.person or options.missing:
        raise InvalidInputError("--cut, --person and --missing say how to read --labels FILE")
    model = _model(options, folder, embeddings, person_ids)
    progress = choose_progress(options)
    study = study_attributes(
        embeddings,
        person_ids,
        labels.columns if labels and labels.columns else None,
        true_ids=_known_people(labels, person_ids),
        missing=options.missing,
        cuts=cuts,
        discovery=model,
        found_elsewhere=bool(options.model),
        progress=progress,
    )
    page = write_attributes(folder, study, embeddings, person_ids, progress=progress)
    if options.json:
        print_json({"report": str(page), **study.as_dict()})
    else:
        _print(study, labels, page)
    return 0


def _embeddings(folder: Path) -> NDArray[Any]:
    path = folder / "embeddings.npy"
    if not path.is_file():
        raise StorageError(
            f"{folder} is not a finished run folder: it has no embeddings.npy. Give the folder"
            " that `fastface run PHOTOS --out FOLDER` made"
        )
    try:
        embeddings = load_array(path, mmap=True)
    except (ValueError, EOFError) as error:
        raise StorageError(f"{path} is damaged ({error}): make the run again") from error
    return embeddings


def _model(
    options: argparse.Namespace, folder: Path, embeddings: NDArray[Any], person_ids: NDArray[Any]
) -> AttributeDiscovery:
    """Return a fitted model with the names given now, or earlier to the same splits."""
    from fastface import AttributeDiscovery

    # Read before any work, so that a name that cannot be given costs nothing.
    names = [_name(text) for text in options.name]
    if options.model:
        model = AttributeDiscovery.load(options.model)
    else:
        model = AttributeDiscovery(
            options.splits,
            max_depth=options.depth,
            n_nuisance=options.nuisance,
            random_state=options.seed,
        ).fit(embeddings, person_ids=person_ids)
        earlier = folder / "attributes" / "model.npz"
        if earlier.is_file():
            _keep_names(AttributeDiscovery.load(earlier), model)
    for number, name, sides in names:
        if number > len(model.names_):
            raise InvalidInputError(f"--name {number}: there are {len(model.names_)} splits")
        model.name_split(number - 1, name, sides)
    return model


def _keep_names(earlier: AttributeDiscovery, model: AttributeDiscovery) -> None:
    """Give splits that are as good as the same the names they had."""
    for old, names in zip(earlier.hyperplanes_, earlier.names_, strict=True):
        if names.name.startswith("split ") and names.sides == ("0", "1"):
            continue
        for j, new in enumerate(model.hyperplanes_):
            if len(old.direction) != len(new.direction):
                continue
            cosine = float(old.direction @ new.direction)
            if abs(cosine) > 0.95:
                zero, one = names.sides
                model.name_split(j, names.name, (zero, one) if cosine > 0 else (one, zero))


def _known_people(labels: FaceLabels | None, found: NDArray[Any]) -> NDArray[Any] | None:
    """Return the known person of every face; faces nobody knows are people of their own."""
    if labels is None or labels.people is None:
        return None
    return np.array(
        [
            f"known {person}" if person else f"unknown {face}"
            for face, person in enumerate(labels.people)
        ]
    )


def _cut(text: str) -> tuple[str, tuple[float, float]]:
    column, equals, numbers = text.rpartition("=")
    try:
        low, high = (float(number) for number in numbers.split(","))
    except ValueError:
        equals = ""
    if not equals or not column:
        raise InvalidInputError(f"--cut {text!r} must be COLUMN=LOW,HIGH, as in age=25,65")
    return column, (low, high)


def _name(text: str) -> tuple[int, str, tuple[str, str]]:
    number, equals, rest = text.partition("=")
    name, colon, sides = rest.partition(":")
    zero, slash, one = sides.partition("/")
    if not (number.isdigit() and int(number) and equals and name) or (colon and not slash):
        raise InvalidInputError(
            f"--name {text!r} must be N=NAME or N=NAME:SIDE0/SIDE1, as in 1=gender:man/woman"
        )
    return int(number), name, (zero, one) if colon else ("0", "1")


def _print(study: Study, labels: FaceLabels | None, page: Path) -> None:
    print(
        f"{study.n_rows} faces of {study.n_people} people:"
        f" {len(study.discovery.hyperplanes_)} splits between them,"
        f" {study.n_divided} people divided within"
    )
    for line in _split_lines(study):
        print(line)
    if labels:
        print(f"labels for {labels.n_labelled} faces, best split against them:")
        for answer in study.answers:
            score = answer.score
            print(
                f"  {printable(score.name)}, {score.level}: {score.balanced_accuracy:.1%}"
                f" ({score.low:.1%} to {score.high:.1%}), by luck {score.random_level:.1%},"
                f" q {score.q_value:.3f}"
            )
        for column, why in study.skipped.items():
            print(f"  left out {printable(column)}: {printable(why)}")
    print(f"report: {printable(str(page))}")


def _split_lines(study: Study) -> Sequence[str]:
    lines = []
    for j, split in enumerate(study.discovery.hyperplanes_[:5]):
        known = f", p {study.stability[j].p_value:.3f}" if study.stability else ""
        lines.append(
            f"  {printable(study.discovery.names_[j].name)}: {split.strength:.1%} of the variance,"
            f" {split.share:.0%} on side 1, {split.separation:.1f} deviations apart{known}"
        )
    return lines
