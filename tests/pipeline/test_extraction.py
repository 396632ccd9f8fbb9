from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial
from pathlib import Path

import pytest
from fake_extractor import BrokenExtractor, FakeExtractor, killed_at_first

from fastface.errors import FastfaceError
from fastface.pipeline.extraction import ExtractionPool, WorkerStartError


def extract(photos: Path, contents: list[str], workers: int = 2) -> list:
    photos.mkdir()
    names = [f"{i:03d}.jpg" for i in range(len(contents))]
    for name, content in zip(names, contents, strict=True):
        (photos / name).write_text(content)
    with ExtractionPool(FakeExtractor, workers) as pool:
        return list(pool.extract(photos, names))


def test_results_come_in_order(tmp_path: Path) -> None:
    results = extract(tmp_path / "photos", [f"{i % 3} 1" for i in range(30)])
    assert [len(result.faces) for result in results] == [i % 3 for i in range(30)]
    assert {result.reason for result in results if not result.faces} == {"no_face"}


def test_a_photo_that_ends_its_worker_costs_only_itself(tmp_path: Path) -> None:
    contents = ["1 1"] * 12
    contents[4], contents[5], contents[11] = "crash", "once", "crash"
    results = extract(tmp_path / "photos", contents)
    crashed = [i for i, result in enumerate(results) if result.reason == "crashed"]
    assert crashed == [4, 11]
    assert "SIGSEGV" in results[4].message
    # Ended from outside the first time, read the second time.
    assert len(results[5].faces) == 1


def test_a_bug_on_one_photo_costs_only_that_photo(tmp_path: Path) -> None:
    results = extract(tmp_path / "photos", ["1 1", "raise", "bad", "1 1"])
    assert [result.reason for result in results] == ["", "crashed", "not_an_image", ""]
    assert results[1].message == "IndexError: a bug in a decoder"


def test_what_every_photo_would_meet_is_raised(tmp_path: Path) -> None:
    with pytest.raises(FastfaceError, match="the detector's file is gone"):
        extract(tmp_path / "photos", ["1 1", "broken", "1 1"])


def test_workers_that_cannot_start_are_no_fault_of_the_photos(tmp_path: Path, capfd) -> None:
    (tmp_path / "a.jpg").write_text("1 1")
    # The job is imported here, as it is where the extractor is tried, and not in workers.
    import fastface.pipeline.job  # noqa: F401

    with (
        ExtractionPool(BrokenExtractor, 2) as pool,
        pytest.raises(WorkerStartError, match=r"could not start \(exit status 1\)"),
    ):
        list(pool.extract(tmp_path, ["a.jpg"]))
    assert "no such library" in capfd.readouterr().err


def test_few_photos_are_in_flight(tmp_path: Path) -> None:
    """A slow consumer holds everything up, so that memory stays bounded."""
    taken = []

    def names():
        for i in range(100):
            taken.append(i)
            yield f"{i}.jpg"

    for i in range(100):
        (tmp_path / f"{i}.jpg").write_text("1 1")
    with ExtractionPool(FakeExtractor, 2) as pool:
        results = pool.extract(tmp_path, names())
        for done in range(1, 6):
            next(results)
            assert len(taken) <= done + 4 * 2 - 1


def test_leaving_early_ends_the_workers_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("1 1")
    (tmp_path / "b.jpg").write_text("forever")
    with ExtractionPool(FakeExtractor, 1) as pool:
        results = pool.extract(tmp_path, iter(["a.jpg", "b.jpg", "b.jpg", "b.jpg"]))
        next(results)
        (worker,) = pool._alive
        pid = worker._process.pid
    assert not Path(f"/proc/{pid}").exists()


def test_a_worker_that_hangs_is_ended(tmp_path: Path) -> None:
    """Once is bad luck: the photo is read again.  Twice is the photo's fault."""
    (tmp_path / "a.jpg").write_text("1 1")
    (tmp_path / "b.jpg").write_text("forever")
    with ExtractionPool(FakeExtractor, 1, patience=4) as pool:
        list(pool.extract(tmp_path, ["a.jpg"]))
        (worker,) = pool._alive
        os.kill(worker._process.pid, signal.SIGSTOP)
        first, second, third = pool.extract(tmp_path, ["a.jpg", "b.jpg", "a.jpg"])
    assert len(first.faces) == len(third.faces) == 1
    assert second.reason == "crashed"
    assert "no answer within 4 s" in second.message


def test_a_worker_that_is_killed_while_it_starts_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("1 1")
    with ExtractionPool(partial(killed_at_first, tmp_path / "one", 1), 1) as pool:
        (result,) = pool.extract(tmp_path, ["a.jpg"])
    assert len(result.faces) == 1
    with (
        ExtractionPool(partial(killed_at_first, tmp_path / "two", 2), 1) as pool,
        pytest.raises(WorkerStartError, match="SIGKILL"),
    ):
        list(pool.extract(tmp_path, ["a.jpg"]))


def test_workers_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("1 1")
    code = textwrap.dedent(
        """
        import os, sys
        from pathlib import Path
        from fake_extractor import FakeExtractor
        from fastface.pipeline.extraction import ExtractionPool

        pool = ExtractionPool(FakeExtractor, 1)
        list(pool.extract(Path(sys.argv[1]), ["a.jpg"]))
        print(*(worker._process.pid for worker in pool._alive), flush=True)
        os.kill(os.getpid(), 9)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    (pid,) = map(int, done.stdout.split())
    deadline = time.monotonic() + 30
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_script_without_a_guard_is_not_run_again(fakes, tmp_path: Path) -> None:
    """Workers import nothing of the program that called, unlike those of `multiprocessing`."""
    photos = fakes.make_photos(tmp_path / "photos", 3)
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom fakes import fake_run\n"
        "print('once')\n"
        "print(fake_run(Path(sys.argv[1]), Path(sys.argv[2])).n_faces)\n"
    )
    command = [sys.executable, script, photos, tmp_path / "run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["once", "4"], done.stderr
