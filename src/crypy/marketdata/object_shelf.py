"""A shelf on an object store: S3 and what speaks like it, Google Cloud Storage, Azure, or this process's memory, by obstore.

Names are the same as in a folder. What is guaranteed, with any number of writers on any number of machines:
- A file appears whole or not at all: it is uploaded in one request, whose bytes are signed.
- A file is replaced only by a writer that saw the version it replaces (If-Match), and made only where there is none (If-None-Match).
  Before the first write it is tried whether the service keeps to that; one that does not is refused.
- A reader gets one version of a file, never a mixture: copies are kept by version, and what was fetched is compared with what was listed.
This takes a service that lists what was written at once, as S3, Google and Azure do. Failed requests are repeated for two minutes.

obstore is of the extra `crypy[cloud]`: this module is imported by `shelf.open_shelf` when it is needed, and by nothing else.
"""

from __future__ import annotations

import hashlib
import os
import threading
import uuid
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import from_url

from crypy.domain.errors import ConfigError
from crypy.marketdata.object_address import Address
from crypy.marketdata.object_copies import MOST_BYTES, Copies
from crypy.marketdata.object_faults import translated
from crypy.marketdata.shelf import ConflictError, Entry, Over
from crypy.marketdata.trade_files import temporary_file

_T = TypeVar("_T")

_TRANSFERS_AT_ONCE: Final = 8
# A whole day is put by one request: at a megabit a second 40 MB take this long.
_CLIENT: Final[dict[str, Any]] = {"connect_timeout": "10s", "timeout": "6min"}
# An answer that stands still is given up sooner. (While a request is sent there is no answer: those that put have the limit above.)
_ANSWER_WITHIN: Final = timedelta(seconds=30)
_RETRY: Final[dict[str, Any]] = {
    "max_retries": 8,
    "retry_timeout": timedelta(minutes=2),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=8), "base": 2},
}
# The client repeats failed requests, but not those whose answer broke off: it says so in these words, by a class that it has for all else.
_BROKEN_OFF: Final = "request or response body error"
_ANSWERS: Final = 5
_TRIAL: Final = ".crypy/conditions"
# What obstore raises. Other OSErrors are this disk's.
_FAULTS: Final = (BaseError, FileNotFoundError, NotImplementedError, ValueError)


