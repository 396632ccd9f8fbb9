"""What the public functions promise beside right answers: errors, memory, threads, signals."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import threadpoolctl

import fastface
from fastface.errors import InvalidInputError
from fastface.validation import METRICS, check_bytes


def rows(n: int, dim: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((max(1, n // 10), dim))
    return (centers[rng.integers(0, len(centers), n)] + 0.3 * rng.standard_normal((n, dim))).astype(
        np.float32
    )


FUNCTIONS = {
    "assign": lambda x, y, **options: fastface.assign(x, y, **options),
    "nearest_neighbors": lambda x, y, **options: fastface.nearest_neighbors(
        x, y, n_neighbors=1, **options
    ),
    "radius_neighbors": lambda x, y, **options: fastface.radius_neighbors(
        x, y, radius=1.0, **options
    ),
    "pairwise_distances": lambda x, y, **options: fastface.pairwise_distances(x, y, **options),
}


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("n", [3, 200])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_bad_values_are_named(
    function: str, value: float, n: int, metric: str, device: str
) -> None:
    x, y = rows(n, 7).astype(np.float64), rows(160, 7, 1).astype(np.float64)
    bad_x, bad_y = x.copy(), y.copy()
    bad_x[n - 1, 3] = bad_y[150, 5] = value
    call = FUNCTIONS[function]
    with pytest.raises(InvalidInputError, match=rf"X\[{n - 1}, 3\]"):
        call(bad_x, y, metric=metric, device=device)
    with pytest.raises(InvalidInputError, match=r"(Y|centers)\[150, 5\]"):
        call(x, bad_y, metric=metric, device=device)


def test_bad_values_in_slices_and_prepared_rows() -> None:
    x, y = rows(300, 9), rows(200, 9, 1)
    x[100, 4] = np.nan
    with pytest.raises(InvalidInputError, match=r"X\[50, 2\]"):
        fastface.assign(x[::2, ::2], y[:, ::2])
    with pytest.raises(InvalidInputError, match=r"X\[100, 4\]"):
        fastface.assign(x, fastface.prepare(y))
    with pytest.raises(InvalidInputError, match=r"Y\[100, 4\]"):
        fastface.prepare(x)


def test_prepared_rows_serve_what_they_were_made_for() -> None:
    x, y = rows(50, 8), rows(40, 8, 1)
    prepared = fastface.prepare(y, metric="cosine")
    assert len(prepared) == 40
    assert "40 x 8" in repr(prepared)
    with pytest.raises(InvalidInputError, match="prepared for metric='cosine'"):
        fastface.assign(x, prepared)
    with pytest.raises(InvalidInputError, match="prepared for the CPU"):
        fastface.assign(x, prepared, metric="cosine", device="reference")
    with pytest.raises(InvalidInputError, match="X has 5 features and centers has 8"):
        fastface.assign(x[:, :5], prepared, metric="cosine")
    again = pickle.loads(pickle.dumps(prepared))
    expected = fastface.assign(x, y, metric="cosine")
    for candidate in (prepared, again):
        labels, distances = fastface.assign(x, candidate, metric="cosine")
        assert labels.tobytes() == expected[0].tobytes()
        assert distances.tobytes() == expected[1].tobytes()


@pytest.mark.parametrize(
    ("text", "expected"),
    [(7, 7), ("12", 12), ("3KB", 3000), ("3 KiB", 3072), ("1.5 GiB", 3 << 29), ("2g", 2 * 10**9)],
)
def test_amounts_of_memory(text: int | str, expected: int) -> None:
    assert check_bytes(text, name="memory_limit") == expected


@pytest.mark.parametrize("value", [0, -1, "much", "1.5.2 GB", True, 2.5, "3 KiX", "i"])
def test_bad_amounts_of_memory(value: object) -> None:
    with pytest.raises(InvalidInputError, match="memory_limit must be"):
        check_bytes(value, name="memory_limit")


@pytest.mark.parametrize("isa", fastface.available_isas())
def test_memory_limit_changes_no_bit(isa: str) -> None:
    x, y = rows(900, 40), rows(2500, 40, 1)
    before = fastface.get_isa()
    fastface.set_isa(isa)
    try:
        expected = fastface.nearest_neighbors(x, y, n_neighbors=6)
        for limit in ("300KiB", "1MiB", "1GiB"):
            found = fastface.nearest_neighbors(x, y, n_neighbors=6, memory_limit=limit)
            assert [a.tobytes() for a in found] == [a.tobytes() for a in expected]
        with pytest.raises(InvalidInputError, match=r"memory_limit is too small.* \d+ bytes"):
            fastface.assign(x, y, memory_limit=1000)
    finally:
        fastface.set_isa(before)


MEMORY_PROBE = """
import sys, numpy as np, fastface
x = np.lib.format.open_memmap(sys.argv[1], mode="r")
y = np.asarray(x[:20_000])
fastface.assign(x[:500], y[:200]); fastface.nearest_neighbors(x[:500], y[:500], n_neighbors=3)
labels, distances = np.empty(0), np.empty(0)
def resident():
    with open("/proc/self/status") as status:
        return {line.split()[0]: line.split()[1:] for line in status}
