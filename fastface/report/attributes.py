"""Write the page of a study of attributes, and its tables, into a run folder."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface import __version__
from fastface.attributes.splits import margins
from fastface.attributes.study import Study
from fastface.attributes.tree import SplitNode
from fastface.attributes.within import WithinRows
from fastface.errors import MissingDependencyError
from fastface.private import create, write
from fastface.progress import NullProgress, Progress

from .attribute_faces import FACES_PER_MEAN, Album, Sheet, borderline, typical
from .attribute_plots import importance_rows, percent, points, rate, score_rows, sweeps
from .folder import replacing
from .pages import CONTENT_SECURITY_POLICY, _environment
from .write import ASSETS

_OWN_ASSETS = Path(__file__).parent / "attribute_assets"
_SPLITS_SHOWN = 6
_SHARED_SHOWN = 3
_PEOPLE_SHOWN = 6
_FACES_PER_NODE = 6
_FACES_PER_PERSON = 8

NAVIGATION = (
    ("splits", "index.html#splits", "Splits"),
    ("tree", "index.html#tree", "Tree"),
    ("within", "index.html#within", "Within people"),
    ("scores", "index.html#scores", "Scores"),
    ("importance", "index.html#importance", "Importance"),
    ("audit", "index.html#audit", "Audit"),
)


@dataclass(frozen=True, slots=True)
class SplitView:
    """A split with its contact sheets."""

    number: int
    name: str
    side_names: tuple[str, str]
    strength: float
    share: float
    separation: float
    agreement: float | None
    luck: float | None
    p_value: float | None
    sheets: list[Sheet]


@dataclass(frozen=True, slots=True)
class NodeView:
    """A branch of the tree."""

    path: str
    n_people: int
    separation: float | None
    faces: list[int]
    children: list[NodeView]


@dataclass(frozen=True, slots=True)
class PersonView:
    """The two sides of one person's photos."""

    label: str
    sides: list[list[int]]


