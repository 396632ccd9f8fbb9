"""Faces of many photos, found by worker processes with a bounded number of photos in flight."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import Pipe
from pathlib import Path

from fastface.errors import FastfaceError
from fastface.pipeline.photo_worker import Extractor, PhotoResult

__all__ = ["ExtractionPool", "WorkerStartError"]

# A worker imports what it needs and nothing of the program that called: `multiprocessing` would
# run the caller's script once more in every worker.
_BOOTSTRAP = (
    "import sys; from multiprocessing.connection import Connection;"
    " pipe = Connection(int(sys.argv[1])); sys.path[:] = pipe.recv();"
    " from fastface.pipeline.photo_worker import serve; serve(pipe)"
)
# One core each: the libraries below would otherwise start a pool of threads in every worker.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_IN_FLIGHT_PER_WORKER = 4
# Far more than the largest photo takes on the slowest machine: nothing but a hang lasts so long.
_PATIENCE_SECONDS = 900


class WorkerStartError(FastfaceError, RuntimeError):
    """A worker process ended before it could read any photo."""


class _WorkerEndedError(Exception):
    """A worker ended with a photo in its hands."""


class _Worker:
    """One process that reads photos."""

    def __init__(self, make_extractor: Callable[[], Extractor], patience: int) -> None:
        self._patience = patience
        self._connection, theirs = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BOOTSTRAP, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=2,  # stdout belongs to results
            env={**os.environ, **_ONE_THREAD},
        )
        theirs.close()
        with suppress(ConnectionError):  # noticed, and said, when its first answer is awaited
            self._connection.send(sys.path)
            self._connection.send(make_extractor)

    def extract(self, path: str) -> PhotoResult:
        """Return what came of one photo.

        Raises
        ------
        _WorkerEndedError
            If it ended the worker.
        FastfaceError
            If the extractor cannot work at all.
        """
        try:
            self._connection.send(path)
            self._wait_for_answer()
            answer: PhotoResult | FastfaceError = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            raise _WorkerEndedError(self._how_it_ended()) from error
        if isinstance(answer, FastfaceError):
            raise answer
        return answer

    def _wait_for_answer(self) -> None:
        """Wait as long as a photo may take, not counting while this process itself was stopped."""
        for _ in range(self._patience):
            # One second after the other: no clock is asked, so that none can jump.
            if self._connection.poll(1.0):
                return
        self.kill()
        raise _WorkerEndedError(f"no answer within {self._patience} s")

    def wait_until_ready(self) -> None:
        """Wait until photos can be sent; raise `WorkerStartError` if it ends before."""
        try:
            self._wait_for_answer()
            self._connection.recv()
        except (EOFError, ConnectionError, _WorkerEndedError) as error:
            raise WorkerStartError(
                f"a worker process could not start ({self._how_it_ended()}): what it wrote to"
                " stderr says why, and `fastface doctor` what is missing"
            ) from error

    def _how_it_ended(self) -> str:
        """Wait for a worker that has closed its end of the pipe."""
        try:
            return _describe(self._process.wait(timeout=5))
        except subprocess.TimeoutExpired:
            return "no answer"

    @property
    def was_killed(self) -> bool:
        """Whether a signal ended it."""
        return (self._process.poll() or 0) < 0

    def kill(self) -> None:
        """End the process, which holds nothing that could be lost."""
        self._process.kill()

    def close(self) -> None:
        """End the process and give back what it held."""
        self._process.kill()
        self._process.wait()
        self._connection.close()


class ExtractionPool:
    """Worker processes that outlive a photo that kills one of them.

    Every worker is served by a thread of its own, which only waits for it, so that workers go on
    while the caller embeds.

    Parameters
    ----------
    make_extractor : callable
        Picklable; called once in every worker.
    workers : int
        Processes.
    patience : int
        Seconds that a worker may be silent about one photo; then it is ended like one that died.
    """

    def __init__(
        self,
        make_extractor: Callable[[], Extractor],
        workers: int,
        *,
        patience: int = _PATIENCE_SECONDS,
    ) -> None:
        self._patience = patience
        self._make_extractor = make_extractor
        self._workers = workers
        self._threads = ThreadPoolExecutor(workers, "fastface-worker")
        self._alive: set[_Worker] = set()
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._closing = False

    def __enter__(self) -> ExtractionPool:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in list(self._alive):
            worker.kill()
        # Their threads are told by the pipe; only then may its end here be closed.
        self._threads.shutdown(wait=True)
        while self._alive:
            self._alive.pop().close()

    def extract(self, root: Path, photos: Iterable[str]) -> Iterator[PhotoResult]:
        """Yield the result of every photo, in order.

        At most four photos a worker are in flight, so that memory does not grow with the folder.

        Raises
        ------
        WorkerStartError
            If the workers cannot be started at all.
        """
        waiting: deque[Future[PhotoResult]] = deque()
        for photo in photos:
            waiting.append(self._threads.submit(self._extract, str(root / photo)))
            if len(waiting) == _IN_FLIGHT_PER_WORKER * self._workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _extract(self, path: str) -> PhotoResult:
        how = ""
        # Once more before the photo is blamed: the system may have ended a worker for its memory.
        for _ in range(2):
            worker = self._take_worker()
            try:
                result = worker.extract(path)
            except _WorkerEndedError as error:
                how = str(error)
                self._alive.discard(worker)
                worker.close()
                if self._closing:
                    break
                continue
            self._idle.put(worker)
            return result
        return PhotoResult(
            reason="crashed", message=f"reading it ended the worker process twice ({how})"
        )

    def _take_worker(self) -> _Worker:
        # There are as many threads as workers, so an empty queue means that one has ended.
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return self._start_worker()

    def _start_worker(self, *, again: bool = True) -> _Worker:
        worker = _Worker(self._make_extractor, self._patience)
        self._alive.add(worker)
        try:
            worker.wait_until_ready()
        except WorkerStartError:
            # A signal says nothing about what is installed: the system may want memory.
            if not (again and worker.was_killed) or self._closing:
                raise
            self._alive.discard(worker)
            worker.close()
            return self._start_worker(again=False)
        return worker


def _describe(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"
