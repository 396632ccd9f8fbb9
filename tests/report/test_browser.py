"""The pages as a browser draws them, opened from disk."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastface.report import write_report

BOX = (100, 60, 200, 160)
RED, BLUE = (214, 60, 50), (60, 80, 220)
PHOTO = (20, 160, 170)
HOT = (255, 207, 74)


class Browser:
    def __init__(self, chromium: str, folder: Path) -> None:
        self._command = [
            chromium,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--virtual-time-budget=4000",
            "--force-color-profile=srgb",
            f"--user-data-dir={folder / 'profile'}",
        ]
        self._picture = folder / "screenshot.png"

    def screenshot(self, page: Path, *flags: str, fragment: str = "") -> np.ndarray:
        self._picture.unlink(missing_ok=True)
        self._run(
            f"--screenshot={self._picture}",
            "--window-size=1200,900",
            *flags,
            page=page,
            fragment=fragment,
        )
        with Image.open(self._picture) as image:
            return np.asarray(image.convert("RGB")).astype(int)

    def dom(self, page: Path, *flags: str) -> str:
        return self._run("--dump-dom", *flags, page=page)

    def _run(self, *flags: str, page: Path, fragment: str = "") -> str:
        address = page.resolve().as_uri() + fragment
        done = subprocess.run(
            [*self._command, *flags, address],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return done.stdout


@pytest.fixture
def browser(chromium: str, tmp_path: Path) -> Browser:
    return Browser(chromium, tmp_path)


def where(picture: np.ndarray, color: tuple[int, int, int], tolerance: int = 24) -> np.ndarray:
    return (np.abs(picture - color) <= tolerance).all(axis=2)


def extent(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what is set; right and bottom exclusive."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def test_front_page_draws_the_faces(small_run, browser):
    picture = browser.screenshot(write_report(small_run.folder))
    assert where(picture, (250, 249, 246), 2).mean() > 0.3  # paper: the style sheet is in force
    for color in (RED, BLUE):
        assert where(picture, color).sum() > 10_000
    # Three cards beside each other, so the colors lie side by side and not one below the other.
    assert extent(where(picture, RED))[2] <= extent(where(picture, BLUE))[0]


def test_dark_mode(small_run, browser):
    index = write_report(small_run.folder)
    picture = browser.screenshot(index, "--blink-settings=preferredColorScheme=0")
    assert where(picture, (20, 20, 19), 2).mean() > 0.3
    assert where(picture, RED).sum() > 10_000


def test_person_page_draws_all_their_faces_and_no_other(small_run, browser):
    index = write_report(small_run.folder)
    picture = browser.screenshot(index.parent / "people" / "0.html")
    assert where(picture, RED).sum() > 7 * 8_000
    assert where(picture, BLUE).sum() == 0


def check_box(picture: np.ndarray) -> None:
    """Check that the marked box runs around the person's color in the photo."""
    stage = where(picture, PHOTO)
    assert stage.sum() > 50_000
    left, top, right, bottom = extent(stage)
    face = np.zeros_like(stage)
    face[top:bottom, left:right] = where(picture, RED)[top:bottom, left:right]
    box = extent(where(picture, HOT, 40))
    assert np.abs(np.subtract(box, extent(face))).max() <= 6
    assert face.sum() > 5_000


def test_photo_page_draws_the_photo_with_the_face_marked(small_run, browser):
    index = write_report(small_run.folder)
    picture = browser.screenshot(index.parent / "photos" / "1.html", fragment="#face-0")
    check_box(picture)
    # Only the photo asked for is there, as large as the page allows.
    assert where(picture, PHOTO).sum() > 150_000


def oriented(upright: Image.Image, orientation: int) -> Image.Image:
    """Store an upright picture the way a camera held in another way does."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    return upright.transpose(undo[orientation])


@pytest.mark.parametrize(
    ("suffix", "orientation"),
    [("jpg", 3), ("jpg", 6), ("png", 8), ("webp", 2), ("webp", 5), ("webp", 6), ("webp", 8)],
)
def test_boxes_follow_the_orientation_of_the_photo(make_run, browser, suffix, orientation):
    name = f"turned.{suffix}"
    run = make_run([(name, 0, (40, 20, 150, 90)), ("other.jpg", 1, BOX)])
    upright = Image.new("RGB", (400, 300), PHOTO)
    upright.paste(RED, (40, 20, 150, 90))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = oriented(upright, orientation)
    stored.save(run.photos / name, exif=exif, **({"quality": 95} if suffix != "png" else {}))
    index = write_report(run.folder)
    page = index.parent / "photos" / "1.html"
    face = next(f["face_id"] for f in run.faces if f["photo"] == name)
    check_box(browser.screenshot(page, fragment=f"#face-{face}"))


def test_policy_stops_scripts_and_styles_that_slip_in(small_run, browser):
    index = write_report(small_run.folder)
    html = index.read_text(encoding="utf-8")
    attack = (
        "<script>document.title='taken'</script><img src='x' onerror=\"document.title='taken'\">"
    )
    for policy_stands in (True, False):
        page = index.with_name("attacked.html")
        kept = html if policy_stands else html.replace("http-equiv", "data-gone")
        page.write_text(kept.replace("</main>", attack + "</main>"), encoding="utf-8")
        title = browser.dom(page).split("<title>")[1].split("</title>")[0]
        assert (title == "taken") is not policy_stands


def test_hostile_names_stay_text_in_the_browser(make_run, browser):
    name = "\"><script>document.title='taken'</script>'.jpg"
    run = make_run([(name.replace("/", "∕"), 0, BOX), ("b.jpg", 0, BOX)], names={0: name})
    dom = browser.dom(write_report(run.folder).parent / "people" / "0.html")
    assert "<script" not in dom
    assert "&lt;script&gt;" in dom


MEASURE = """<!doctype html><body>{frames}<script>
addEventListener('load', () => {{
  const widths = [...document.querySelectorAll('iframe')].map(
    frame => frame.contentDocument.documentElement.scrollWidth);
  document.body.dataset.widths = widths.join(' ');
}});</script>"""


def test_nothing_is_wider_than_a_phone(make_run, browser, tmp_path):
    long_name = "a-photo-with-a-very-long-name-" * 6 + ".jpg"
    seen = [(long_name, 0, BOX), ("b.jpg", 0, BOX), ("c.jpg", 1, BOX)]
    run = make_run(seen, names={0: "Wilhelmina" * 12}, skipped=[(long_name, "empty", "x" * 200)])
    report = write_report(run.folder).parent
    pages = ["index", "people/0", "singletons", "photos/1", "skipped"]
    addresses = [f"{report.as_uri()}/{page}.html" for page in pages]
    addresses.append(f"{addresses[3]}#face-0")
    frames = "".join(f"<iframe width=360 height=700 src='{a}'></iframe>" for a in addresses)
    wrapper = tmp_path / "wrapper.html"
    wrapper.write_text(MEASURE.format(frames=frames))
    dom = browser.dom(wrapper, "--allow-file-access-from-files")
    widths = [int(w) for w in dom.split('data-widths="')[1].split('"')[0].split()]
    assert len(widths) == len(addresses)
    assert max(widths) <= 360, dict(zip(addresses, widths, strict=True))