def write_attributes(
    run_folder: str | Path,
    study: Study,
    embeddings: NDArray[Any],
    person_ids: NDArray[Any],
    *,
    progress: Progress | None = None,
) -> Path:
    """Write ``attributes/`` in a finished run folder.

    Parameters
    ----------
    run_folder : path
        The folder that ``fastface run`` made.
    study : Study
        Of its faces, in order of face id.
    embeddings : ndarray of shape (n_faces, n_features)
        Its embeddings.
    person_ids : ndarray of shape (n_faces,)
        Its people.
    progress : Progress, optional
        What to tell how far the work is.

    Returns
    -------
    Path
        The page, ``attributes/index.html``.  Beside it: ``attributes.json``, ``faces.parquet``
        with the sides of every face, ``model.npz`` for `AttributeDiscovery.load`.

    Raises
    ------
    StorageError
        If ``attributes`` there was not written by fastface, or if the disk refuses.
    CorruptFileError
        If a crop is missing or damaged.
    MissingDependencyError
        If pyarrow, Jinja2 or Pillow is not installed.
    """
    folder = Path(run_folder)
    target = folder / "attributes"
    album = Album(folder, len(embeddings))
    people = np.unique(person_ids, return_inverse=True)[1].astype(np.int64)
    view = _View(study, embeddings, people, person_ids, album)
    total = len(embeddings)
    with (
        replacing(target) as building,
        (progress or NullProgress()).step("page", total, "faces") as step,
    ):
        for asset in [*sorted(ASSETS.iterdir()), *sorted(_OWN_ASSETS.iterdir())]:
            write(building / asset.name, asset.read_bytes())
        html = _render(view.context(folder))
        write(building / "index.html", html)
        album.write(building, step.advance)
        document = json.dumps(study.as_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        write(building / "attributes.json", document + "\n")
        _write_table(building / "faces.parquet", study, view.margins, people, person_ids)
        study.discovery.save(building / "model.npz")
    return target / "index.html"


class _View:
    def __init__(
        self,
        study: Study,
        embeddings: NDArray[Any],
        people: NDArray[np.int64],
        person_ids: NDArray[Any],
        album: Album,
    ) -> None:
        self.study, self.people, self.ids, self.album = study, people, person_ids, album
        self.embeddings = embeddings
        self.margins = study.discovery.transform(embeddings)

    def context(self, folder: Path) -> dict[str, Any]:
        study = self.study
        return {
            "to_report": "",
            "site": {
                "collection": f"Attributes of {folder.resolve().name}",
                "navigation": NAVIGATION,
                "version": __version__,
            },
            "study": study,
            "splits": list(self._splits()),
            "tree": self._node(study.discovery.tree_, self._leaves(), None),
            "persons": list(self._persons()),
            "shared": list(self._shared()),
            "scores": score_rows(study),
            "sweeps": sweeps(study),
            "importances": importance_rows(study),
            "overlap": [[float(v) for v in row] for row in study.overlap],
            "parameters": [(k, str(v)) for k, v in study.discovery.get_params().items()],
            "skipped": list(study.skipped.items()),
        }

    def _splits(self) -> Iterator[SplitView]:
        model = self.study.discovery
        for j, split in enumerate(model.hyperplanes_[:_SPLITS_SHOWN]):
            stable = self.study.stability[j] if self.study.stability else None
            names = model.names_[j]
            sides = ("Side 0", "Side 1") if names.sides == ("0", "1") else names.sides
            yield SplitView(
                number=j + 1,
                name=names.name,
                side_names=sides,
                strength=split.strength,
                share=split.share,
                separation=split.separation,
                agreement=stable.agreement if stable else None,
                luck=stable.luck if stable else None,
                p_value=stable.p_value if stable else None,
                sheets=self._sheets(f"split-{j + 1}", self.margins[:, j], sides, self.people),
            )

    def _sheets(
        self, key: str, margins: NDArray[Any], sides: tuple[str, str], people: NDArray[np.int64]
    ) -> list[Sheet]:
        show = self.album.show
        ends = [
            Sheet(
                sides[side],
                show(typical(margins, people, side)),
                self.album.mean(f"{key}-{side}", typical(margins, people, side, FACES_PER_MEAN)),
            )
            for side in (0, 1)
        ]
        between = Sheet("Borderline", show(borderline(margins, people)))
        return [ends[0], between, ends[1]]

    def _leaves(self) -> NDArray[np.str_]:
        """Return the path in the tree of every face, by its person's mean."""
        model = self.study.discovery
        known = model._people
        if known is None:
            return model.tree_.paths(self.embeddings)
        paths: NDArray[np.str_] = model.tree_.paths(known.means(self.embeddings))[known.codes]
        return paths

    def _node(
        self, node: SplitNode, leaves: NDArray[np.str_], above: NDArray[Any] | None
    ) -> NodeView:
        here = np.flatnonzero(np.char.startswith(leaves, node.path))
        if above is None or not len(here):
            chosen = (
                here[np.linspace(0, len(here) - 1, _FACES_PER_NODE).astype(int)]
                if len(here)
                else here
            )
            faces = list(dict.fromkeys(chosen.tolist()))
        else:
            side = int(node.path[-1])
            faces = here[typical(above[here], self.people[here], side, _FACES_PER_NODE)].tolist()
        along = None
        if node.split is not None:
            along = self.embeddings @ node.split.direction - node.split.threshold
        return NodeView(
            path=node.path,
            n_people=node.n_samples,
            separation=node.split.separation if node.split else None,
            faces=self.album.show(faces),
            children=[self._node(child, leaves, along) for child in node.children],
        )

    def _persons(self) -> Iterator[PersonView]:
        if not self.study.discovery.within_splits_:
            return
        own = self.study.discovery.within_splits_[0]
        sizes = np.bincount(self.people[own >= 0], minlength=self.people.max() + 1)
        for person in np.argsort(-sizes, kind="stable")[:_PEOPLE_SHOWN]:
            rows = np.flatnonzero((self.people == person) & (own >= 0))
            if len(rows):
                sides = [rows[own[rows] == v][:_FACES_PER_PERSON].tolist() for v in (0, 1)]
                label = f"Person {self.ids[rows[0]]}"
                yield PersonView(label, [self.album.show(side) for side in sides])

    def _shared(self) -> Iterator[tuple[int, list[Sheet]]]:
        model = self.study.discovery
        known = model._people
        if known is None or model.whitening_ is None or not model.within_splits_:
            return
        divided = np.flatnonzero(model.within_splits_[0] >= 0)
        differences = WithinRows(self.embeddings, known, model.whitening_).differences(divided)
        along = margins(differences, model.within_hyperplanes_[:_SHARED_SHOWN])
        for j in range(along.shape[1]):
            sheets = self._sheets_of_rows(f"shared-{j + 1}", along[:, j], divided)
            yield j + 1, sheets

    def _sheets_of_rows(
        self, key: str, margins: NDArray[Any], rows: NDArray[np.int64]
    ) -> list[Sheet]:
        people = self.people[rows]
        return [
            Sheet(
                f"Side {side}",
                self.album.show(rows[typical(margins, people, side)].tolist()),
                self.album.mean(
                    f"{key}-{side}", rows[typical(margins, people, side, FACES_PER_MEAN)].tolist()
                ),
            )
            for side in (0, 1)
        ]


def _render(context: dict[str, Any]) -> str:
    environment = _environment()
    environment.globals["policy"] = CONTENT_SECURITY_POLICY
    for used in (percent, points, rate):
        environment.filters[used.__name__] = used
    html: str = environment.get_template("attributes.html").render(**context)
    return html


def _write_table(
    path: Path,
    study: Study,
    margins: NDArray[Any],
    people: NDArray[np.int64],
    person_ids: NDArray[Any],
) -> None:
    try:
        pa = importlib.import_module("pyarrow")
        pq = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingDependencyError.for_package(
            "pyarrow", extra="report", purpose="Writing tables"
        ) from error
    columns: dict[str, Any] = {
        "face_id": np.arange(len(people)),
        "person_id": np.asarray(person_ids),
    }
    for j, side in enumerate(study.discovery.splits_):
        columns[f"split_{j + 1}"] = side
        columns[f"split_{j + 1}_margin"] = margins[:, j].astype(np.float32)
    for j, side in enumerate(study.discovery.within_splits_):
        name = "within_own" if j == 0 else f"within_shared_{j}"
        columns[name] = pa.array(side, mask=side < 0)
    names = {
        f"split_{j + 1}": json.dumps([n.name, *n.sides], ensure_ascii=False)
        for j, n in enumerate(study.discovery.names_)
    }
    with create(path) as file:
        pq.write_table(pa.table(columns).replace_schema_metadata(names), file)
