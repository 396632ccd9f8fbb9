"""Kill, stop and confuse whole processes at random moments; call again and compare.

Real commands in processes of their own, so that everything that a kill can hit is there: worker
processes, imports, the first and the last moments.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

__all__ = ["main"]

REPO = Path(__file__).resolve().parents[2]
FAKES = REPO / "tests/pipeline"
TABLES = ("faces.parquet", "embeddings.npy", "people.parquet", "crops.parquet", "skipped.parquet")

RUN = """
import sys; from pathlib import Path
from fakes import fake_run; from fake_extractor import SlowExtractor
from fastface.cli.main import _terminable
from fastface.errors import FastfaceError
from fastface.pipeline import job
job.PHOTOS_PER_SHARD = 32
print("begun", flush=True)
try:
    with _terminable():
        fake_run(Path(sys.argv[1]), Path(sys.argv[2]), workers=2, make_extractor=SlowExtractor,
                 force="--force" in sys.argv)
except FastfaceError as error:
    sys.exit(f"fastface: error: {error}")
except KeyboardInterrupt:
    sys.exit(143)
"""
FIT = """
import sys; import numpy as np; from fastface import KMeans
x = np.random.default_rng(0).standard_normal((12000, 32)).astype(np.float32)
print("begun", flush=True)
m = KMeans(150, random_state=0, max_iter=60, tol=0.0, algorithm="lloyd",
           checkpoint=sys.argv[2] + "/fit.npz").fit(x)
np.savez(sys.argv[2] + "/fitted.npz", m.cluster_centers_, m.labels_, m.inertia_, m.n_iter_)
"""
GRAPH = """
import sys; import numpy as np; from fastface import NeighborGraph
x = np.random.default_rng(0).standard_normal((6000, 64)).astype(np.float32)
print("begun", flush=True)
for _ in range(3):
    NeighborGraph.build(x, n_neighbors=40).save(sys.argv[2] + "/people.graph")
"""
ENGINE = """
import os, sys
os.environ["FASTFACE_CACHE_DIR"] = sys.argv[2] + "/cache"
from fastface.models import load
from fastface.runtimes.engines import build_engine, list_engines
from fastface.runtimes.engine_file import read_engine
print("begun", flush=True)
path = build_engine(load("dlib-resnet"), runtime="tensorrt-rtx", arch="sm_89", precision="fp32")
assert all(not engine.problem for engine in list_engines())
info, engine = read_engine(path)
open(sys.argv[2] + "/built.txt", "w").write(f"{info.model} {info.arch} {len(engine) // 100000}")
"""


@dataclass
class Command:
    """A program that is called again and again until it ends."""

    name: str
    code: str
    results: tuple[str, ...]  # what it leaves in its folder
    inputs: str = ""
    options: tuple[str, ...] = ()
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def start(self, folder: Path, *, prefix: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Start it; return when it is about to work."""
        process = subprocess.Popen(
            [*prefix, sys.executable, "-c", self.code, self.inputs, str(folder), *self.options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(FAKES)},
        )
        assert process.stdout is not None
        process.stdout.readline()
        return process

    def finish(self, folder: Path, case: str) -> None:
        """Call it until the end, and compare."""
        print(f"{self.name}: {case}: {dict(self.outcomes)}", file=sys.stderr, flush=True)
        process = self.start(folder)
        _, errors = process.communicate()
        if process.returncode != 0:
            self.wrong.append(f"{self.name}, {case}: called again, it failed: {errors[-400:]}")
        elif self.result(folder) != self.expected:
            self.wrong.append(f"{self.name}, {case}: other bytes")
        else:
            self.outcomes["the same bits in the end"] += 1

    def undisturbed(self, folder: Path) -> None:
        """Call it once, and note what it leaves and how long it takes."""
        start = time.monotonic()
        process = self.start(folder)
        begun = time.monotonic()
        _, errors = process.communicate()
        if process.returncode != 0:
            raise SystemExit(f"{self.name}: the undisturbed command failed: {errors}")
        self.startup, self.seconds = begun - start, time.monotonic() - begun
        self.expected = self.result(folder)

    def result(self, folder: Path) -> list[bytes]:
        """Return what it leaves."""
        return [(folder / name).read_bytes() for name in self.results]


def kill_at_random(
    command: Command, folder: Path, rng: random.Random, kills: int, how: signal.Signals
) -> None:
    """Kill it at so many moments, from its first to its last, and let it end now and then."""
    number = 0
    while command.outcomes[how.name] < kills:
        place = folder / f"{how.name} {number}"
        place.mkdir()
        number += 1
        for _ in range(rng.randint(1, 5)):
            process = command.start(place)
            time.sleep(rng.uniform(0, command.seconds))
            process.send_signal(how)
            _, errors = process.communicate()
            if process.returncode in (-how, 143):
                command.outcomes[how.name] += 1
            elif process.returncode != 0:
                command.wrong.append(f"{command.name}, {how.name}: {errors[-400:]}")
        command.finish(place, how.name)
        shutil.rmtree(place)


