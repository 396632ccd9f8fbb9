"""A moment of fuzzing in every test run; ``scripts/fuzz.py`` does it for as long as one likes."""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import fuzz_targets
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "fuzz.py"
# What a target costs decides how often it is tried here.
EXAMPLES = {"run_folder": 12, "command_line": 20, "onnx_model": 40, "image": 40}


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Targets set variables of the environment."""
    for name in ("FASTFACE_CACHE_DIR", "FASTFACE_PASSPHRASE", "FASTFACE_KEY_FILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("FASTFACE_KEY_FILE")


@pytest.fixture(scope="module")
def fuzz() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("fuzz_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    fuzz_targets.clean_up()


@pytest.mark.parametrize("target", list(fuzz_targets.TARGETS))
@pytest.mark.filterwarnings("ignore")
def test_the_corpus_is_of_today(target: str) -> None:
    """What is not damaged is taken, or the fuzzing would stop at a version number."""
    taken = {
        path.name: fuzz_targets.attempt(target, path.read_bytes())
        for path in sorted((fuzz_targets.CORPUS / target).iterdir())
    }
    assert any(ok for name, ok in taken.items() if not name.startswith("found-")), taken
    assert sum(len(seed) for seed in fuzz_targets.seeds(target)) < 100_000


@pytest.mark.parametrize("target", list(fuzz_targets.TARGETS))
@pytest.mark.filterwarnings("ignore")
def test_damaged_input_is_an_error_of_our_own(target: str, fuzz: ModuleType) -> None:
    corpus = fuzz_targets.seeds(target)

    @settings(
        max_examples=EXAMPLES.get(target, 60),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**32))
    def check(seed: int) -> None:
        rng = random.Random(seed)
        fuzz_targets.attempt(target, fuzz.mutate(rng.choice(corpus), rng, corpus))

    check()


def test_a_finding_is_noticed_and_kept(fuzz, tmp_path: Path, monkeypatch, capsys) -> None:
    def weak(data: bytes) -> None:
        if b"../" in data:
            raise IndexError("out of bounds")

    monkeypatch.setitem(fuzz_targets.TARGETS, "engine", weak)
    arguments = ["engine", "--seconds", "2", "--findings", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["fuzz.py", *arguments])
    monkeypatch.setattr(fuzz.resource, "setrlimit", lambda *_: None)
    monkeypatch.setattr(fuzz.signal, "signal", lambda *_: None)
    monkeypatch.setattr(fuzz.fuzz_targets, "clean_up", lambda: None)
    assert fuzz.main() == 1
    (kept,) = tmp_path.iterdir()
    assert b"../" in kept.read_bytes()
    assert "IndexError at test_fuzz.py" in capsys.readouterr().out
