"""The rules of docs/architecture.md that a file cannot break unnoticed."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
PACKAGE = REPO / "fastface"
MAX_LINES = 400

# The public names of the package itself, as users import them.
FRONT_DOOR = "front door"

# A room and the rooms one step below it; whatever those reach, it may import too.
BELOW: dict[str, tuple[str, ...]] = {
    "__main__": ("cli",),
    "cli": ("pipeline", "planning", "report", FRONT_DOOR),
    "planning": ("distributed", "faces"),
    "pipeline": ("report", "embedder", "faces", "identities", "metrics", "distributed"),
    "report": ("attributes", "vault"),
    "attributes": ("kmeans", "distances", "metrics"),
    "embedder": ("runtimes", "models"),
    "runtimes": ("models",),
    "models": (),
    "faces": ("runtimes", "models", "backends"),
    "identities": ("graph", "kmeans"),
    "graph": ("distances",),
    "distances": ("prepared", "backends"),
    "prepared": ("backends",),
    "kmeans": ("distances",),
    "distributed": ("embedder", "identities", "attributes"),
    "backends": ("_kernels",),
    "metrics": (),
    "vault": (),
    "_kernels": (),
    FRONT_DOOR: (),
}
# Every room may use these; they import nothing of the project but `errors`.
COMMON = ("errors", "validation", "progress", "private", "storage")

Import = tuple[Path, int, str]  # file, line, room


def reachable(room: str) -> set[str]:
    """Return the rooms that `room` may import."""
    if room in COMMON:
        return {"errors", room}
    found = {room, *COMMON}
    for below in BELOW[room]:
        found |= reachable(below)
    return found


def room_of(path: Path, package: Path) -> str:
    return path.relative_to(package).parts[0].removesuffix(".py")


def project_imports(path: Path, package: Path) -> Iterator[Import]:
    """Yield every import of the project itself, wherever in the file it stands."""
    parents = path.relative_to(package.parent).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = parents[: len(parents) - node.level + 1] if node.level else ()
            base = ".".join([*start, *([node.module] if node.module else [])])
            modules = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for module in modules:
            top, _, rest = module.partition(".")
            if top == package.name and rest != "__version__":
                target = rest.partition(".")[0]
                is_room = target in BELOW or target in COMMON
                yield path, node.lineno, target if is_room else FRONT_DOOR


def violations(package: Path) -> list[str]:
    """Return one line for each import that points the wrong way."""
    found = []
    for path in sorted(package.rglob("*.py")):
        room = room_of(path, package)
        if room == "__init__":
            continue  # the front door gathers the public names of every room
        allowed = reachable(room)
        for _, line, target in project_imports(path, package):
            if target not in allowed:
                found.append(f"{path.relative_to(package)}:{line}: {room} imports {target}")
    return found


def test_every_room_has_a_rule() -> None:
    rooms = {room_of(path, PACKAGE) for path in PACKAGE.rglob("*.py")} - {"__init__"}
    assert rooms <= {*BELOW, *COMMON}


def test_imports_point_one_way() -> None:
    assert violations(PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "statement", "is_wrong"),
    [
        ("distances.py", "from fastface.graph import NeighborGraph", True),
        ("distances.py", "from fastface import graph", True),
        ("distances.py", "def f():\n    import fastface.graph.build", True),
        ("graph/exact.py", "from ..identities import chinese_whispers", True),
        ("graph/exact.py", "from fastface import nearest_neighbors", True),
        ("validation.py", "from fastface.distances import assign", True),
        ("faces/images.py", "from fastface.embedder import Embedder", True),
        ("faces/dlib_cnn.py", "from fastface.models import load_dlib_cnn", False),
        ("graph/exact.py", "from ..distances import nearest_neighbors", False),
        ("graph/exact.py", "from . import storage", False),
        ("cli/run.py", "from fastface import __version__, errors", False),
        ("cli/run.py", "import numpy", False),
    ],
)
def test_the_check_itself(tmp_path: Path, file: str, statement: str, is_wrong: bool) -> None:
    path = tmp_path / "fastface" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(statement)
    assert bool(violations(tmp_path / "fastface")) is is_wrong


def test_no_file_is_too_long() -> None:
    sources = [
        path
        for folder in ("fastface", "csrc", "tests", "benchmarks", "scripts")
        for pattern in ("*.py", "*.pyi", "*.[ch]pp", "*.h", "*.js", "*.css")
        for path in (REPO / folder).rglob(pattern)
    ]
    lengths = {
        str(path.relative_to(REPO)): len(path.read_text(encoding="utf-8").splitlines())
        for path in sources
    }
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


IMPORT_PROBE = """
import json, os, sys
import numpy

def native_threads():
    return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0

writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT
effects = []

def note(event, args):
    if event == "open" and isinstance(args[2], int) and args[2] & writing:
        effects.append(f"writes {args[0]}")
    elif event in ("_thread.start_new_thread", "subprocess.Popen", "socket.connect", "os.mkdir"):
        effects.append(event)

modules, threads = set(sys.modules), native_threads()
sys.addaudithook(note)
import fastface
packages = {name.partition(".")[0] for name in set(sys.modules) - modules}
print(json.dumps({
    "packages": sorted(packages - sys.stdlib_module_names),
    "effects": effects,
    "new_threads": native_threads() - threads,
}))
"""


def test_import_is_light() -> None:
    """NumPy apart, `import fastface` loads only itself, and leaves no trace.

    SciPy and scikit-learn alone would take longer than the 0.3 s the import may cost.
    """
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", IMPORT_PROBE], capture_output=True, text=True, check=True
    )
    seen = json.loads(done.stdout)
    assert seen == {"packages": ["fastface"], "effects": [], "new_threads": 0}
