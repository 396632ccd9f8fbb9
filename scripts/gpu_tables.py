"""Write the tables of docs/gpu.md that come from the compiled code.

``python scripts/gpu_tables.py`` compiles every kernel for every architecture (two minutes) and
rewrites what stands between the markers of the page.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "scripts")]

from cuda_variants import (  # noqa: E402
    ARCHITECTURES,
    Compiled,
    compile_variant,
    disassemble,
    tensor_operation,
    variants,
)
from gpu_roofline import Code, measure_code, roofline_table  # noqa: E402

PAGE = ROOT / "docs" / "gpu.md"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def register_table(compiled: list[Compiled]) -> str:
    """Return registers of every kernel, the most over the types of rows."""
    most: dict[tuple[str, str, int], int] = defaultdict(int)
    shared: dict[tuple[str, str], int] = defaultdict(int)
    for one in compiled:
        label = "" if one.variant.tile is None else one.variant.label
        for usage in one.usages:
            key = (usage.entry, label, one.variant.capability)
            most[key] = max(most[key], usage.registers)
            shared[key[:2]] = max(shared[key[:2]], usage.shared)
    rows = []
    for entry, label in sorted(shared):
        registers = [
            str(most[entry, label, a]) if (entry, label, a) in most else "" for a in ARCHITECTURES
        ]
        rows.append([f"`{entry}`", label, *registers, str(shared[entry, label])])
    head = ["kernel", "precision", *(f"sm_{a}" for a in ARCHITECTURES), "static bytes"]
    return _table(head, rows)


def loop_table(codes: dict[tuple[int, str], Code]) -> str:
    """Return what the main loops of `assign_scores` consist of."""
    rows = []
    for (capability, label), code in codes.items():
        share = code.tensor / code.step_instructions
        kind = tensor_operation(code.tile)
        if code.tile.warpgroup_columns:
            kind += f" of 64 x {code.tile.columns}"
        rows.append(
            [
                f"sm_{capability}",
                label,
                str(code.step_instructions),
                f"{code.tensor} {kind}",
                f"{share:.0%}",
                str(code.tile_instructions),
            ]
        )
    head = ["architecture", "precision", "instructions of a step", "of these", "share", "epilogue"]
    return _table(head, rows)


def gather() -> tuple[list[Compiled], dict[tuple[int, str], Code]]:
    """Compile everything; return it and the loops of the sweep."""
    compiled = [compile_variant(v) for a in ARCHITECTURES for v in variants(a)]
    codes = {}
    with tempfile.TemporaryDirectory() as folder:
        for one in compiled:
            if one.variant.family == "assign":
                text = disassemble(one, Path(folder))
                codes[one.variant.capability, one.variant.label] = measure_code(one, text)
    return compiled, codes


def tables() -> dict[str, str]:
    """Return every generated table by the name of its marker."""
    compiled, codes = gather()
    return {
        "registers": register_table(compiled),
        "loops": loop_table(codes),
        "roofline": roofline_table(codes),
    }


def replaced(page: str, generated: dict[str, str]) -> str:
    """Return the page with its tables renewed."""
    for name, table in generated.items():
        pattern = rf"(<!-- {name} -->\n).*?(\n<!-- end of {name} -->)"
        page, count = re.subn(pattern, lambda m, t=table: m[1] + t + m[2], page, flags=re.DOTALL)
        if count != 1:
            raise SystemExit(f"docs/gpu.md has {count} places for {name}")
    return page


if __name__ == "__main__":
    renewed = tables()  # takes minutes, in which the page may be edited: it is read afterwards
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), renewed), encoding="utf-8")