def children(parent: int) -> list[int]:
    """Return the processes that another one started, from whichever of its threads."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, ppid = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:  # it has ended
            continue
        if int(ppid) == parent and state != "Z":
            found.append(int(path.parent.name))
    return found


def kill_workers(command: Command, folder: Path, rng: random.Random, kills: int) -> None:
    """Kill so many worker processes of runs that go on by themselves."""
    number = 0
    while command.outcomes["worker killed"] < kills and number < 5 * kills:
        number += 1
        place = folder / f"worker {number}"
        process = command.start(place)
        time.sleep(rng.uniform(0, command.seconds))
        workers = children(process.pid)
        if workers:
            os.kill(rng.choice(workers), signal.SIGKILL)
        command.outcomes["worker killed" if workers else "no worker yet, or no more"] += 1
        _, errors = process.communicate()
        if process.returncode != 0:
            command.wrong.append(f"{command.name}, worker killed: {errors[-400:]}")
        elif command.result(place) != command.expected:
            command.wrong.append(f"{command.name}, worker killed: other bytes")
        else:
            command.outcomes["the same bits in the end"] += 1


def delete_photos(command: Command, folder: Path, rng: random.Random, times: int) -> None:
    """Delete a photo while it runs: it ends, says so when called again, and begins anew if told."""
    for number in range(times):
        place = folder / f"deleted {number}"
        photos = shutil.copytree(command.inputs, place / "photos")
        changed = replace(
            command,
            inputs=str(photos),
            results=("embeddings.npy", "crops.parquet", "skipped.parquet"),  # ids of people last
            outcomes=Counter(),
            wrong=[],
        )
        for end in ("ends", "says so"):
            process = changed.start(place / "run")
            if end == "ends":
                time.sleep(rng.uniform(0, command.seconds))
                rng.choice(sorted(photos.iterdir())).unlink()
            _, errors = process.communicate()
            if end == "ends" and process.returncode != 0:
                command.wrong.append(f"{command.name}, photo deleted: {errors[-400:]}")
            # One that was gone before the run had looked is no news.
            if end == "says so" and process.returncode and "other photos: 1 photo" not in errors:
                command.wrong.append(f"{command.name}, called again: {errors[-400:]}")
        changed.undisturbed(place / "without it")
        changed.options = ("--force",)
        changed.finish(place / "run", "photo deleted")
        command.outcomes.update({"photo deleted": 1, **changed.outcomes})
        command.wrong += changed.wrong
        shutil.rmtree(place)


def two_at_once(command: Command, folder: Path, times: int) -> None:
    """Two processes want one folder: one gets it, the other says so."""
    for number in range(times):
        place = folder / f"two {number}"
        both = [command.start(place), command.start(place)]
        ends = sorted((p.communicate()[1], p.returncode) for p in both)
        said = [text for text, code in ends if code != 0 and "another process is working" in text]
        command.outcomes["two at once"] += 1
        if not said and any(code != 0 for _, code in ends):
            command.wrong.append(f"{command.name}, two at once: {ends}")
        command.finish(place, "two at once")


def jumping_clock(command: Command, folder: Path, rng: random.Random, times: int) -> None:
    """Kill it in the future and go on in the past, files bearing impossible times.

    Without faketime, files bear those times and the clock stays.
    """
    lie = shutil.which("faketime")
    for number in range(times):
        place = folder / f"clock {number}"
        for years in (30, -20):
            moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time.time() + years * 31557600))
            process = command.start(place, prefix=[lie, "-m", moment] if lie else [])
            time.sleep(rng.uniform(0, command.seconds / 2))
            process.kill()
            process.communicate()
            for path in place.rglob("*"):
                moment_ns = rng.choice((0, int(4e18), int(time.time() * 1e9)))
                os.utime(path, ns=(moment_ns, moment_ns))
        command.outcomes["clock jumped" if lie else "times of files jumped (no faketime)"] += 1
        command.finish(place, "clock jumped")


SCHEDULED = """
import sys, warnings; import numpy as np
warnings.simplefilter("ignore")
import dask.array as da
from distributed import Client
from fastface.distributed import KMeans
from fastface.errors import FastfaceError
x = np.random.default_rng(0).standard_normal((6000, 16)).astype(np.float32)
client = Client(sys.argv[1], timeout=30)
client.wait_for_workers(1, timeout=60)
print("begun", flush=True)
try:
    m = KMeans(80, random_state=0, init=x[:80].copy(), max_iter=25, tol=0.0, client=client,
               checkpoint=sys.argv[2] + "/fit.npz").fit(da.from_array(x, chunks=(1500, -1)))
    np.savez(sys.argv[2] + "/fitted.npz", m.cluster_centers_, m.inertia_, m.n_iter_)
