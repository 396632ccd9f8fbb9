"""Stages that run side by side, each a step ahead of the next, and no further."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from contextlib import suppress
from typing import Any, TypeVar

__all__ = ["run_ahead"]

_Item = TypeVar("_Item")
_END = object()
_POLL_SECONDS = 0.1


def run_ahead(source: Iterable[_Item], depth: int, name: str) -> Generator[_Item, None, None]:
    """Compute items in a thread of their own while the caller works on earlier ones.

    Parameters
    ----------
    source : iterable
        Read by that thread alone.  An exception it raises reaches the caller after the items
        before it.
    depth : int
        How many finished items may wait for the caller; then the thread waits, so that memory
        stays bounded.
    name : str
        Of the thread.

    Yields
    ------
    The items, in order.

    Notes
    -----
    When the caller stops early, the thread ends after the item it is at, and only then does
    closing this generator return: nothing runs on behind the caller's back.
    """
    ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: Any, error: BaseException | None = None) -> None:
        while not stopped.is_set():
            with suppress(queue.Full):
                ready.put((item, error), timeout=_POLL_SECONDS)
                return

    def work() -> None:
        iterator = iter(source)
        try:
            while not stopped.is_set():
                item = next(iterator, _END)
                put(item)
                if item is _END:
                    return
        except BaseException as error:  # also Ctrl-C as raised by a callee: it is the caller's
            put(_END, error)
        finally:
            # A generator must be closed by the thread that runs it.
            if hasattr(iterator, "close"):
                iterator.close()

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        stopped.set()
        thread.join()
