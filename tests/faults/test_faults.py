"""A seeded sample of each campaign; ``python -m tests.faults`` is all of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow", reason="the extra 'faces' is not installed")

REPO = Path(__file__).resolve().parents[2]


def campaign(*arguments: str) -> dict[str, Any]:
    """Run a campaign in a process of its own; return what it counted."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", *arguments],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout) if done.stdout else {"wrong": done.stderr}
    assert found["wrong"] == [], done.stderr
    assert done.returncode == 0, done.stderr
    return found


@pytest.mark.skipif(shutil.which("cc") is None, reason="the failing disk is made by a C compiler")
@pytest.mark.skipif(sys.platform != "linux", reason="the failing disk is preloaded as on Linux")
@pytest.mark.slow
def test_a_disk_that_fails_at_any_operation() -> None:
    found = campaign("disk", "--sample", "1", "--seed", "7")
    ends = [counts for _, what, counts, *_ in found["report"] if what == "outcomes"]
    assert sum(end.get("killed", 0) for end in ends) >= 8
    assert sum(end.get("stopped with a clear error", 0) for end in ends) >= 25


@pytest.mark.slow
def test_damage_to_any_file() -> None:
    found = campaign("damage", "--sample", "6", "--seed", "7")
    for name, _, outcomes in found["report"]:
        healed = name.startswith(("shard", "engine in", "stopped run: photos"))
        assert healed == ("refused" not in outcomes), (name, outcomes)


@pytest.mark.skipif(sys.platform != "linux", reason="children are found in /proc")
@pytest.mark.slow
def test_processes_that_are_killed() -> None:
    found = campaign("processes", "--kills", "2", "--photos", "64", "--only", "run", "--seed", "7")
    ((_, _, outcomes),) = found["report"]
    assert outcomes["SIGKILL"] >= 2
    assert outcomes["SIGTERM"] >= 1
    assert outcomes["photo deleted"] == outcomes["two at once"] == 1
    assert outcomes["the same bits in the end"] >= 5
