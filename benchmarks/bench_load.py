"""Mixed calls from 8 threads in each of 2 processes: no wrong bit, no leak, no deadlock.

Every thread draws calls with random shapes and compares the answer, bit by bit, with the one that a
single thread gave before the load began.  One process is forked, one spawned.  At the end
interpreters are shut down with work in flight.  Watchdog: no thread may be silent for two minutes.
While the whole load is stopped (``kill -STOP`` of its process group) no time passes for it.

Resident memory (RSS) is sampled all along.  Every few seconds all threads pause between two calls,
and what malloc has handed out is read: that grows with a leak alone, resident memory also with
holes in the arenas of 8 threads.  Neither may grow by more than 1 % after a warm-up.  ``--trim``
has malloc give free pages back at each pause.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import multiprocessing
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import fastface
from benchmarks.harness import print_table, write_results
from benchmarks.memory import growth, malloc_bytes, rss_bytes, trim
from fastface import (
    AttributeDiscovery,
    IdentityClustering,
    KMeans,
    MiniBatchKMeans,
    NeighborGraph,
)

Call = Callable[[], list[Any]]

_THREADS = 8
_SILENCE = 120.0  # seconds after which a thread is held to be stuck
_MOST_GROWTH = 0.01
_KINDS = {"rss": "RSS", "malloc": "malloc"}
_PAUSE_EVERY = 5  # ticks
_TICK = 1.0  # seconds between two looks at threads and memory
_LONGEST_TICK = 5.0  # what takes longer was stopped, not slow
_TOLD_EVERY = 300  # ticks


def _rows(seed: int, most: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(8, most)), int(rng.integers(1, 100))
    rows = rng.standard_normal((n, d)).astype(rng.choice([np.float32, np.float64]))
    if rng.random() < 0.3:
        rows = np.asfortranarray(rows)
    return rows


def _assign(seed: int) -> list[Any]:
    x = _rows(seed, 1500)
    return list(fastface.assign(x, x[: max(1, len(x) // 5)].copy(), n_threads=1 + seed % 2))


def _neighbors(seed: int) -> list[Any]:
    x = _rows(seed, 600)
    k = 1 + seed % min(30, len(x) - 1)
    return list(
        fastface.nearest_neighbors(x, n_neighbors=k, exclude_self=True, n_threads=1 + seed % 3)
    )


def _radius(seed: int) -> list[Any]:
    found = fastface.radius_neighbors(_rows(seed, 400), radius=0.9, n_threads=2)
    return [found.indptr, found.indices, found.data]


def _pairwise(seed: int) -> list[Any]:
    return [fastface.pairwise_distances(_rows(seed, 300), metric="cosine", n_threads=2)]


def _kmeans(seed: int) -> list[Any]:
    x = _rows(seed, 1000)
    model = KMeans(min(12, len(x)), random_state=seed, max_iter=5, n_threads=1 + seed % 2).fit(x)
    return [model.cluster_centers_, model.labels_]


def _batches(seed: int) -> list[Any]:
    x = _rows(seed, 1000)
    model = MiniBatchKMeans(min(8, len(x)), random_state=seed, max_iter=2, batch_size=256).fit(x)
    return [model.cluster_centers_, model.labels_]


def _identities(seed: int) -> list[Any]:
    x = _rows(seed, 250)
    graph = NeighborGraph.build(x, n_neighbors=min(10, len(x) - 1), normalize=True)
    model = IdentityClustering("components", n_neighbors=min(10, len(x) - 1), n_threads=2)
    return [graph.indices, graph.distances, model.fit(x).labels_]


def _prepared(seed: int) -> list[Any]:
    x = _rows(seed, 1000)
    candidates = fastface.prepare(x[: max(1, len(x) // 3)].copy())
    return [*fastface.assign(x, candidates, n_threads=1 + seed % 3)]


def _people(seed: int) -> list[Any]:
    x = _rows(seed, 300)
    model = IdentityClustering(n_neighbors=min(10, len(x) - 1), n_threads=2)
    model.fit(x, photo_ids=np.arange(len(x)) // 2)
    return [model.labels_, model.confidence_]


def _attributes(seed: int) -> list[Any]:
    x = np.ascontiguousarray(_rows(seed, 300)[:, :24])
    model = AttributeDiscovery(max_splits=2, max_depth=1, random_state=seed).fit(x)
    return list(model.splits_)


CALLS = (
    _assign,
    _neighbors,
    _radius,
    _pairwise,
    _kmeans,
    _batches,
    _identities,
    _prepared,
    _people,
    _attributes,
)


def _digest(answers: Sequence[Any]) -> str:
    digest = hashlib.sha256()
    for answer in answers:
        digest.update(np.ascontiguousarray(answer).tobytes())
    return digest.hexdigest()


def _references(seeds: int) -> dict[tuple[int, int], str]:
    """Return the digest of every answer that will be asked for: one thread gives it."""
    return {
        (number, seed): _digest(call(seed))
        for number, call in enumerate(CALLS)
        for seed in range(seeds)
    }


class Clock:
    """Time that passed while this process ran: a stop counts as one long tick."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._seen = time.monotonic()

    def tick(self, seconds: float) -> float:
        """Sleep; return the time in all."""
        time.sleep(seconds)
        now = time.monotonic()
        self.seconds += min(now - self._seen, max(seconds, _LONGEST_TICK))
        self._seen = now
        return self.seconds


