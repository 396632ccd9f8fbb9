"""Let the disk fail, or the process die, at every operation in turn; then call again and compare.

Run in a process prepared by `disk.preload`.  Every case is a fork of this one, so that thousands
cost little.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fastface.errors import FastfaceError
from tests.faults import disk
from tests.faults.jobs import JOBS, Job

_DONE, _SAID, _UNEXPECTED = 0, 3, 4


class Campaign:
    """All faults of one job."""

    def __init__(self, job: Job, folder: Path, rng: random.Random) -> None:
        self.job = job
        self.folder = folder
        self.rng = rng
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []
        # Always in one place: pages name the folder that they are in.
        status, self.total, _ = self._call(self._fresh(), None, 0)
        if status != _DONE:
            raise SystemExit(f"{job.name}: the undisturbed job failed")
        self.expected = job.result(folder / "case")

    def _fresh(self) -> Path:
        folder = self.folder / "case"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.job.begin(folder)
        return folder

    def _call(self, folder: Path, fault: disk.Fault | None, n: int) -> tuple[int, int, int]:
        """Call the job in a fork; return how that ended, its work and its disk operations."""
        report = folder.with_suffix(".json")
        report.unlink(missing_ok=True)
        pid = os.fork()
        if pid == 0:
            status, pieces = _UNEXPECTED, 0
            try:
                warnings.simplefilter("ignore")
                with open(os.devnull, "w") as null:
                    os.dup2(null.fileno(), 1)
                disk.arm(folder, -1 if fault is None else n, fault or disk.FAULTS[-1])
                pieces = self.job.work(folder)
                status = _DONE
            except FastfaceError:
                status = _SAID
            except BaseException:
                traceback.print_exc()
            report.write_text(json.dumps([pieces, disk.count()]))
            sys.stderr.flush()
            os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        pieces, operations = json.loads(report.read_text()) if report.is_file() else (0, 0)
        return status, pieces, operations

    def operations(self, fault: disk.Fault) -> int:
        """Return how many operations the fault may hit."""
        folder = self._fresh()
        report = self._call(folder, disk.Fault("", 1, removals=fault.removals), 1 << 40)
        return report[2]

    def hit(self, fault: disk.Fault, n: int, second: disk.Fault | None = None) -> None:
        """One case: the fault, perhaps another one while going on, then the same command."""
        case = f"{self.job.name}: {fault.name} at operation {n}"
        folder = self._fresh()
        status, _, _ = self._call(folder, fault, n)
        if not self._expected_end(case, fault, status):
            return
        if second is not None:
            again = self.rng.randrange(max(1, n + 20))
            case += f", then {second.name} at {again}"
            status, _, _ = self._call(folder, second, again)
            if not self._expected_end(case, second, status):
                return
        on_disk = self.job.finished(folder)
        status, pieces, _ = self._call(folder, None, 0)
        if status != _DONE:
            self.wrong.append(f"{case}: called again, it ended with {status}")
        elif pieces > self.total - on_disk:
            self.wrong.append(f"{case}: {pieces} pieces were made, though {on_disk} were there")
        elif (found := self.job.result(folder)) != self.expected:
            names = [
                name
                for name in found.keys() | self.expected.keys()
                if found.get(name) != self.expected.get(name)
            ]
            self.wrong.append(f"{case}: other bytes in {sorted(names)}")

    def _expected_end(self, case: str, fault: disk.Fault, status: int) -> bool:
        """Count how a disturbed call ended; only some ends are right."""
        ends = {_DONE: "done all the same", _SAID: "stopped with a clear error"}
        if fault.answer == -1:
            ends[-signal.SIGKILL] = "killed"
        self.outcomes[ends.get(status, "wrong")] += 1
        if status not in ends:
            self.wrong.append(f"{case}: it ended with {status}")
        return status in ends


def main(argv: Sequence[str]) -> int:
    """Run the campaign; print one JSON document of counts."""
    parser = argparse.ArgumentParser(prog="disk_campaign")
    parser.add_argument("--sample", type=int, metavar="N", help="N operations a fault, not all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", nargs="*", default=[kind.name for kind in JOBS])
    options = parser.parse_args(argv)
    rng = random.Random(options.seed)
    report, wrong = [], []
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # syncing costs nothing there
    with tempfile.TemporaryDirectory(prefix="fastface-faults-", dir=memory) as root:
        for kind in JOBS:
            if kind.name not in options.jobs:
                continue
            inputs = Path(root) / "inputs" / kind.__name__
            inputs.mkdir(parents=True)
            job = kind(inputs)
            job.prepare()
            campaign = Campaign(job, Path(root) / kind.__name__, rng)
            for fault in disk.FAULTS:
                n_operations = campaign.operations(fault)
                places = list(range(n_operations))
                if options.sample is not None and options.sample < n_operations:
                    places = sorted(rng.sample(places, options.sample))
                for place in places:
                    second = rng.choice(disk.FAULTS) if rng.random() < 0.2 else None
                    campaign.hit(fault, place, second)
                report.append([job.name, fault.name, n_operations, len(places)])
            report.append([job.name, "outcomes", dict(campaign.outcomes)])
            wrong += campaign.wrong
    print(json.dumps({"report": report, "wrong": wrong}, indent=1))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
