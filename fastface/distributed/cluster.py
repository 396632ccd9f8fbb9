"""Questions to all partitions at once, over a Dask cluster."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from fastface.distributed.partition import Recipe, ask, forget
from fastface.errors import (
    BackendUnavailableError,
    FastfaceError,
    InvalidInputError,
    MissingDependencyError,
)

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["Partitions", "Shared", "connect", "count_workers", "find_client", "gather", "submit"]

T = TypeVar("T")

_PATIENCE = 10  # seconds until a scheduler must have answered
_FAN_IN = 8  # answers merged by one task


def find_client(client: Any = None) -> Client:
    """Return a Dask client: the one given, or the current one.

    Raises
    ------
    MissingDependencyError
        If Dask's scheduler is not installed.
    InvalidInputError
        If there is no client.
    """
    try:
        from distributed import Client, get_client
    except ImportError:
        raise MissingDependencyError.for_package(
            "distributed", extra="dask", purpose="working on a cluster"
        ) from None
    if client is None:
        try:
            client = get_client()
        except ValueError:
            raise InvalidInputError(
                "there is no Dask client: make one, dask.distributed.Client('tcp://scheduler:8786')"
                " for a cluster or Client() for this machine, or pass client="
            ) from None
    if not isinstance(client, Client):
        raise InvalidInputError(
            f"client must be a dask.distributed.Client, got {type(client).__name__}"
        )
    if not count_workers(client):
        raise BackendUnavailableError(f"the Dask cluster {client} has no workers: start some")
    return client


@contextmanager
def connect(scheduler: Any) -> Iterator[Client]:
    """Connect to a scheduler by its address; a client is taken as it is, and left open.

    Raises
    ------
    BackendUnavailableError
        If nobody answers there, or there are no workers.
    """
    if not isinstance(scheduler, str):
        yield find_client(scheduler)
        return
    try:
        from distributed import Client
    except ImportError:
        raise MissingDependencyError.for_package(
            "distributed", extra="dask", purpose="working on a cluster"
        ) from None
    try:
        client = Client(scheduler, set_as_default=False, timeout=_PATIENCE)
    except (OSError, ValueError, TimeoutError) as error:
        raise BackendUnavailableError(
            f"no Dask scheduler answers at {scheduler!r} ({error}): start one, or give its address,"
            " such as tcp://host:8786"
        ) from error
    with client:
        yield find_client(client)


class Shared:
    """Something that all workers need, sent to the scheduler once; workers pass it on.

    It is the result of a task, not scattered data, so that it comes back when a worker dies.
    """

    def __init__(self, client: Client, value: Any) -> None:
        self.value = value
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")  # centers are what they are
            self.future: Future = client.submit(_itself, value, pure=False)


class Partitions:
    """The rows of a fit, divided over workers.

    Parameters
    ----------
    client : distributed.Client
        The cluster.
    sources : list
        Rows of each partition, or where they are: what `fastface.distributed.partition.ask` takes.
    weights : list
        Their weights, each may be None.
    first_rows : list of int
        Index of the first row of each.
    """

    def __init__(
        self,
        client: Client,
        sources: Sequence[Any],
        weights: Sequence[Any],
        first_rows: Sequence[int],
    ) -> None:
        self.client = client
        self.first_rows = list(first_rows)
        self._sources = list(sources)
        self._weights = list(weights)

    def __len__(self) -> int:
        return len(self._sources)

    def share(self, value: Any) -> Shared:
        """Return a value in a form in which all partitions can be told it."""
        return Shared(self.client, value)

    def each(self, work: Callable[..., Any], *details: Any) -> list[Any]:
        """Return what `work(source, weights, first_row, *details)` gives for every partition."""
        return gather(self.client, self._submit(work, details))

    def ask(self, recipe: Recipe, question: str, *details: Any) -> list[Any]:
        """Return the answer of every partition."""
        return self.each(ask, recipe, question, *details)

    def ask_one(self, number: int, recipe: Recipe, question: str, *details: Any) -> Any:
        """Return the answer of one partition."""
        return gather(self.client, self._submit(ask, (recipe, question, *details), [number]))[0]

    def ask_merged(
        self, merge: Callable[[T, T], T], recipe: Recipe, question: str, *details: Any
    ) -> T:
        """Return the answers of all partitions as one, merged where they are."""
        answers = self._submit(ask, (recipe, question, *details))
        while len(answers) > 1:
            answers = [
                submit(self.client, _merge_all, merge, answers[i : i + _FAN_IN], name="merge")
                for i in range(0, len(answers), _FAN_IN)
            ]
        merged: T = gather(self.client, answers)[0]
        return merged

    def keep(self, recipe: Recipe, question: str, *details: Any) -> list[Future]:
        """Return futures of the answers, which stay on the workers."""
        return self._submit(ask, (recipe, question, *details))

    def forget(self, recipe: Recipe) -> None:
        """Let workers drop what they remember of a fit.

        Without a scheduler they end by themselves.  Nothing is raised: it would replace the error
        that says why the fit ended.
        """
        with suppress(Exception):
            self.client.run(forget, recipe.key, on_error="ignore")

    def _submit(
        self, work: Callable[..., Any], details: Sequence[Any], numbers: Sequence[int] | None = None
    ) -> list[Future]:
        name = str(details[1]) if work is ask else work.__name__
        return [
            submit(
                self.client,
                work,
                self._sources[i],
                self._weights[i],
                self.first_rows[i],
                *details,
                name=name,
            )
            for i in (range(len(self)) if numbers is None else numbers)
        ]


def submit(client: Client, work: Callable[..., Any], *details: Any, name: str = "") -> Future:
    """Return the future of a call on some worker, where its biggest arguments are."""
    key = f"fastface-{name or work.__name__.strip('_')}-{uuid.uuid4().hex}"
    return client.submit(work, *[_sent(detail) for detail in details], key=key, pure=False)


def gather(client: Client, futures: Sequence[Any]) -> list[Any]:
    """Return what futures hold.

    Raises
    ------
    BackendUnavailableError
        If workers died over one of them again and again, or the scheduler is gone.
    """
    with _clear_errors():
        results: list[Any] = client.gather(list(futures))
    return results


def count_workers(client: Client) -> int:
    """Return how many workers there are.

    Raises
    ------
    BackendUnavailableError
        If the scheduler is gone.
    """
    with _clear_errors():
        return len(client.nthreads())


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Say what happened to the cluster and what helps."""
    from distributed import CancelledError, KilledWorker

    try:
        yield
    except KilledWorker as error:
        raise BackendUnavailableError(
            f"workers died again and again while they worked on one partition ({error}); most"
            " often they run out of memory: make partitions smaller, or give workers more"
        ) from error
    except FastfaceError:  # a worker's own, some of which are errors of the operating system
        raise
    except (CancelledError, OSError) as error:
        raise BackendUnavailableError(
            f"the Dask scheduler does not answer any more ({type(error).__name__}: {error});"
            " start it again: a fit with a checkpoint then goes on after its last iteration"
        ) from error


def _itself(value: T) -> T:
    return value


def _sent(detail: Any) -> Any:
    if isinstance(detail, Shared):
        return detail.future
    if isinstance(detail, list):
        return [_sent(one) for one in detail]
    return detail


def _merge_all(merge: Callable[[T, T], T], answers: list[T]) -> T:
    merged = answers[0]
    for answer in answers[1:]:
        merged = merge(merged, answer)
    return merged
