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
from fastface.kmeans.rows import RowBlocks


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


BATCHES: dict[str, Any] = {
    "n_clusters": 20,
    "random_state": 4,
    "batch_size": 100,
    "max_no_improvement": None,
    "max_iter": 2,
}

KILLED_BATCHES = """
import sys, time
import numpy as np
from fastface import MiniBatchKMeans
from fastface.kmeans import batch_run
batch_run._SAVE_SECONDS, batch_run._SAVE_SHARE = 0.0, 1e9  # after every batch
x = np.load(sys.argv[1])
model = MiniBatchKMeans(20, random_state=4, batch_size=100, max_no_improvement=None, max_iter=2,
                        checkpoint=sys.argv[2],
                        callback=lambda r: (print(r.step, flush=True), time.sleep(0.05)))
model.fit(x)
"""


def test_killed_mini_batches_resume_to_the_same_bits(faces: Callable, tmp_path: Path) -> None:
    x = faces(2500, 16, 60)
    np.save(tmp_path / "x.npy", x)
    path = tmp_path / "fit.npz"
    command = [sys.executable, "-c", KILLED_BATCHES, str(tmp_path / "x.npy"), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 7:
                break
        process.send_signal(signal.SIGKILL)
    seen: list[int] = []
    resumed = MiniBatchKMeans(**BATCHES, checkpoint=path, callback=lambda r: seen.append(r.step))
    resumed.fit(x)
    assert 8 <= seen[0] < 40
    assert seen[-1] == 50
    assert bits(resumed) == bits(MiniBatchKMeans(**BATCHES).fit(x))


@pytest.mark.parametrize("compute_labels", [True, False])
def test_every_stop_of_mini_batches_resumes(
    faces: Callable, tmp_path: Path, compute_labels: bool
) -> None:
    """Starved centers, smoothed inertia and patience are all remembered."""
    x = faces(1500, 12, 40)
    parameters = {**BATCHES, "compute_labels": compute_labels, "max_iter": 30}
    parameters |= {"max_no_improvement": 12, "reassignment_ratio": 0.3, "init": x[:20]}
    whole = MiniBatchKMeans(**parameters).fit(x)
    assert 20 < whole.n_steps_ < 450
    path = tmp_path / "fit.npz"
    for last in (1, 2, 3, 10, 17, whole.n_steps_ - 3, whole.n_steps_):
        path.unlink(missing_ok=True)

        def stop(report: Any, last: int = last) -> None:
            if report.step == last:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            MiniBatchKMeans(**parameters, checkpoint=path, callback=stop).fit(x)
        for _ in range(2):  # the second time from the file of the finished fit
            resumed = MiniBatchKMeans(**parameters, checkpoint=path).fit(x)
            assert resumed.cluster_centers_.tobytes() == whole.cluster_centers_.tobytes()
            assert resumed.inertia_ == whole.inertia_
            assert (resumed.n_steps_, resumed.n_iter_) == (whole.n_steps_, whole.n_iter_)
    assert [p.name for p in tmp_path.iterdir()] == ["fit.npz"]


def test_checkpoint_of_other_mini_batches_is_refused(faces: Callable, tmp_path: Path) -> None:
    x = faces(300, 8, 10)
    path = tmp_path / "fit.npz"
    same: dict[str, Any] = {"random_state": 0, "checkpoint": path}
    MiniBatchKMeans(5, **same).fit(x)
    before = path.read_bytes()
    for model, rows, differs in (
        (MiniBatchKMeans(5, batch_size=50, **same), x, "batch_size"),
        (MiniBatchKMeans(5, reassignment_ratio=0.1, **same), x, "reassignment_ratio"),
        (MiniBatchKMeans(5, **same), x * 2, "rows"),
        (KMeans(5, **same), x, "estimator"),
    ):
        with pytest.raises(RunMismatchError, match=differs):
            model.fit(rows)
    assert path.read_bytes() == before


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
    with pytest.raises(StorageError, match="cannot write"):
        KMeans(5, random_state=0, checkpoint=tmp_path / "no" / "folder.npz").fit(x)


def test_a_fit_without_a_seed_has_a_checkpoint_of_its_own(faces: Callable, tmp_path: Path) -> None:
    x = faces(300, 8, 10)
    KMeans(5, checkpoint=tmp_path / "fit.npz").fit(x)
    with pytest.raises(RunMismatchError, match="seed"):
        KMeans(5, checkpoint=tmp_path / "fit.npz").fit(x)


def test_a_mapped_file_is_read_once_an_iteration(
    faces: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Watching does not cost another pass, nor does the inertia at the end."""
    x = faces(3000, 8, 20)
    passes = []
    every = RowBlocks.__iter__

    def counted(self: RowBlocks) -> Any:
        passes.append(self)
        return every(self)

    monkeypatch.setattr(RowBlocks, "__iter__", counted)
    found = []
    for watched in (None, lambda report: None):
        for max_iter in (2, 6):
            passes.clear()
            KMeans(9, init=x[:9], n_init=1, tol=1e-9, max_iter=max_iter, callback=watched).fit(x)
            found.append(len(passes))
    # One to check the rows, one for the tolerance, one at the end.
    assert found == [2 + 3, 6 + 3, 2 + 3, 6 + 3]


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
k, limit = int(sys.argv[3]), sys.argv[4]
model = KMeans(k, init=sys.argv[2], random_state=0, max_iter=2, memory_limit=limit, n_init=1)
model.fit(x)
print(json.dumps([(peak() - base) / 1024, model.inertia_]))
"""


def memory_taken(path: Path, init: str, n_clusters: int, limit: str) -> float:
    """Return the MiB that a fit in a process of its own held at most."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEASURED, str(path), init, str(n_clusters), limit],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    grown, inertia = json.loads(done.stdout)
    assert np.isfinite(inertia)
    return float(grown)


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
        assert memory_taken(path, init, 16, "32MiB") < 40


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_of_very_many_clusters(faces: Callable, tmp_path: Path) -> None:
    """Sums and centers are most of it: 36 bytes a value.

    Beside the limit stand pages of the file, which the system takes back when it wants them; rows
    gathered group by group touch all of them.
    """
    np.save(tmp_path / "rows.npy", faces(16_000, 256, 900))
    file_mib = (tmp_path / "rows.npy").stat().st_size / 2**20
    assert memory_taken(tmp_path / "rows.npy", "hierarchical", 6000, "68MiB") < 68 + file_mib
