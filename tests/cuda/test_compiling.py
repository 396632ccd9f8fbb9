"""What NVRTC is asked for, through the stand-in for CuPy; Hopper's kernels launched from there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cuda.bindings.nvrtc", reason="the extra 'test' brings NVRTC")

from cupy_stand_in import StandIn

from fastface.backends.cuda.backend import CudaBackend
from fastface.backends.cuda.compiling import CompilationError, machine_code
from fastface.backends.cuda.device import open_gpu
from fastface.backends.cuda.programs import Program, read_program
from fastface.backends.cuda.tiles import Precision
from fastface.backends.reference import ReferenceBackend


def test_hopper_multiplies_in_warpgroups() -> None:
    stand_in, reference = StandIn(capability="90"), ReferenceBackend()
    backend = CudaBackend(open_gpu("cuda", stand_in), Precision.BF16)
    random = np.random.default_rng(1)
    x, y = (random.standard_normal((n, 40)).astype(np.float32) for n in (70, 300))
    y[9] = y[200]
    x[0] = y[9]
    found, expected = backend.topk(x, y, 5, "cosine"), reference.topk(x, y, 5, "cosine")
    np.testing.assert_array_equal(found.indices, expected.indices)
    assert found.distances.tobytes() == expected.distances.tobytes()
    labels = backend.assign(x, y, "sqeuclidean").indices
    np.testing.assert_array_equal(labels, reference.assign(x, y, "sqeuclidean").indices)
    near = float(np.median(expected.distances[:, 3]))
    for one, other in zip(
        backend.radius(x, y, near, "cosine"), reference.radius(x, y, near, "cosine"), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    names = {name for name, _ in stand_in.launches}
    assert {"assign_scores", "topk_screen", "radius_screen"} <= names


def test_what_is_asked_for(tmp_path: Path) -> None:
    stand_in = StandIn()
    stand_in.cuda.compiler.get_cache_dir = lambda: str(tmp_path / "made")
    program, compiled = read_program("rows"), stand_in.cuda.nvrtc.compiled
    types = {"X_TYPE": 1, "Y_TYPE": 1}
    file = machine_code(stand_in, program, 89, types)
    # Denormal distances are distances, and a product and a sum are rounded one by one.
    assert {"--ftz=false", "--fmad=false", "--gpu-architecture=sm_89"} <= set(compiled[-1])
    assert machine_code(stand_in, program, 89, types) == file
    assert len(compiled) == 1
    assert machine_code(stand_in, program, 90, types) != file
    assert "--gpu-architecture=sm_90" in compiled[-1]
    machine_code(stand_in, program, 121, types)
    assert "--gpu-architecture=compute_120" in compiled[-1]
    assert [path.suffix for path in (tmp_path / "made").iterdir()] == [".cubin"] * 3


def test_a_folder_that_cannot_be_made_is_not_needed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    stand_in = StandIn()
    stand_in.cuda.compiler.get_cache_dir = lambda: str(tmp_path / "file" / "folder")
    assert machine_code(stand_in, read_program("rows"), 80, {"X_TYPE": 0, "Y_TYPE": 0}).is_file()


def test_what_does_not_compile_is_said_with_its_log(tmp_path: Path) -> None:
    stand_in = StandIn()
    stand_in.cuda.compiler.get_cache_dir = lambda: str(tmp_path)
    with pytest.raises(
        CompilationError, match=r"broken\.cu does not compile for sm_80.*identifier"
    ):
        machine_code(stand_in, Program("broken", "int f() { return nothing; }", {}), 80, {})
    assert not list(tmp_path.iterdir())
