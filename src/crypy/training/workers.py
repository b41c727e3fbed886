"""Where the tasks of tuning run: here, in processes of this machine, or on a dask cluster. Futures from all of them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Final
from urllib.parse import urlsplit

from crypy.domain.errors import ConfigError, Unavailable
from crypy.models.dataset import Dataset
from crypy.runtime.loopback import is_loopback
from crypy.training.fold_scores import FoldScore, FoldTask, fold_score, plain_fold_score
from crypy.training.plain_dataset import PlainDataset

_CONNECT_S: Final = 15


@dataclass(frozen=True, slots=True)
class Workers:
    """`score(kind, options, fold)` begins a task; `count` of them run at a time."""

    count: int
    score: Callable[[FoldTask], Future[FoldScore]]


@contextmanager
def workers(dataset: Dataset, processes: int = 1, scheduler: str = "") -> Generator[Workers]:
    """Workers that hold the data: the scheduler's where an address is given, else so many processes (1: this one).

    Raises `ConfigError` for an address that cannot be used, or bars that cannot travel; `Unavailable` where nobody answers.
    """
    if scheduler:
        with _dask(dataset, scheduler) as found:
            yield found
    elif processes == 1:
        yield Workers(1, lambda task: _done(dataset, task))
    else:
        # Spawned: a forked child inherits the locks of threads that do not exist in it.
        data = PlainDataset.of(dataset)
        with ProcessPoolExecutor(processes, get_context("spawn"), _hold, (data,)) as pool:
            yield Workers(processes, lambda task: pool.submit(_score_held, task))


def check_address(address: str) -> None:
    """dask moves pickles: on loopback, or behind TLS, only. Raises `ConfigError` for anything else."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    if parts.scheme not in ("tcp", "tls") or not host:
        raise ConfigError(f"{address!r} is no scheduler address; write for example tcp://127.0.0.1:8786")
    if parts.scheme == "tcp" and not is_loopback(host):
        raise ConfigError(
            f"{address} is another machine without TLS, and whoever can reach that scheduler can run code here; start it with TLS and name it tls://{host}"
        )


@contextmanager
def _dask(dataset: Dataset, address: str) -> Generator[Workers]:
    check_address(address)
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise ConfigError(f"--scheduler needs {error.name}; install it with `pip install 'crypy[scale]'`") from error
    try:
        client: Any = Client(
            address, timeout=_CONNECT_S, set_as_default=False
        )  # Any: awaitable or not, by how it was made
    except (OSError, TimeoutError) as error:
        raise Unavailable(f"no dask scheduler answers at {address} within {_CONNECT_S} s; is it running?") from error
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise Unavailable(
                f"the dask scheduler at {address} has no workers; start some with `dask worker {address}`"
            )
        held = client.scatter(PlainDataset.of(dataset), broadcast=True)
        with client.get_executor(retries=1) as pool:
            yield Workers(threads, lambda task: pool.submit(plain_fold_score, held, task))


def _done(dataset: Dataset, task: FoldTask) -> Future[FoldScore]:
    """The call, made at once, as a future."""
    future: Future[FoldScore] = Future()
    try:
        future.set_result(fold_score(dataset, task))
    except Exception as error:  # Whoever asks for the result gets it, as from any other executor.
        future.set_exception(error)
    return future


_held: list[PlainDataset] = []


def _hold(data: PlainDataset) -> None:
    """Of each process, once: its data."""
    _held[:] = [data]


def _score_held(task: FoldTask) -> FoldScore:
    return plain_fold_score(_held[0], task)
