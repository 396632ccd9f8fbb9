"""A cached file is whole or it is not used, whoever else is at work."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fastface import models
from fastface.errors import MissingDependencyError, StorageError
from fastface.models import cache


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache"
    monkeypatch.setenv("FASTFACE_CACHE_DIR", str(path))
    return path


def files_in(folder: Path) -> list[Path]:
    """Everything but the folder of locks."""
    return [path for path in folder.iterdir() if path.name != ".locks"]


class Builder:
    """Counts how often it was needed."""

    def __init__(self, data: bytes = b"content") -> None:
        self.data = data
        self.calls = 0

    def __call__(self) -> bytes:
        self.calls += 1
        return self.data


def test_built_once(folder: Path) -> None:
    build = Builder()
    first, second = (cache.cached("key", ".bin", build) for _ in range(2))
    assert build.calls == 1
    assert first == second
    assert first.sha256 == hashlib.sha256(b"content").hexdigest()
    assert [path.name for path in files_in(folder)] == [f"key-{first.sha256}.bin"]


@pytest.mark.parametrize("damage", [b"", b"conten", b"contenT", b"content and more"])
def test_damaged_file_is_made_again(folder: Path, damage: bytes) -> None:
    build = Builder()
    path = cache.cached("key", ".bin", build).path
    path.write_bytes(damage)
    assert cache.cached("key", ".bin", build).path.read_bytes() == b"content"
    assert build.calls == 2


def test_file_named_for_what_it_is_not_is_never_used(folder: Path) -> None:
    folder.mkdir()
    (folder / f"key-{'0' * 64}.bin").write_bytes(b"planted")
    (folder / ".partial-abc").write_bytes(b"left by a process that was killed")
    assert cache.cached("key", ".bin", Builder()).path.read_bytes() == b"content"
    assert not (folder / f"key-{'0' * 64}.bin").exists()


def test_keys_are_kept_apart(folder: Path) -> None:
    cache.cached("key", ".bin", Builder(b"one"))
    assert cache.cached("key-v2", ".bin", Builder(b"two")).path.read_bytes() == b"two"
    assert cache.cached("key", ".bin", Builder(b"no")).path.read_bytes() == b"one"
    assert cache.cached("k.y", ".bin", Builder(b"three")).path.read_bytes() == b"three"


def test_interrupted_writing_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(source: str, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache.cached("key", ".bin", Builder())
    assert files_in(folder) == []


def test_full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"No space left.*FASTFACE_CACHE_DIR"):
        cache.cached("key", ".bin", Builder())
    assert files_in(folder) == []


def test_unusable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FASTFACE_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(StorageError, match=r"cannot use the cache directory .*FASTFACE_CACHE_DIR"):
        cache.cached("key", ".bin", Builder())


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("FASTFACE_CACHE_DIR", "~/mine")
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache.cache_directory() == Path("/home/somebody/mine")
    monkeypatch.delenv("FASTFACE_CACHE_DIR")
    assert cache.cache_directory() == Path("/xdg/fastface")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.cache_directory() == Path("/home/somebody/.cache/fastface")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache.cache_directory() == Path("/home/somebody/Library/Caches/fastface")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert cache.cache_directory() == tmp_path / "fastface"


LOAD = """
import sys
sys.stdin.readline()  # all start together
from fastface import models
model = models.load("dlib-resnet")
assert model.onnx_path.stat().st_size > 20_000_000
foreign = [name for name in ("dlib", "face_recognition_models") if name in sys.modules]
print(model.onnx_path, model.sha256, foreign)
"""


def test_processes_that_start_at_once(folder: Path) -> None:
    """Every one gets the same whole file; none imports dlib or the weights' own package."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", LOAD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    answers = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(answers) == 1
    path, sha256, foreign = answers.pop().strip().split(" ", 2)
    assert foreign == "[]"
    assert [str(file) for file in files_in(folder)] == [path]
    assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == sha256
    weights = models.get_spec("dlib-resnet").weights
    assert weights is not None
    assert weights.sha256 in Path(path).name


def test_truncated_conversion_is_made_again(folder: Path) -> None:
    before = models.load("dlib-resnet")
    with before.onnx_path.open("r+b") as file:
        file.truncate(10_000_000)
    assert models.load("dlib-resnet") == before
    assert hashlib.sha256(before.onnx_path.read_bytes()).hexdigest() == before.sha256


def test_a_finished_conversion_needs_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = models.load("dlib-resnet")
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert models.load("dlib-resnet") == before
    monkeypatch.setenv("FASTFACE_CACHE_DIR", str(folder / "other"))
    with pytest.raises(MissingDependencyError, match=r"pip install 'fastface\[faces\]'"):
        models.load("dlib-resnet")


# Says what it does in a file: waits for a word before it builds, if it is the first.
WORKER = """
import sys, time, pathlib
from fastface.models import cache

folder = pathlib.Path(sys.argv[1])

def build():
    with (folder / "built").open("a") as file:
        file.write("x")
    while not (folder / "go").exists():
        time.sleep(0.01)
    return b"content"

(folder / sys.argv[2]).touch()
print(cache.cached("key", ".bin", build).path.name)
"""


def start_worker(place: Path, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(place), name], stdout=subprocess.PIPE, text=True
    )


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.01)


def test_of_two_processes_one_builds_and_the_other_waits(folder: Path, tmp_path: Path) -> None:
    first = start_worker(tmp_path, "first")
    wait_for(tmp_path / "built")
    second = start_worker(tmp_path, "second")
    wait_for(tmp_path / "second")
    time.sleep(0.2)
    assert second.poll() is None  # it waits
    (tmp_path / "go").touch()
    names = {worker.communicate(timeout=30)[0] for worker in (first, second)}
    assert len(names) == 1
    assert (tmp_path / "built").read_text() == "x"


def test_the_lock_of_a_dead_builder_is_taken_over(folder: Path, tmp_path: Path) -> None:
    first = start_worker(tmp_path, "first")
    wait_for(tmp_path / "built")
    second = start_worker(tmp_path, "second")
    wait_for(tmp_path / "second")
    first.kill()
    first.communicate()
    (tmp_path / "go").touch()
    assert second.communicate(timeout=30)[0].startswith("key-")
    assert (tmp_path / "built").read_text() == "xx"


def test_threads_wait_for_each_other_too(folder: Path) -> None:
    build = Builder()

    def slow() -> bytes:
        time.sleep(0.1)
        return build()

    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: cache.cached("key", ".bin", slow).path, range(4)))
    assert (build.calls, len(paths)) == (1, 1)
