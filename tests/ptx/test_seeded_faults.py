"""Faults put into the real kernels: each is caught, and the table says by which of the two ways.

A way catches a fault when it raises, when the answer is not that of the definition, or when more
rows are in doubt than the three that are made to be: what spoils scores with NaN, as fibers do with
bytes too early to read, leaves the answer right, because the definition decides rows in doubt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cuda_drivers as drivers
import numpy as np
import pytest
from cuda_drivers import Tiles
from kernel_cases import tricky_rows
from kernel_engines import Engine, FiberEngine, FiberFault, PtxEngine, sources
from kmeans_checks import check_sums
from ptx_interpreter import LaunchError

from fastface.backends.reference import ReferenceBackend

pytestmark = [pytest.mark.usefixtures("nvrtc"), pytest.mark.slow]

BF16 = Tiles("bf16")


def _assign(engine: Engine) -> bool:
    X, Y = tricky_rows(40, 300, 70, "float32")
    labels, distances, in_doubt = drivers.assign(engine, X, Y, "sqeuclidean", BF16)
    wanted = ReferenceBackend().assign(X, Y, "sqeuclidean")
    return bool(
        sum(in_doubt) == 3
        and np.array_equal(labels, wanted.indices[:, 0])
        and np.array_equal(distances, wanted.distances[:, 0])
    )


def _warpgroups(engine: Engine) -> bool:
    X, Y = tricky_rows(70, 300, 70, "float32")
    tiles = Tiles("bf16", 4, False, 1, 128)
    labels, _, in_doubt = drivers.assign(engine, X, Y, "sqeuclidean", tiles)
    wanted = ReferenceBackend().assign(X, Y, "sqeuclidean").indices[:, 0]
    return sum(in_doubt) == 3 and bool(np.array_equal(labels, wanted))


def _sums(engine: Engine) -> bool:
    try:
        check_sums(engine, "float32", 300, is_sorted=True)
    except AssertionError:
        return False
    return True


def _topk(engine: Engine) -> bool:
    X, Y = tricky_rows(20, 300, 70, "float32")
    distances, indices = drivers.topk(engine, X, Y, 5, "sqeuclidean", BF16)
    wanted = ReferenceBackend().topk(X, Y, 5, "sqeuclidean")
    return bool(
        np.array_equal(indices, wanted.indices) and np.array_equal(distances, wanted.distances)
    )


def _topk_crowded(engine: Engine) -> bool:
    """Let lists overflow: many candidates, each nearer than those before."""
    X, _ = tricky_rows(9, 9, 40, "float32")
    steps = np.linspace(2.0, 0.1, 900, dtype=np.float32)[:, None]
    Y = X[8] + steps * np.random.default_rng(0).standard_normal((900, 40)).astype(np.float32)
    _, indices = drivers.topk(engine, X, Y, 5, "sqeuclidean", BF16)
    return bool(np.array_equal(indices, ReferenceBackend().topk(X, Y, 5, "sqeuclidean").indices))


@dataclass(frozen=True)
class Fault:
    """A replacement in one file, and which ways catch it."""

    file: str
    right: str
    wrong: str
    ptx: bool
    fibers: bool
    run: Callable[[Engine], bool] = _assign


FAULTS = {
    "missing barrier in the sweep": Fault(
        "tile.cuh", "      __syncthreads();  // the step is there", "      //", True, True
    ),
    "missing barrier before lists are joined": Fault(
        "assign.cu",
        "  __syncthreads();\n  for (int i = static_cast<int>(threadIdx.x); i < kTileRows; "
        "i += kThreads) {\n    BestThree",
        "  for (int i = static_cast<int>(threadIdx.x); i < kTileRows; i += kThreads) {\n"
        "    BestThree",
        True,
        True,
    ),
    "one row too many": Fault(
        "operands.cu",
        "const bool exists = i < n_rows;",
        "const bool exists = i <= n_rows;",
        True,
        True,
    ),
    "one feature too many": Fault(
        "operands.cu",
        "j < dim; j += kSumLanes) {\n    const double value = widen",
        "j <= dim; j += kSumLanes) {\n    const double value = widen",
        True,
        True,
    ),
    "stages a step too short": Fault(
        "tile.cuh",
        "kStageBytes == first_stage_ + STAGES",
        "kStageBytes == first_stage_ + 2 * STAGES",
        True,
        True,
    ),
    "wait for one group too few": Fault(
        "tile.cuh", "cp_async_wait<kAhead - 1>();", "cp_async_wait<kAhead>();", True, True
    ),
    "missing commit": Fault("tile.cuh", "    cp_async_commit();\n", "", True, True),
    "wrong row of a fragment": Fault(
        "scores.cuh", "warp_row() + lane % 16;", "warp_row() + lane % 8;", True, True
    ),
    "wrong half of a fragment": Fault(
        "scores.cuh", "2 * half + lane / 8 % 2", "2 * half + lane / 16", True, True
    ),
    "swizzle beyond the row": Fault(
        "scores.cuh", "& (kChunks - 1u))", "& (2 * kChunks - 1u))", True, True
    ),
    "wrong lane": Fault(
        "assign.cu",
        "keep.best[r].merge(exchange(keep.best[r], 2));",
        "keep.best[r].merge(exchange(keep.best[r], 4));",
        True,
        True,
    ),
    "margins not written": Fault(
        "assign.cu",
        "i < kTileRows; i += kThreads)\n    margins",
        "i < kTileRows - 1; i += kThreads)\n    margins",
        True,
        False,
    ),
    "wrong lane of a sum": Fault(
        "definition.cuh",
        "__shfl_xor_sync(0xffffffffu, partial, distance)",
        "__shfl_xor_sync(0xffffffffu, partial, distance ^ 1)",
        True,
        True,
    ),
    "a sum that begins with anything": Fault(
        "fixed_point.cuh", "i64 high = 0, low = 0;", "i64 high, low;", False, True, _sums
    ),
    "counts that begin with anything": Fault(
        "topk.cu", "    own_counts[i] = 0;\n", "", True, True, _topk
    ),
    "a list that is written over while it is read": Fault(
        "topk.cu",
        "      __syncwarp();  // who is written over has been read\n",
        "",
        True,
        False,
        _topk_crowded,
    ),
    "a wave that reads what is not scanned yet": Fault(
        "lloyd.cu",
        "    if (lane == kWarp - 1) sums[warp] = own;\n    __syncthreads();\n",
        "    if (lane == kWarp - 1) sums[warp] = own;\n",
        True,
        True,
        _sums,
    ),
    "operands not published to the warpgroups": Fault(
        "scores.cuh", "{ wgmma_publish(); }", "{}", True, False, _warpgroups
    ),
    "a stage fetched into while products read it": Fault(
        "tile.cuh", "STAGES - (kWarpgroups ? 2 : 1)", "STAGES - 1", True, True, _warpgroups
    ),
    "products waited for a step too late": Fault(
        "scores.cuh", "wgmma_wait<1>();", "wgmma_wait<2>();", True, True, _warpgroups
    ),
    "sums read before their products": Fault(
        "scores.cuh", "    wgmma_finish(sums);\n", "", True, True, _warpgroups
    ),
    "rows of the other warpgroup": Fault(
        "scores.cuh", "group * 64 * kStepBytes", "0 * group * kStepBytes", True, True, _warpgroups
    ),
    "the same half of a step twice": Fault(
        "scores.cuh", "rows_at + 32 * half", "rows_at", True, True, _warpgroups
    ),
    "no margin for rounding": Fault(
        "assign_decide.cu",
        "const float margin = margin_of(precision, padded_dim, metric, facts, bounds);",
        "const float margin = 0.0f;",
        True,
        True,
    ),
}


def texts_with(fault: Fault) -> dict[str, str]:
    texts = sources()
    assert texts[fault.file].count(fault.right) >= 1, "the kernel has changed: seed anew"
    return {**texts, fault.file: texts[fault.file].replace(fault.right, fault.wrong)}


def caught(run: Callable[[Engine], bool], engine: Any) -> str:
    try:
        return "" if run(engine) else "wrong answer"
    except (LaunchError, FiberFault) as error:
        return f"{type(error).__name__}: {error}"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fibers")


def test_without_a_fault_both_are_content(programs: Path) -> None:
    for run in (_assign, _topk, _topk_crowded, _warpgroups, _sums):
        assert caught(run, PtxEngine()) == ""
        assert caught(run, FiberEngine(programs)) == ""


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_caught(name: str, programs: Path) -> None:
    fault = FAULTS[name]
    texts = texts_with(fault)
    assert fault.ptx or fault.fibers
    if fault.ptx:
        assert caught(fault.run, PtxEngine(texts))
    if fault.fibers:
        # Sanitizers take most of a build's time: first without them.
        ways = ({"sanitize": False}, {}, {"order": "reverse"})
        assert any(caught(fault.run, FiberEngine(programs, texts, **way)) for way in ways)
