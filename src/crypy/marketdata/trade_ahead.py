"""Work of a stream done in a thread of its own, a little ahead of whoever takes the results."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Final, TypeVar

T = TypeVar("T")

_ITEMS_AHEAD: Final = 8


@contextmanager
def read_ahead(items: Generator[T]) -> Generator[Iterator[T]]:
    """The same items, made in a thread of their own and a few ahead; the thread has ended when the block is left."""
    ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(_ITEMS_AHEAD)
    abandoned = threading.Event()

    def produce() -> None:
        outcome: tuple[T | None, BaseException | None] = (None, None)
        try:
            with closing(items):
                for item in items:
                    ready.put((item, None))
                    if abandoned.is_set():
                        return
        except BaseException as fault:  # handed over whole: the consumer raises it
            outcome = (None, fault)
        ready.put(outcome)

    def consume() -> Iterator[T]:
        while True:
            item, fault = ready.get()
            if fault is not None:
                raise fault
            if item is None:
                return
            yield item

    thread = threading.Thread(target=produce, name="ahead", daemon=True)
    thread.start()
    try:
        yield consume()
    finally:
        abandoned.set()
        while thread.is_alive():
            # The producer may wait for room, once: take what is there until it has seen that nobody listens.
            with suppress(queue.Empty):
                ready.get(timeout=0.01)
        thread.join()
