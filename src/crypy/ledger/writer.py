"""One thread owns the one connection: jobs run in the order they were put, and are committed in groups.

A durable commit costs one flush of the disk, whether it holds one job or fifty. While one group is being flushed the
next one gathers, so under load the cost per order falls by itself. The event loop never waits for the disk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from crypy.domain.errors import DataError
from crypy.ledger.database import Database

T = TypeVar("T")
_MAX_GROUP: Final = 64


@dataclass(slots=True, eq=False)
class _Entry:
    # Any: entries of unlike results share the queue; `put` ties job and future together.
    job: Callable[[Connection], Any]
    then: Callable[[Any], None] | None
    future: Future[Any]
    generation: int


class Writer:
    """Runs jobs against a database.

    A job is a function of a connection inside a transaction; it may be run twice (when another one of its group failed)
    and so must have no other effect. `then` gets its result, in the thread, right after the commit and before anybody
    who waits for the job hears of it.

    With `fail_stop`, once the database cannot be written every later job fails too, until `resume`: for
    owners whose next job only makes sense after the one before.
    """

    def __init__(self, database: Database, *, fail_stop: bool = False) -> None:
        self._database = database
        self._fail_stop = fail_stop
        self._failure: DataError | None = None
        self._generation = 0
        self._queue: SimpleQueue[_Entry | None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"writer {database.name}", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> DataError | None:
        """Why nothing is written any more; `None` while all is well."""
        return self._failure

    def resume(self) -> None:
        """Try again after a failure. What was put before fails nevertheless: it may rest on what was lost."""
        self._generation += 1
        self._failure = None

    def put(self, job: Callable[[Connection], T], then: Callable[[T], None] | None = None) -> Future[T]:
        """Queue a job. The future holds its result once that is durable; it cannot be cancelled.

        It fails with what the job raised, or with `DataError` when the database cannot be written. Then nothing of
        the job is in the database.
        """
        future: Future[T] = Future()
        # Running from the start: what was put will be done, whether or not anybody still waits for it.
        future.set_running_or_notify_cancel()
        if self._closed:
            future.set_exception(DataError(f"{self._database.name} is closed"))
        else:
            self._queue.put(_Entry(job, then, future, self._generation))
        return future

    def close(self) -> None:
        """Do what was put, then end the thread and close the database."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        self._database.close()

    def _run(self) -> None:
        connection: Connection | None = None
        ending = False
        while not ending:
            group, ending = self._gather()
            try:
                connection = connection or self._database.engine.connect()
            except DBAPIError as error:
                self._fail(group, self._failed(error))
                continue
            self._commit(connection, group)
        if connection is not None:
            connection.close()
        # Here and not by whoever closes: SQLite's connections are bound to their thread.
        self._database.engine.dispose()

    def _gather(self) -> tuple[list[_Entry], bool]:
        """What waits, at least one entry; and whether that was the last."""
        group: list[_Entry] = []
        entry = self._queue.get()
        while entry is not None:
            group.append(entry)
            if len(group) == _MAX_GROUP or self._queue.empty():
                return group, False
            entry = self._queue.get()
        return group, True

    def _commit(self, connection: Connection, group: list[_Entry]) -> None:
        if self._failure is not None or any(entry.generation != self._generation for entry in group):
            group = self._drop_lost(group)
            if not group:
                return
        results: list[Any] = []  # Any: as in _Entry
        try:
            with connection.begin():
                results = [entry.job(connection) for entry in group]
        except Exception as error:
            if len(group) > 1:
                for entry in group:
                    self._commit(connection, [entry])
            else:
                self._fail(group, self._failed(error))
            return
        for entry, result in zip(group, results, strict=True):
            try:
                if entry.then is not None:
                    entry.then(result)
            except Exception as error:  # the thread must outlive a broken fold, or everybody would wait for ever
                self._failure = DataError(
                    f"{self._database.name}: what is in memory no longer follows the database ({error})"
                )
                self._fail([entry], self._failure)
            else:
                entry.future.set_result(result)

    def _failed(self, error: Exception) -> Exception:
        """The error to hand on: the job's own, or what it means that the database failed."""
        if isinstance(error, DBAPIError):
            cause = error.orig
            error = DataError(
                f"{self._database.name} cannot be read or written ({cause}); "
                "look at the disk's free space and permissions"
            )
        if self._fail_stop:
            self._failure = error if isinstance(error, DataError) else DataError(str(error))
        return error

    def _drop_lost(self, group: list[_Entry]) -> list[_Entry]:
        """Fail what may not be done after a failure; returns the rest."""
        failure = self._failure
        if failure is not None:
            self._fail(group, failure)
            return []
        lost = [entry for entry in group if entry.generation != self._generation]
        self._fail(lost, DataError(f"{self._database.name} could not be written before; this was dropped with it"))
        return [entry for entry in group if entry not in lost]

    @staticmethod
    def _fail(group: list[_Entry], error: Exception) -> None:
        for entry in group:
            entry.future.set_exception(error)
