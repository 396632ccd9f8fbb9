"""Stopping, looking, and going on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastface import KMeans, MiniBatchKMeans
from fastface.errors import CorruptFileError, RunMismatchError, StorageError


def bits(model: Any) -> tuple[bytes, bytes, float, int]:
    return (
        model.labels_.tobytes(),
        model.cluster_centers_.tobytes(),
        model.inertia_,
        model.n_iter_,
    )


def stop_at(iteration: int, init: int = 0) -> Callable[[Any], None]:
    def callback(report: Any) -> None:
        if (report.init, report.iteration) == (init, iteration):
            raise KeyboardInterrupt

    return callback


PARAMETERS: dict[str, Any] = {"n_clusters": 25, "random_state": 4, "tol": 0, "max_iter": 15}


def test_interrupted_fit_is_usable(faces: Callable) -> None:
    x = faces(2500, 16, 60)
    whole: list[float] = []
    KMeans(**PARAMETERS, callback=lambda r: whole.append(r.inertia)).fit(x)
    model = KMeans(**PARAMETERS, callback=stop_at(4))
    with pytest.raises(KeyboardInterrupt):
        model.fit(x)
    assert model.n_iter_ == 4
    assert model.inertia_ == whole[3]
    np.testing.assert_array_equal(model.predict(x), model.labels_)
    assert model.score(x) == -model.inertia_


def test_interrupted_later_start_keeps_the_best(faces: Callable) -> None:
    x = faces(2500, 16, 60)
    first = KMeans(**PARAMETERS, init="random", n_init=1).fit(x)
    model = KMeans(**PARAMETERS, init="random", n_init=3, callback=stop_at(1, init=1))
    with pytest.raises(KeyboardInterrupt):
        model.fit(x)
    assert bits(model) == bits(first)


def test_interrupted_before_the_first_iteration(faces: Callable) -> None:
    def refuse(x: Any, k: int, random_state: Any) -> Any:
        raise KeyboardInterrupt

    model = KMeans(5, init=refuse)
    with pytest.raises(KeyboardInterrupt):
        model.fit(faces(100, 4, 5))
    assert not hasattr(model, "cluster_centers_")


def test_interrupted_mini_batches(faces: Callable) -> None:
    x = faces(2500, 16, 60)

    def stop(report: Any) -> None:
        if report.step == 5:
            raise KeyboardInterrupt

    model = MiniBatchKMeans(20, random_state=0, batch_size=100, callback=stop)
    with pytest.raises(KeyboardInterrupt):
        model.fit(x)
    assert model.n_steps_ == 5
    assert model.predict(x).shape == (2500,)


@pytest.mark.parametrize(("init", "n_init"), [("k-means++", 1), ("random", 3)])
def test_every_stop_resumes_to_the_same_bits(
    faces: Callable, tmp_path: Path, init: str, n_init: int
) -> None:
    x = faces(1500, 12, 40)
    parameters = {**PARAMETERS, "init": init, "n_init": n_init, "max_iter": 6}
    expected = bits(KMeans(**parameters).fit(x))
    path = tmp_path / "fit.npz"
    stops = [(i, s) for i in range(n_init) for s in (1, 2, 4)]
    for which, step in stops:
        path.unlink(missing_ok=True)
        with pytest.raises(KeyboardInterrupt):
            KMeans(**parameters, checkpoint=path, callback=stop_at(step, which)).fit(x)
        seen: list[Any] = []
        resumed = KMeans(**parameters, checkpoint=path, callback=seen.append).fit(x)
        assert bits(resumed) == expected
        assert (seen[0].init, seen[0].iteration) == (which, step + 1)
    again = KMeans(**parameters, checkpoint=path, callback=stop_at(1)).fit(x)
    assert bits(again) == expected
    assert [p.name for p in tmp_path.iterdir()] == ["fit.npz"]


KILLED = """
import sys, time
import numpy as np
from fastface import KMeans
x = np.load(sys.argv[1])
model = KMeans(25, random_state=4, tol=0, max_iter=15, checkpoint=sys.argv[2],
               callback=lambda r: (print(r.iteration, flush=True), time.sleep(0.1)))
model.fit(x)
"""


def test_killed_process_resumes_to_the_same_bits(faces: Callable, tmp_path: Path) -> None:
    x = faces(2500, 16, 60)
    np.save(tmp_path / "x.npy", x)
    path = tmp_path / "fit.npz"
    command = [sys.executable, "-c", KILLED, str(tmp_path / "x.npy"), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 3:
                break
        process.send_signal(signal.SIGKILL)
    seen: list[int] = []
    parameters = {**PARAMETERS, "checkpoint": path}
    resumed = KMeans(**parameters, callback=lambda r: seen.append(r.iteration)).fit(x)
    assert seen[0] >= 4
    assert bits(resumed) == bits(KMeans(**PARAMETERS).fit(x))


def test_checkpoint_of_another_fit_is_refused(faces: Callable, tmp_path: Path) -> None:
    x = faces(300, 8, 10)
    path = tmp_path / "fit.npz"
    KMeans(5, random_state=0, checkpoint=path).fit(x)
    before = path.read_bytes()
    other = x.copy()
    other[0] *= 2
    for arguments, rows, differs in (
        ({"n_clusters": 6, "random_state": 0}, x, "n_clusters"),
        ({"n_clusters": 5, "random_state": 1}, x, "seed"),
        ({"n_clusters": 5, "random_state": 0}, other, "rows"),
        ({"n_clusters": 5, "random_state": 0}, x.astype(np.float64), "dtype"),
    ):
        with pytest.raises(RunMismatchError, match=differs):
            KMeans(**arguments, checkpoint=path).fit(rows)
    assert path.read_bytes() == before
    path.write_bytes(before[: len(before) // 2])
    with pytest.raises(CorruptFileError, match="not a whole checkpoint"):
        KMeans(5, random_state=0, checkpoint=path).fit(x)
    with pytest.raises(StorageError, match="cannot be written"):
        KMeans(5, random_state=0, checkpoint=tmp_path / "no" / "folder.npz").fit(x)


def test_a_fit_without_a_seed_has_a_checkpoint_of_its_own(faces: Callable, tmp_path: Path) -> None:
    x = faces(300, 8, 10)
    KMeans(5, checkpoint=tmp_path / "fit.npz").fit(x)
    with pytest.raises(RunMismatchError, match="seed"):
        KMeans(5, checkpoint=tmp_path / "fit.npz").fit(x)


MEASURED = """
import json, sys
from pathlib import Path
import numpy as np
from fastface import KMeans

def peak():  # of this program alone: ru_maxrss would count the parent it was forked from
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

x = np.load(sys.argv[1], mmap_mode="r")
base = peak()
model = KMeans(16, init=sys.argv[2], random_state=0, max_iter=2, memory_limit="32MiB", n_init=1)
model.fit(x)
print(json.dumps([(peak() - base) / 1024, model.inertia_]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_of_a_mapped_file(tmp_path: Path) -> None:
    """Rows of 200 MiB, of which a fit with a limit of 32 MiB holds no more than that."""
    n, d = 800_000, 128
    rng = np.random.default_rng(0)
    block = rng.standard_normal((8000, d)).astype(np.float16)
    path = tmp_path / "rows.npy"
    x = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(n, d))
    for start in range(0, n, len(block)):
        x[start : start + len(block)] = block
    x.flush()
    del x
    for init in ("k-means++", "random"):
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, str(path), init],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        grown, inertia = json.loads(done.stdout)
        assert np.isfinite(inertia)
        assert grown < 40