before = int(resident()["VmRSS:"][0])
{call}
print((int(resident()["VmHWM:"][0]) - before) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize(
    ("call", "outputs"),
    [
        ("fastface.assign(x, y[:3000], n_threads={t})", 8),
        ("fastface.nearest_neighbors(x[:30000], y, n_neighbors=40, n_threads={t})", 0.3 * 320),
    ],
)
def test_memory_beside_inputs_and_outputs(
    tmp_path, call: str, outputs: float, n_threads: int
) -> None:
    """At most 64 MiB a thread, whatever the number of rows; file pages read in place count too."""
    n, dim = 100_000, 64
    path = tmp_path / "rows.npy"
    np.save(path, rows(n, dim))
    code = MEMORY_PROBE.replace("{call}", call.replace("{t}", str(n_threads)))
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    mapped = n * dim * 4
    limit = n_threads * (64 << 20) + n * outputs + mapped + (8 << 20)
    assert 0 < int(done.stdout) < limit


def test_threads_of_the_caller_share_the_kernels() -> None:
    """Calls from many Python threads at once neither wait for each other's GIL nor mix results."""
    x, y = rows(400, 24), rows(300, 24, 1)
    expected = {
        metric: fastface.nearest_neighbors(x, y, n_neighbors=4, metric=metric)[1].tobytes()
        for metric in METRICS
    }

    def call(i: int) -> bool:
        metric = METRICS[i % len(METRICS)]
        found = fastface.nearest_neighbors(x, y, n_neighbors=4, metric=metric, n_threads=1 + i % 3)
        return found[1].tobytes() == expected[metric]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, range(64)))


