"""Ends jobs by SIGKILL at every rename in turn, goes on, and compares with an undisturbed one.

Usage: ``python killer.py PHOTOS FOLDER``.  Jobs run in forks of this process, so that a hundred
cost little; the answer is one JSON document: what was killed where, and which folders came out
different.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from fakes import fake_run

from fastface.pipeline import job

FINAL = (
    "faces.parquet",
    "embeddings.npy",
    "people.parquet",
    "crops.parquet",
    "skipped.parquet",
    "questions.parquet",
)


def in_a_fork(photos: Path, out: Path, *, kill_at: int | None = None) -> int:
    """Run the job; return the status of the process it ran in."""
    pid = os.fork()
    if pid == 0:
        if kill_at is not None:
            kill_at_rename(kill_at)
        try:
            fake_run(photos, out)
        except BaseException as error:
            print(f"{out}: {error}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill_at_rename(n: int) -> None:
    rename, state = os.replace, {"left": n}

    def replace(source: str, target: str) -> None:
        if state["left"] > 0:
            state["left"] -= 1
            return rename(source, target)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    os.replace = replace


def main(photos: Path, folder: Path) -> None:
    job.PHOTOS_PER_SHARD = 4
    if in_a_fork(photos, folder / "undisturbed"):
        sys.exit("the undisturbed job failed")
    expected = {name: (folder / "undisturbed" / name).read_bytes() for name in FINAL}
    left = sorted(path.name for path in (folder / "undisturbed").iterdir())
    kills, different = 0, []
    for moment in range(100):
        out = folder / f"killed-at-{moment}"
        if in_a_fork(photos, out, kill_at=moment) != -signal.SIGKILL:
            break
        kills += 1
        status = in_a_fork(photos, out)
        same = status == 0 and all(
            (out / name).read_bytes() == content for name, content in expected.items()
        )
        if not same or sorted(path.name for path in out.iterdir()) != left:
            different.append(out.name)
    print(json.dumps({"kills": kills, "different": different}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
