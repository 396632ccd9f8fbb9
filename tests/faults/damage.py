"""Truncate files and flip their bits: is it noticed, whatever byte it is?

Every case reads the damaged file in a fork, in case that ends the process.  It may be refused with
a clear error, or read as if nothing had happened (bits that say nothing: padding, dates); what may
never be is another content, another exception, or the end of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastface import AttributeDiscovery, NeighborGraph
from fastface.errors import FastfaceError
from fastface.models.cache import cached
from fastface.pipeline.storage import read_table
from fastface.runtimes.engine_file import read_engine
from fastface.storage import read_arrays
from tests.faults.jobs import AttributesJob, EngineJob, FitJob, GraphJob, RunJob

__all__ = ["main"]

_CASES_A_FORK = 16
_ADDRESS_SPACE = 8 << 30  # a length gone wrong must not take the machine's memory


@dataclass(frozen=True)
class Target:
    """A file, and what reads it."""

    name: str
    file: Path
    read: Callable[[], Any]  # what the content is, to be compared
    prepare: Callable[[], None] = lambda: None  # put everything else in place again


def targets(root: Path) -> Iterator[Target]:
    """Yield all files that a job can leave, whole."""
    yield from _run_targets(root)
    for kind, name in (
        (FitJob, "fit.npz"),
        (GraphJob, "people.graph"),
        (AttributesJob, "model.npz"),
    ):
        folder, inputs = root / kind.__name__, root / f"{kind.__name__} inputs"
        folder.mkdir()
        inputs.mkdir()
        job = kind(inputs)
        job.prepare()
        job.work(folder)
        path = folder / name
        if kind is FitJob:
            yield Target("k-means checkpoint", path, lambda job=job, f=folder: _fit(job, f))
        elif kind is GraphJob:
            yield Target("neighbour graph", path, lambda path=path: _graph(path))
        else:
            yield Target("attributes", path, lambda path=path: _attributes(path))
    engines = root / "engines"
    engines.mkdir()
    EngineJob(engines).work(engines)
    mine = engines / "mine.engine"
    yield Target("engine", mine, lambda: read_engine(mine))
    (kept,) = (engines / "cache").glob("*.engine")
    whole = kept.read_bytes()
    yield Target("engine in the cache", kept, lambda: _cached(whole))


def _run_targets(root: Path) -> Iterator[Target]:
    """Yield the files of a run that waits for its end, and of a finished one."""
    inputs = root / "run inputs"
    inputs.mkdir()
    job = RunJob(inputs)
    job.prepare()
    done = root / "finished"
    job.work(done)

    def finished() -> Any:
        job.work(done)
        return _tables(done / "run")

    for name in ("job.json", "photos.parquet", "run.json", "faces.parquet", "people.parquet",
                 "crops.parquet", "skipped.parquet", "embeddings.npy"):  # fmt: skip
        yield Target(f"finished run: {name}", done / "run" / name, finished)
    stopped, copy = root / "stopped", root / "stopped copy"
    _stop_before_the_end(job, stopped)
    shutil.copytree(stopped, copy)

    def put_back() -> None:
        shutil.rmtree(stopped)
        shutil.copytree(copy, stopped)

    def go_on() -> Any:
        job.work(stopped)
        return _tables(stopped / "run")

    shard = stopped / "run/shards/00000001"
    for name in ("faces.parquet", "skipped.parquet", "embeddings.npy", "checksums.json"):
        yield Target(f"shard: {name}", shard / name, go_on, put_back)
    for name in ("job.json", "photos.parquet"):
        yield Target(f"stopped run: {name}", stopped / "run" / name, go_on, put_back)


def _stop_before_the_end(job: RunJob, folder: Path) -> None:
    from fastface.pipeline import job as module

    collect = module.collect

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    module.collect = stop
    try:
        job.work(folder)
    except KeyboardInterrupt:
        pass
    finally:
        module.collect = collect


def _tables(run: Path) -> dict[str, Any]:
    """Return what the final tables say."""
    names = ("faces.parquet", "people.parquet", "crops.parquet", "skipped.parquet")
    tables = {name: read_table(run / name) for name in names}
    contents = {
        name: ([str(kind) for kind in table.schema.types], table.to_pydict())
        for name, table in tables.items()
    }
    return {**contents, "embeddings.npy": (run / "embeddings.npy").read_bytes()}


def _fit(job: FitJob, folder: Path) -> bytes:
    """Go on with a fit that had ended."""
    before = read_arrays(folder / "fit.npz", mmap=False)
    job.work(folder)
    return repr(before[0]).encode() + folder.with_suffix(".fitted").read_bytes()


def _graph(path: Path) -> Any:
    graph = NeighborGraph.load(path)
    facts = (graph.metric, graph.normalized, graph.n_features, graph.fingerprint, graph.recall)
    return repr(facts), graph.indices.tobytes(), graph.distances.tobytes()


def _attributes(path: Path) -> Any:
    model = AttributeDiscovery.load(path)
    return [split.direction.tobytes() for split in model.hyperplanes_], repr(model.names_)


def _cached(whole: bytes) -> bytes:
    """Find the engine, or build it once more."""
    return cached("m-sm_89", ".engine", lambda: whole).path.read_bytes()


class Damage:
    """All damage to one file."""

    def __init__(self, target: Target) -> None:
        self.target = target
        target.prepare()
        self.whole = target.file.read_bytes()
        self.expected = target.read()
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []

    def cases(self, rng: random.Random, sample: int | None) -> list[tuple[str, int]]:
        """Return what is done to the file: all of it, or a sample."""
        n = len(self.whole)
        flips, lengths = range(8 * n), range(n)
        if sample is None:
            return [("flip", bit) for bit in flips] + [("cut", length) for length in lengths]
        return [("flip", bit) for bit in rng.sample(flips, min(sample, 8 * n))] + [
            ("cut", length) for length in rng.sample(lengths, min(max(2, sample // 4), n))
        ]

    def run(self, cases: list[tuple[str, int]]) -> None:
        """Try them, some in each fork."""
        for first in range(0, len(cases), _CASES_A_FORK):
            batch = cases[first : first + _CASES_A_FORK]
            read_end, write_end = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(read_end)
                self._in_fork(batch, write_end)
            os.close(write_end)
            with os.fdopen(read_end) as pipe:
                answers = pipe.read().split()
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            for (what, where), answer in zip(
                batch, answers, strict=False
            ):  # a dead one answered fewer
                self.outcomes[answer] += 1
                if answer in ("silent", "unexpected"):
                    self.wrong.append(f"{self.target.name}: {what} at {where}: {answer}")
            if status != 0:
                what, where = batch[min(len(answers), len(batch) - 1)]
                self.outcomes["died"] += 1
                ended = signal.Signals(-status).name if status < 0 else status
                self.wrong.append(f"{self.target.name}: {what} at {where}: ended by {ended}")
        self.target.prepare()
        self.target.file.write_bytes(self.whole)

    def _in_fork(self, batch: list[tuple[str, int]], pipe: int) -> None:
        warnings.simplefilter("ignore")
        resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for what, where in batch:
            self.target.prepare()
            damaged = bytearray(self.whole)
            if what == "flip":
                damaged[where // 8] ^= 1 << where % 8
            else:
                del damaged[where:]
            self.target.file.write_bytes(damaged)
            try:
                answer = "same" if self.target.read() == self.expected else "silent"
            except FastfaceError:
                answer = "refused"
            except BaseException:
                traceback.print_exc()
                answer = "unexpected"
            os.write(pipe, f"{answer}\n".encode())
            self.target.prepare()
            self.target.file.write_bytes(self.whole)
        sys.stderr.flush()
        os._exit(0)


def main(argv: Sequence[str]) -> int:
    """Run the campaign; print one JSON document of counts."""
    parser = argparse.ArgumentParser(prog="damage")
    parser.add_argument("--sample", type=int, metavar="N", help="N bits a file, not all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    rng = random.Random(options.seed)
    report, wrong = [], []
    with tempfile.TemporaryDirectory(prefix="fastface-damage-") as root:
        for target in targets(Path(root)):
            damage = Damage(target)
            damage.run(damage.cases(rng, options.sample))
            report.append([target.name, len(damage.whole), dict(damage.outcomes)])
            wrong += damage.wrong
    print(json.dumps({"report": report, "wrong": wrong}, indent=1))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
