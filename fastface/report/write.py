"""Write the report of a run folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from fastface.errors import StorageError

from .folder import replacing
from .pages import Pages
from .photos import PhotoLinks
from .run_data import RunData, iterate_crops, read_run
from .views import crop_address

ASSETS = Path(__file__).parent / "assets"

Progress = Callable[[int, int], None]


def write_report(
    run_folder: str | Path,
    *,
    photo_root: str | Path | None = None,
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
    progress : callable, optional
        Called with (steps done, steps in all) as the work goes on.

    Returns
    -------
    Path
        The front page, ``report/index.html``.

    Raises
    ------
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
    data = read_run(folder)
    target = folder / "report"
    pages = Pages(data, PhotoLinks(_photo_root(data, photo_root), target))
    steps = _Steps(_n_steps(pages), progress)
    with replacing(target) as building:
        for asset in sorted(ASSETS.iterdir()):
            shutil.copyfile(asset, building / asset.name)
        _write_crops(data, building, steps)
        for name in ("people", "photos", "skipped"):
            (building / name).mkdir()
        for page in pages:
            (building / page.name).write_text(page.html, encoding="utf-8", newline="\n")
            steps.advance(page.n_faces)
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


def _n_steps(pages: Pages) -> int:
    """Count faces three times: as a crop, with their person, in their photo."""
    return 3 * len(pages.data.faces)


def _write_crops(data: RunData, building: Path, steps: _Steps) -> None:
    parents: set[Path] = set()
    for face_id, jpeg in iterate_crops(data.folder, len(data.faces)):
        path = building / crop_address(face_id)
        if path.parent not in parents:
            path.parent.mkdir(parents=True, exist_ok=True)
            parents.add(path.parent)
        path.write_bytes(jpeg)
        steps.advance(1)


class _Steps:
    def __init__(self, total: int, progress: Progress | None) -> None:
        self._done = 0
        self._total = total
        self._progress = progress

    def advance(self, n: int) -> None:
        self._done += n
        if self._progress is not None and n:
            self._progress(self._done, self._total)
