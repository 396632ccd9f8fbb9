"""Kernels of a single instruction, so that each can be tested on its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptx_interpreter.memory import DeviceMemory
from ptx_interpreter.module import Module
from ptx_interpreter.parse import width_of

__all__ = ["evaluate"]

_CARRIERS = {"f32": "f32", "f64": "f64", "pred": "u8"}


def _carrier(kind: str) -> str:
    """Return the type by which values of `kind` are loaded and stored."""
    return _CARRIERS.get(kind, f"b{8 * width_of(kind)}")


def evaluate(
    statement: str, inputs: list[tuple[str, NDArray[Any]]], result: tuple[str, Any]
) -> NDArray[Any]:
    """Execute ``statement`` on registers %a0, %a1, ...; return what it leaves in %out.

    `inputs` are pairs of a PTX type and one value a thread; `result` is the type of %out and the
    dtype to read it as.
    """
    names = [f"p{i}" for i in range(len(inputs))]
    body = []
    for i, (kind, _) in enumerate(inputs):
        size = width_of(kind)
        body += [
            f".reg .{'pred' if kind == 'pred' else _register(kind)} %a{i};",
            f".reg .b64 %p{i};",
            f"ld.param.u64 %p{i}, [{names[i]}];",
            f"mad.wide.u32 %p{i}, %t, {size}, %p{i};",
        ]
        if kind == "pred":
            body += [f".reg .b16 %h{i};", f"ld.global.u8 %h{i}, [%p{i}];"]
            body += [f"setp.ne.u16 %a{i}, %h{i}, 0;"]
        else:
            body.append(f"ld.global.{_carrier(kind)} %a{i}, [%p{i}];")
    kind, dtype = result
    store = [f"st.global.{_carrier(kind)} [%o], %out;"]
    if kind == "pred":
        store = [".reg .b16 %h;", "selp.u16 %h, 1, 0, %out;", "st.global.u8 [%o], %h;"]
    ptx = "\n".join(
        [
            ".version 8.0\n.target sm_80\n.address_size 64",
            ".visible .entry one(",
            ",\n".join(f".param .u64 {name}" for name in [*names, "result"]),
            ")\n{",
            ".reg .b32 %t;\n.reg .b64 %o;",
            f".reg .{'pred' if kind == 'pred' else _register(kind)} %out;",
            "mov.u32 %t, %tid.x;",
            *body,
            statement,
            "ld.param.u64 %o, [result];",
            f"mad.wide.u32 %o, %t, {width_of(kind)}, %o;",
            *store,
            "ret;\n}",
        ]
    )
    memory = DeviceMemory(1 << 20)
    threads = len(inputs[0][1])
    arrays = [memory.put(np.ascontiguousarray(values)) for _, values in inputs]
    out = memory.empty(threads, np.uint8 if kind == "pred" else dtype)
    Module.from_ptx(ptx).launch("one", 1, threads, [*arrays, out], memory=memory)
    return out.get().astype(dtype)


def _register(kind: str) -> str:
    return kind if kind in ("f32", "f64") else f"b{max(16, 8 * width_of(kind))}"