def open_object_shelf(
    address: Address,
    work: Path,
    *,
    most_bytes: int = MOST_BYTES,
    retry: dict[str, Any] | None = None,
    answer_within: timedelta = _ANSWER_WITHIN,
) -> ObjectShelf:
    """The shelf at an address, with this machine's files in `work`; nothing is asked of the service yet.

    Raises `ConfigError` where the address or the service's settings in the environment cannot be.
    """
    config: dict[str, Any] = dict(address.settings)
    client = dict(_CLIENT)
    if address.scheme == "s3":
        # Some services have no deletion of several at once, and we never delete several.
        config["disable_bulk_delete"] = "true"
        named = (
            config.get("endpoint"),
            *map(os.environ.get, ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")),
        )
        if next((url for url in named if url), "").startswith("http://"):
            client["allow_http"] = True
    elif config.get("endpoint", "").startswith("http://"):
        client["allow_http"] = True
    connect: Any = from_url  # its overloads tell each service's settings apart, which are checked above
    try:
        if address.scheme == "memory":
            return ObjectShelf(connect(address.url), str(address), work, most_bytes)
        options = {"config": config, "retry_config": retry or _RETRY}
        asking = connect(address.url, client_options=client | {"read_timeout": answer_within}, **options)
        putting = connect(address.url, client_options=client, **options)
    except _FAULTS as fault:
        raise translated(str(address), address.bucket, fault) from None
    return ObjectShelf(asking, str(address), work, most_bytes, putting)


class ObjectShelf:
    """An obstore store as a shelf; `place` names it in messages. `putting` is the same store for puts, where these are to have more time."""

    is_remote = True

    def __init__(
        self, store: Any, place: str, work: Path, most_bytes: int = MOST_BYTES, putting: Any | None = None
    ) -> None:
        self.place = place
        self.work = work
        self._store = store
        self._putting = store if putting is None else putting
        # Marks are unique within one store only.
        here = hashlib.sha256(place.encode()).hexdigest()[:12]
        own = f"-{uuid.uuid4().hex}" if place.startswith("memory:") else ""
        self._copies = Copies(work / "copies" / f"{here}{own}", most_bytes)
        self._trying = threading.Lock()
        self._keeps_conditions = False

    def entries(self, folder: str, begins: str = "") -> list[Entry]:
        first = f"{folder}/{begins}"
        # What is listed lies behind the offset: one letter less, or a file of just this name would not be.
        offset = first[:-1] if begins else first

        def listed() -> list[Entry]:
            found: list[Entry] = []
            for page in obstore.list(self._store, folder, offset=offset, chunk_size=1_000):
                entries = [Entry(meta["path"], meta["size"], _mark(meta)) for meta in page]
                found += [entry for entry in entries if entry.name.startswith(first)]
                if entries and entries[-1].name > first and not entries[-1].name.startswith(first):
                    break
            return sorted(found, key=lambda entry: entry.name)

        return [entry for entry in self._asked(folder, listed) if "/" not in entry.name[len(folder) + 1 :]]

    def folders(self, folder: str) -> list[str]:
        found = self._asked(folder, lambda: obstore.list_with_delimiter(self._store, folder))
        return sorted(prefix.rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"])

    def fetch(self, entry: Entry, anew: bool = False) -> Path:
        copy = None if anew else self._copies.find(entry)
        if copy is not None:
            return copy
        with self._copies.adding(entry) as path:
            self._asked(entry.name, lambda: self._download(entry, path))
        found = self._copies.find(entry)
        if found is None:  # so little room that it had to go at once
            raise ConfigError(f"{self.work}: there is no room for a copy of {entry.name}, {entry.size:,} bytes")
        return found

    def fetch_soon(self, entries: Iterable[Entry]) -> None:
        wanted = [entry for entry in entries if self._copies.find(entry) is None]
        if len(wanted) > 1:
            with ThreadPoolExecutor(_TRANSFERS_AT_ONCE) as pool:
                for done in [pool.submit(self.fetch, entry) for entry in wanted]:
                    done.exception()

    def tail(self, entry: Entry, size: int) -> bytes:
        size = min(size, entry.size)
        if not size:
            return b""
        if (copy := self._copies.find(entry)) is not None:
            with copy.open("rb") as file:
                file.seek(-size, os.SEEK_END)
                return file.read()
        part = f".last{size}"
        if (kept := self._copies.find(entry, part)) is not None:
            return kept.read_bytes()

        def last() -> bytes:
            answer = obstore.get(self._store, entry.name, options={"range": {"suffix": size}})
            _require_same(entry, answer.meta)
            return bytes(answer.bytes())

        found = self._asked(entry.name, last)
        with self._copies.adding(entry, part) as path:
            path.write_bytes(found)
        return found

    @contextmanager
    def writing(self, name: str) -> Generator[Path]:
        with temporary_file(self.work / "staging" / name.rpartition("/")[2]) as path:
            yield path

    def put(self, name: str, staged: Path, over: Over) -> None:
        self._require_conditions()
        size = staged.stat().st_size
        with self._told(name):
            result = obstore.put(self._putting, name, staged, mode=self._mode(name, over), use_multipart=False)
        self._copies.adopt(Entry(name, size, _mark(result)), staged)

    def remove(self, entry: Entry) -> None:
        with self._told(entry.name):
            try:
                obstore.delete(self._store, entry.name)
            except FileNotFoundError as gone:
                if isinstance(translated(self.place, entry.name, gone), ConfigError):
                    raise

    def turn(self, folder: str) -> AbstractContextManager[None]:  # noqa: ARG002  nobody can hold a bucket
        return nullcontext()

    def _mode(self, name: str, over: Over) -> Any:
        """The condition under which a file may be put."""
        if over == "anything":
            return "overwrite"
        if over is None:
            return "create"
        try:
            # Google asks for the version's number, which its listings do not tell.
            meta = obstore.head(self._store, name)
        except FileNotFoundError:
            raise ConflictError(f"{self.place}/{name} was removed by another writer") from None
        if _mark(meta) != over.mark:
            raise ConflictError(f"{self.place}/{name} was changed by another writer")
        return {key: meta[key] for key in ("e_tag", "version") if meta[key]}

    def _require_conditions(self) -> None:
        """Raise `ConfigError` where the service puts a file over one that it was told not to replace."""
        with self._trying:
            if self._keeps_conditions:
                return
            with self._told(_TRIAL):
                wrong = {"e_tag": '"00000000000000000000000000000000"', "version": "1"}
                self._keeps_conditions = self._is_refused("create", twice=True) and self._is_refused(wrong)
            if not self._keeps_conditions:
                raise ConfigError(
                    f"{self.place}: the service replaces files that it was told to leave (it ignores If-Match or If-None-Match), so that two "
                    "writers would lose each other's trades; use one that keeps to them, or a local folder"
                )

    def _is_refused(self, mode: Any, twice: bool = False) -> bool:
        """Whether a put under a condition that does not hold is refused; `twice` makes the first one good."""
        for _ in range(1 + twice):
            try:
                obstore.put(self._store, _TRIAL, b"Writers of crypy try here whether conditions are kept.\n", mode=mode)
            except (AlreadyExistsError, PreconditionError):
                return True
        return False

    def _download(self, entry: Entry, path: Path) -> None:
        answer = obstore.get(self._store, entry.name)
        _require_same(entry, answer.meta)
        with path.open("wb") as file:
            for chunk in answer.stream():
                file.write(chunk)
        if path.stat().st_size != entry.size:
            raise FileNotFoundError(entry.name)

    def _asked(self, name: str, ask: Callable[[], _T]) -> _T:
        """The answer to a question that changes nothing; asked again where the answer broke off."""
        with self._told(name):
            for _ in range(_ANSWERS - 1):
                try:
                    return ask()
                except BaseError as fault:
                    if _BROKEN_OFF not in str(fault):
                        raise
            return ask()

    @contextmanager
    def _told(self, name: str) -> Generator[None]:
        """The client's faults in our words; ours, and this disk's, as they are."""
        try:
            yield
        except _FAULTS as fault:
            raise translated(self.place, name, fault) from None


def _mark(meta: Any) -> str:
    """What tells this version from others; services quote it in some answers and not in others."""
    return str(meta["e_tag"] or meta["version"] or meta.get("last_modified")).removeprefix("W/").strip('"')


def _require_same(entry: Entry, meta: Any) -> None:
    """Raise `FileNotFoundError` where the answer is of another version than the one that was listed."""
    if _mark(meta) != entry.mark or meta["size"] != entry.size:
        raise FileNotFoundError(entry.name)