def test_kernels_release_the_gil() -> None:
    x = rows(6000, 256)
    ticks: list[float] = []
    done = threading.Event()

    def tick() -> None:
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.002)

    ticker = threading.Thread(target=tick)
    ticker.start()
    start = time.perf_counter()
    fastface.pairwise_distances(x, x, n_threads=1)
    end = time.perf_counter()
    done.set()
    ticker.join()
    during = [t for t in ticks if start < t < end]
    assert len(during) >= 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_computes_too() -> None:
    x = rows(3000, 64)
    expected = fastface.assign(x, x[:300], n_threads=2)[0].tobytes()
    child = os.fork()
    if child == 0:
        found = fastface.assign(x, x[:300], n_threads=2)[0].tobytes()
        os._exit(0 if found == expected else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


INTERRUPTED = """
import os, signal, sys, threading, time, numpy as np, fastface
# Children of a shell's background jobs are born deaf to it.
signal.signal(signal.SIGINT, signal.default_int_handler)
rng = np.random.default_rng(0)
x = rng.standard_normal((60_000, 256), dtype=np.float32)
many = np.broadcast_to(x[0], (20_000_000, 256))
fastface.assign(x[:200], x[:200])
# Imports SciPy: Python exits with 130 where an import was interrupted, even if that was caught.
fastface.radius_neighbors(x[:9], radius=0.1)
def interrupt():
    time.sleep(0.3)
    interrupt.at = time.perf_counter()
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt, daemon=True).start()
try:
    {call}
except KeyboardInterrupt:
    print(time.perf_counter() - interrupt.at)
"""


@pytest.mark.parametrize(
    "call",
    [
        "fastface.assign(many[:300_000], x)",
        "fastface.nearest_neighbors(x, n_neighbors=30)",
        "fastface.radius_neighbors(x, radius=0.1)",
        "fastface.pairwise_distances(many[:200_000], x[:9000], n_threads=1)",
        "fastface.assign(x[:8], many)",
    ],
)
def test_ctrl_c_is_answered(call: str) -> None:
    """Within 0.2 s on an idle machine; a busy one gets the patience of a test."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED.replace("{call}", call)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout, "the call ended before the signal: make it longer"
    assert float(done.stdout) < 2.0


SIGNALLED = """
import signal, numpy as np, fastface
x = np.random.default_rng(0).standard_normal((20_000, 128), dtype=np.float32)
fastface.nearest_neighbors(x[:9], n_neighbors=5)
seen = []
signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.05)
found = fastface.nearest_neighbors(x, n_neighbors=5)[1]
assert seen
assert found.tobytes() == fastface.nearest_neighbors(x, n_neighbors=5)[1].tobytes()
"""


def test_signals_find_their_handler() -> None:
    """A handler that does not raise lets the call go on.

    In a process of its own: here, OpenVINO may have left the thread that tests run in an alternate
    stack on which no signal can be delivered, whoever's code it interrupts.
    """
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_threadpoolctl_limits_the_kernels() -> None:
    before = fastface.get_num_threads()
    fastface.assign(rows(5, 3), rows(4, 3))
    entries = [i for i in threadpoolctl.threadpool_info() if i["user_api"] == "fastface"]
    assert len(entries) == 1
    assert entries[0]["num_threads"] == before
    try:
        with threadpoolctl.threadpool_limits(1):
            assert fastface.get_num_threads() == 1
        assert fastface.get_num_threads() == before
        with threadpoolctl.threadpool_limits(1, user_api="blas"):
            assert fastface.get_num_threads() == before
    finally:
        fastface.set_num_threads(None)


def test_tensors_come_in_and_go_out() -> None:
    """Without a copy: PyTorch's memory is what NumPy sees."""
    torch = pytest.importorskip("torch", reason="the extra 'test' brings PyTorch")
    x = np.random.default_rng(0).standard_normal((30, 6)).astype(np.float32)
    tensor = torch.from_numpy(x)
    for found, expected in zip(
        (*fastface.assign(tensor, tensor[:4]), fastface.pairwise_distances(tensor, tensor[::2])),
        (*fastface.assign(x, x[:4]), fastface.pairwise_distances(x, x[::2])),
        strict=True,
    ):
        assert isinstance(found, torch.Tensor)
        assert found.numpy().tobytes() == expected.tobytes()
    out = torch.empty(30, 30)
    assert fastface.pairwise_distances(tensor, out=out) is out
    assert out.numpy().tobytes() == fastface.pairwise_distances(x).tobytes()
    near = fastface.radius_neighbors(tensor, radius=0.3)
    within = fastface.radius_neighbors(x, radius=0.3)
    assert near.layout == torch.sparse_csr
    assert near.values().numpy().tobytes() == within.data.tobytes()
    assert near.col_indices().tolist() == within.indices.tolist()
    assert near.crow_indices().tolist() == within.indptr.tolist()
    labels = fastface.KMeans(3, random_state=0).fit_predict(tensor)
    assert isinstance(labels, torch.Tensor)
    with pytest.raises(InvalidInputError, match=r"X asks for gradients.*detach\(\)"):
        fastface.assign(tensor.clone().requires_grad_(), tensor)
    with pytest.raises(InvalidInputError, match=r"X has dtype torch.bfloat16; allowed are float16"):
        fastface.assign(tensor.to(torch.bfloat16), tensor)
    with pytest.raises(InvalidInputError, match=r"neither a CPU nor an NVIDIA GPU|cannot be read"):
        fastface.assign(tensor.to("meta"), tensor)