class Load:
    """The threads of one process."""

    def __init__(
        self, expected: dict[tuple[int, int], str], seed: int, *, trims: bool = False
    ) -> None:
        self._expected = expected
        self._seeds = 1 + max(seed for _, seed in expected)
        self._seed = seed
        self._trims = trims
        self._stop = threading.Event()
        self._go = threading.Event()
        self._go.set()
        self._calls = [threading.Lock() for _ in range(_THREADS)]  # each held during a call
        self._clock = Clock()
        self._last = [0.0] * _THREADS
        self._counts: list[Counter[str]] = [Counter() for _ in range(_THREADS)]

    def _work(self, number: int) -> None:
        rng = random.Random(self._seed * 1000 + number)
        while not self._stop.is_set():
            place, seed = rng.randrange(len(CALLS)), rng.randrange(self._seeds)
            self._go.wait()
            with self._calls[number]:
                outcome = self._call(place, seed)
            self._counts[number][outcome] += 1
            self._last[number] = self._clock.seconds

    def _call(self, place: int, seed: int) -> str:
        """Say how a call ended; nothing of it is alive afterwards."""
        try:
            right = _digest(CALLS[place](seed)) == self._expected[place, seed]
        except Exception as error:  # counted, and the load goes on
            return f"{CALLS[place].__name__}: {error!r}"
        return "right" if right else f"{CALLS[place].__name__}: wrong"

    def _pause(self) -> int:
        """Return what malloc has handed out while no call is under way."""
        self._go.clear()
        held = [lock for lock in self._calls if lock.acquire(timeout=_SILENCE)]
        try:
            gc.collect()
            if self._trims:
                trim()
            return malloc_bytes()
        finally:
            for lock in held:
                lock.release()
            self._go.set()

    def _total(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for counts in self._counts:
            total.update(dict(counts))
        return total

    def _is_stuck(self) -> int:
        return sum(self._clock.seconds - last > _SILENCE for last in self._last)

    def run(self, seconds: float) -> dict[str, Any]:
        """Work so long; return counts and memory."""
        threads = [
            threading.Thread(target=self._work, args=(number,), daemon=True)
            for number in range(_THREADS)
        ]
        for thread in threads:
            thread.start()
        resident: list[int] = []
        handed_out: list[int] = []
        tick = min(_TICK, seconds / 40)
        while self._clock.tick(tick) < seconds and not self._is_stuck():
            if len(resident) % _PAUSE_EVERY == 0:
                handed_out.append(self._pause())
            resident.append(rss_bytes())
            if len(resident) % _TOLD_EVERY == 0:
                found = self._memory(resident, handed_out)
                print(f"{self._clock.seconds:.0f} s: {dict(self._total())} {found}", flush=True)
        stuck = self._is_stuck()
        self._stop.set()
        while any(thread.is_alive() for thread in threads) and not self._is_stuck():
            self._clock.tick(tick)
        stuck += sum(thread.is_alive() for thread in threads)
        gc.collect()
        total = self._total()
        return {
            "calls": sum(total.values()),
            "counts": dict(total),
            "stuck": stuck,
            **self._memory(resident, handed_out),
        }

    def _memory(self, resident: list[int], handed_out: list[int]) -> dict[str, float]:
        seconds = self._clock.seconds
        return growth("rss", resident, seconds) | growth("malloc", handed_out, seconds)


def _child(seconds: float, seeds: int, seed: int, trims: bool, pipe: Any) -> None:
    pipe.send(Load(_references(seeds), seed, trims=trims).run(seconds))
    pipe.close()


_SHUTDOWN = """
import threading, numpy as np, fastface
x = np.random.default_rng(0).standard_normal((4000, 64)).astype(np.float32)
def work():
    while True:
        fastface.assign(x, x[:500], n_threads=2)
        fastface.KMeans(20, random_state=0, max_iter=3, n_threads=2).fit(x)
fastface.KMeans(2, max_iter=1).fit(x[:50])  # import everything first
for _ in range(8):
    threading.Thread(target=work, daemon=True).start()
import time; time.sleep({delay})
"""


def shutdowns(times: int) -> Counter[str]:
    """End interpreters while daemon threads are inside of kernels; return how that went."""
    outcomes: Counter[str] = Counter()
    for number in range(times):
        code = _SHUTDOWN.format(delay=0.05 * (number % 10))
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            clock = Clock()
            while process.poll() is None and clock.tick(0.05) < _SILENCE:
                pass
            process.kill()  # does nothing to one that has ended
        code_of = process.returncode
        outcomes[{0: "clean", -9: "hung"}.get(code_of, f"exit {code_of}")] += 1
    return outcomes


def main(argv: Sequence[str] = ()) -> int:
    """Run the load; exit 1 if a bit was wrong, memory grew or something hung."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks load", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of load (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shapes", type=int, default=100, help="of each call (%(default)s)")
    parser.add_argument("--trim", action="store_true", help="give free pages back at each pause")
    parser.add_argument("--smoke", action="store_true", help="a few seconds, memory not judged")
    options = parser.parse_args(argv)
    seconds = 4.0 if options.smoke else options.minutes * 60
    shapes = 6 if options.smoke else options.shapes
    fastface.set_num_threads(2)
    children = []
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        if method == "fork":  # of a process in which kernels have run already
            _references(2)
        here, there = context.Pipe()
        seed = options.seed * 2 + len(children)
        process = context.Process(target=_child, args=(seconds, shapes, seed, options.trim, there))
        process.start()
        there.close()
        children.append((method, process, here))
    results: dict[str, Any] = {}
    for method, process, pipe in children:
        try:
            results[method] = pipe.recv()
        except EOFError:
            results[method] = {"calls": 0, "counts": {"process died": 1}, "stuck": 0}
        process.join()
    ends = shutdowns(2 if options.smoke else 20)
    print_table(
        ["process", "calls", "wrong or failed", "stuck"],
        [
            [
                method,
                found["calls"],
                sum(n for what, n in found["counts"].items() if what != "right"),
                found["stuck"],
            ]
            for method, found in results.items()
        ],
    )
    print_table(
        ["process", "memory", "first MiB", "last MiB", "growth %", "slope % an hour"],
        [
            [
                method,
                name,
                found[f"{kind}_first"] / 2**20,
                found[f"{kind}_last"] / 2**20,
                100 * found[f"{kind}_growth"],
                100 * found[f"{kind}_slope"],
            ]
            for method, found in results.items()
            for kind, name in _KINDS.items()
            if f"{kind}_first" in found
        ],
    )
    print(f"interpreters ended with work in flight: {dict(ends)}")
    for method, found in results.items():
        for what, n in found["counts"].items():
            if what != "right":
                print(f"{method}: {what}: {n}")
    write_results("load", {**results, "shutdowns": dict(ends), "seconds": seconds})
    failed = any(
        set(found["counts"]) != {"right"}
        or found["stuck"]
        or (
            not options.smoke
            and any(found.get(f"{kind}_growth", 0.0) > _MOST_GROWTH for kind in _KINDS)
        )
        for found in results.values()
    )
    return int(failed or set(ends) != {"clean"})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