except FastfaceError as error:
    print(f"fastface: error: {error}", file=sys.stderr, flush=True)
    import os; os._exit(1)
import os; os._exit(0)
"""


class Cluster:
    """A scheduler and a worker on this machine, in processes that can be killed."""

    def __enter__(self) -> Cluster:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{port}"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        start = [sys.executable, "-m", "distributed.cli"]
        scheduler = ["--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
        worker = [self.address, "--nthreads", "1", "--no-dashboard", "--no-nanny"]
        self.scheduler = subprocess.Popen([f"{start[0]}", "-m", "distributed.cli.dask_scheduler",
                                           *scheduler], **quiet)  # fmt: skip
        self.worker = subprocess.Popen([f"{start[0]}", "-m", "distributed.cli.dask_worker",
                                        *worker], **quiet)  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self.worker, self.scheduler):
            process.kill()
            process.wait()


def kill_schedulers(folder: Path, rng: random.Random, kills: int) -> Command:
    """Kill the scheduler under a fit, which then says so; start another, and call again."""
    command = Command("k-means on a cluster", SCHEDULED, ("fitted.npz",))
    place = folder / "undisturbed"
    place.mkdir(parents=True)
    with Cluster() as cluster:
        command.inputs = cluster.address
        command.undisturbed(place)
    for number in range(kills):
        place = folder / f"scheduler {number}"
        place.mkdir()
        with Cluster() as cluster:
            command.inputs = cluster.address
            process = command.start(place)
            time.sleep(rng.uniform(0, command.seconds))
            cluster.scheduler.kill()
            try:
                _, errors = process.communicate(timeout=120)
            except subprocess.TimeoutExpired:
                process.kill()
                command.wrong.append("k-means on a cluster: it hangs without its scheduler")
                continue
        command.outcomes["scheduler killed"] += 1
        if process.returncode != 0 and "fastface: error: the Dask scheduler" not in errors:
            command.wrong.append(f"k-means on a cluster: {process.returncode} {errors[-600:]}")
        with Cluster() as cluster:
            command.inputs = cluster.address
            command.finish(place, "scheduler killed")
    return command


def main(argv: Sequence[str]) -> int:
    """Run the campaign; print one JSON document of counts."""
    parser = argparse.ArgumentParser(prog="processes")
    parser.add_argument("--kills", type=int, default=50, help="of each command (%(default)s)")
    parser.add_argument("--photos", type=int, default=200, help="of a run (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    names = ["run", "workers", "KMeans", "graph", "engine", "dask"]
    parser.add_argument("--only", nargs="*", choices=names, default=names)
    options = parser.parse_args(argv)
    rng = random.Random(options.seed)
    few = max(1, options.kills // 5)
    sys.path.insert(0, str(FAKES))
    from fakes import make_photos

    commands: list[Command] = []
    with tempfile.TemporaryDirectory(prefix="fastface-processes-") as root:
        photos = make_photos(Path(root) / "photos", options.photos)
        kinds: list[tuple[Command, list[Callable[[Command, Path], None]]]] = [
            (
                Command("run", RUN, TABLES, str(photos)),
                [
                    lambda c, f: kill_at_random(c, f, rng, options.kills, signal.SIGKILL),
                    lambda c, f: kill_at_random(c, f, rng, few, signal.SIGTERM),
                    lambda c, f: delete_photos(c, f, rng, few),
                    lambda c, f: two_at_once(c, f, few),
                    lambda c, f: jumping_clock(c, f, rng, few),
                ],
            ),
            (
                Command("workers", RUN, TABLES, str(photos)),
                [lambda c, f: kill_workers(c, f, rng, few)],
            ),
            (
                Command("KMeans", FIT, ("fitted.npz",)),
                [lambda c, f: kill_at_random(c, f, rng, options.kills, signal.SIGKILL)],
            ),
            (
                Command("graph", GRAPH, ("people.graph",)),
                [lambda c, f: kill_at_random(c, f, rng, options.kills, signal.SIGKILL)],
            ),
            (
                Command("engine", ENGINE, ("built.txt",)),
                [lambda c, f: kill_at_random(c, f, rng, few, signal.SIGKILL)],
            ),
        ]
        for command, faults in kinds:
            if command.name not in options.only:
                continue
            folder = Path(root) / command.name
            (folder / "undisturbed").mkdir(parents=True)
            command.undisturbed(folder / "undisturbed")
            for fault in faults:
                fault(command, folder)
            commands.append(command)
        if "dask" in options.only:
            commands.append(kill_schedulers(Path(root) / "dask", rng, few))
    report = [[c.name, round(c.seconds, 2), dict(c.outcomes)] for c in commands]
    wrong = [line for command in commands for line in command.wrong]
    print(json.dumps({"report": report, "wrong": wrong}, indent=1))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
