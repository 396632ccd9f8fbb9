"""Graph work on a GPU: Numba's kernels in its simulator, and assembled for three architectures.

The simulator has to be chosen before Numba is imported, so all of it is one other process.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fastface.errors import BackendUnavailableError
from fastface.graph import NeighborGraph
from fastface.identities.chinese_whispers import chinese_whispers

SUPPORT = Path(__file__).resolve().parents[1] / "support"
IN_SIMULATOR = textwrap.dedent(
    """
    import json
    import sys
    import numpy as np
    from cupy_stand_in import StandIn
    from fastface import IdentityClustering, NeighborGraph
    from fastface.identities.chinese_whispers import chinese_whispers
    from fastface.identities.components import components
    from fastface.identities.constraints import Constraints
    from fastface.identities.map_equation import probable_links
    from fastface.identities.on_gpu import GraphOnGpu

    rng = np.random.default_rng(5)
    n = 50
    centers = rng.standard_normal((6, 16))
    x = (centers[rng.integers(0, 6, n)] + rng.standard_normal((n, 16)) * 0.15).astype("f4")
    x[11] = x[47]
    graph = NeighborGraph.build(x, n_neighbors=9, normalize=True)
    photos = Constraints(n, photo_ids=rng.integers(0, 30, n), must_link=[[0, 1], [2, 30], [30, 5]])
    linked = Constraints(n, must_link=[[3, 4], [4, 40]])
    median = float(np.median(graph.distances))
    same = {}

    def equal(a, b):
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()

    for below in (0.0, median, 10.0):
        cpu, gpu = graph.symmetric(below=below), GraphOnGpu(graph).symmetric(below)
        same[f"links {below:.1f}"] = all(
            equal(getattr(cpu, name), getattr(gpu, name)) for name in ("indptr", "indices", "data")
        )
        same[f"components {below:.1f}"] = all(
            equal(*(components(graph, threshold=below, constraints=c, device=d)
                    for d in ("cpu", "cuda")))
            for c in (None, linked, photos)
        )
    for seed in (0, 1):
        found = [
            [chinese_whispers(graph, threshold=median, constraints=c, seed=seed, device=d)
             for d in ("cpu", "cuda")]
            for c in (None, photos)
        ]
        same[f"whispers {seed}"] = all(equal(*pair) for pair in found)
        same[f"people {seed}"] = [len(set(pair[0].tolist())) for pair in found]
    for theta in (0.2, 0.5, 2.0):
        cpu, gpu = (probable_links(graph, theta=theta, device=d) for d in ("cpu", "cuda"))
        same[f"probable {theta}"] = all(
            equal(getattr(cpu, name), getattr(gpu, name)) for name in ("indptr", "indices", "data")
        )
    sys.modules["cupy"] = StandIn()
    for method in ("fc-es", "chinese-whispers", "components"):
        cpu, gpu = (
            IdentityClustering(method, n_neighbors=9, device=d).fit(x) for d in ("cpu", "cuda")
        )
        same[f"whole {method}"] = equal(cpu.labels_, gpu.labels_)
    one = NeighborGraph.build(x[:1])
    same["one face"] = chinese_whispers(one, threshold=1.0, device="cuda").tolist() == [0]
    print(json.dumps(same))
    """
)


def test_equals_the_cpu_in_the_simulator() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_SIMULATOR],
        capture_output=True,
        text=True,
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": str(SUPPORT)},
    )
    assert done.returncode == 0, done.stderr
    same = json.loads(done.stdout)
    people = [same.pop(name) for name in ("people 0", "people 1")]
    assert all(1 < count < 50 for counts in people for count in counts)
    assert all(same.values()), same


WHEEL = Path(sysconfig.get_path("purelib")) / "nvidia" / "cu13"


@pytest.fixture(scope="module")
def ptxas() -> Iterator[str]:
    """Let Numba find NVVM; return ptxas.  Both are of the extra 'test', or of a CUDA toolkit."""
    from numba.cuda.cudadrv import libs
    from numba.cuda.cudadrv import nvvm as compiler

    found = shutil.which("ptxas", path=os.pathsep.join([str(WHEEL / "bin"), os.environ["PATH"]]))
    library, device = WHEEL / "lib" / "libnvvm.so.4", WHEEL / "nvvm/libdevice/libdevice.10.bc"
    with pytest.MonkeyPatch.context() as patch:
        if library.is_file() and hasattr(compiler, "find_closest_arch"):  # numba-cuda looks there
            patch.setattr(libs, "get_cudalib", lambda *args, **options: str(library))
            patch.setattr(compiler, "get_libdevice", lambda: str(device))
            patch.setattr(compiler, "open_libdevice", device.read_bytes)
        try:
            compiler.NVVM()
            missing = "" if found else "ptxas, which assembles them, is not here"
        except compiler.NvvmSupportError as error:
            missing = f"NVVM, which compiles Numba's kernels, is not here ({error})"
        if missing and os.environ.get("FASTFACE_REQUIRE_ALL") == "1":
            pytest.fail(missing)
        if not found or missing:
            pytest.skip(missing.splitlines()[0])
        yield found


@pytest.mark.parametrize(
    ("capability", "assembled"),
    [
        ((8, 0), "sm_80"),
        ((9, 0), "sm_90"),
        ((9, 0), "sm_120"),  # Numba knows nothing later than 9.0; the driver makes this of it
        ((12, 0), "sm_120"),  # numba-cuda goes on
    ],
)
def test_kernels_compile(
    capability: tuple[int, int],
    assembled: str,
    ptxas: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from numba import cuda
    from numba.cuda import dispatcher
    from numba.cuda.cudadrv import nvvm as compiler
    from numba.types import float32, float64, int32, int64

    from fastface.identities import cuda_kernels as kernels

    # Numba types functions that kernels call for the GPU at hand.
    at_hand = SimpleNamespace(compute_capability=capability)
    monkeypatch.setattr(dispatcher, "get_current_device", lambda: at_hand)

    if hasattr(compiler, "find_closest_arch"):  # in a list that ends where NVVM's does not
        monkeypatch.setattr(compiler, "find_closest_arch", lambda wanted: wanted)

    def vector(kind: object) -> object:
        return kind[::1]  # type: ignore[index]

    graph = (int32[:, ::1], float32[:, ::1])
    rows = (vector(int64), vector(int32))
    exclusions = rows + rows
    arguments = {
        "count_links": (*graph, float64, vector(int64)),
        "fill_links": (*graph, float64, vector(int64), vector(int32), vector(float32)),
        "sort_rows": (*rows, vector(float32)),
        "edge_probabilities": (
            *(int32[:, ::1], float64[:, ::1], int64, float64, float64[:, ::1], vector(int64)),
        ),
        "compact_prefixes": (
            *(int32[:, ::1], float64[:, ::1], vector(int64), *rows, vector(float32)),
        ),
        "find_levels": (*rows, *exclusions, vector(int64), vector(int32), vector(int32)),
        "whisper": (
            *(vector(int32), *rows, vector(float32), *exclusions, vector(int32), vector(int32)),
        ),
        "hook": (*graph, float64, vector(int32), vector(int32)),
        "flatten": (vector(int32),),
    }
    assert {*arguments, "MOST_NEIGHBORS"} == {*kernels.__all__}
    for name, types in arguments.items():
        text, _ = cuda.compile_ptx(getattr(kernels, name).py_func, types, cc=capability)
        assert f".target sm_{capability[0]}{capability[1]}" in text
        assert ".visible .entry" in text
        assert "call.uni" not in text, f"{name} calls what was not put in its place"
        source, code = tmp_path / f"{name}.ptx", tmp_path / f"{name}.cubin"
        source.write_text(text, encoding="utf-8")
        command = [ptxas, f"-arch={assembled}", "-v", "-o", str(code), str(source)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in done.stderr
        assert code.stat().st_size > 0


def test_without_a_gpu_it_says_so() -> None:
    graph = NeighborGraph.build(np.eye(4, dtype=np.float32))
    with pytest.raises(BackendUnavailableError, match=r"Numba finds no GPU.*use device='cpu'"):
        chinese_whispers(graph, threshold=1.0, device="cuda")
