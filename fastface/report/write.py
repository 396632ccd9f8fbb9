"""Write the report of a run folder."""

from __future__ import annotations

from pathlib import Path

from fastface.errors import StorageError
from fastface.private import make_folder, write
from fastface.progress import NullProgress, Progress, Step

from .folder import replacing
from .pages import Pages
from .photos import PhotoLinks
from .run_data import RunData, iterate_crops, read_run
from .views import crop_address

ASSETS = Path(__file__).parent / "assets"

# A face is written as a crop, with its person and in its photo.
_SHOWN_PER_FACE = 3


def write_report(
    run_folder: str | Path,
    *,
    photo_root: str | Path | None = None,
    order: str = "doubt",
    progress: Progress | None = None,
) -> Path:
    """Write ``report/`` in a finished run folder.

    The pages open from disk with no network and no JavaScript.  Photos are linked, never copied;
    crops are copied as they are.  The folder appears whole or not at all: an older report stays
    until the new one is finished.  The same run folder and photos give the same bytes.

    Parameters
    ----------
    run_folder : path
        The folder that ``fastface run`` made.
    photo_root : path, optional
        Where the photos are now.  By default, where ``run.json`` says they were.
    order : {"doubt", "size", "name"}
        Of people: most doubtful first, largest first, or by name.
    progress : Progress, optional
        What to tell how far the work is; nothing by default.

    Returns
    -------
    Path
        The front page, ``report/index.html``.

    Raises
    ------
    InvalidInputError
        If there is no such order.
    StorageError
        If `run_folder` is not a finished run folder, if ``report`` there was not written by
        fastface, or if the disk refuses.
    CorruptFileError
        If a file of the run folder is damaged, or does not fit the others.
    RunLockedError
        If another process is writing the same report.
    MissingDependencyError
        If pyarrow, Jinja2 or Pillow is not installed.
    """
    folder = Path(run_folder)
    data = read_run(folder, order)
    target = folder / "report"
    pages = Pages(data, PhotoLinks(_photo_root(data, photo_root), target), order)
    total = _SHOWN_PER_FACE * len(data.faces)
    with (
        replacing(target) as building,
        (progress or NullProgress()).step("report", total, "steps") as step,
    ):
        for asset in sorted(ASSETS.iterdir()):
            write(building / asset.name, asset.read_bytes())
        _write_crops(data, building, step)
        for name in ("people", "photos", "skipped"):
            make_folder(building / name)
        for page in pages:
            write(building / page.name, page.html)
            if page.n_faces:
                step.advance(page.n_faces)
    return target / "index.html"


def _photo_root(data: RunData, given: str | Path | None) -> Path:
    recorded = data.info.get("photo_root")
    if given is not None:
        return Path(given)
    if isinstance(recorded, str) and recorded:
        return Path(recorded)
    raise StorageError(
        f"{data.folder / 'run.json'} does not say where the photos are. "
        f"Give their folder: write_report(..., photo_root=FOLDER)."
    )


def _write_crops(data: RunData, building: Path, step: Step) -> None:
    parents: set[Path] = set()
    for face_id, jpeg in iterate_crops(data.folder, len(data.faces)):
        path = building / crop_address(face_id)
        if path.parent not in parents:
            make_folder(path.parent, parents=True, exist_ok=True)
            parents.add(path.parent)
        write(path, jpeg)
        step.advance()
