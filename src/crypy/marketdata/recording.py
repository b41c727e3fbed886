"""A folder of recordings, read: every line of all connections in the order of reception, byte for byte.

Files of our own recorder (`.zst`, also one that is being written) and the ones that others publish (`.gz`, lines of `<receive ns> <JSON>`) are read alike.
Only blocks whose checksum holds are believed; what a crash has torn is left out and told by `torn`. One block of each connection is in
memory at a time. Lines of the same microsecond on two connections come in the order of the connections.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from crypy.domain.errors import ConfigError, DataError
from crypy.marketdata.recording_file import FOREIGN, PART, SUFFIX, Torn, first_lines, read_blocks
from crypy.marketdata.recording_head import VERSION, Head
from crypy.marketdata.recording_lines import FRAME, NS_PER_US, Line, read_lines

_CSV = ".csv.gz"


class RecordedConnection(msgspec.Struct, frozen=True, kw_only=True):
    """One connection and its files in order. `run_us` and `number` name it; others' files are of run 0, each a connection of its own."""

    run_us: int
    number: int
    source: str
    url: str
    first_ns: int
    paths: tuple[Path, ...]


class Recorded(NamedTuple):
    """A line of a recording; see `recording_lines` for the words beside `frame`."""

    received_ns: int
    connection: RecordedConnection
    word: str
    payload: bytes

    @property
    def received_us(self) -> int:
        return self.received_ns // NS_PER_US


class Recording:
    """Raises `ConfigError` for a folder without recordings, `DataError` for a file that is none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.torn: list[Torn] = []
        self.connections = _connections(folder)
        if not self.connections:
            raise ConfigError(f"{folder}: no recordings; `crypy up --record` makes some")

    @property
    def sources(self) -> tuple[str, ...]:
        """What was recorded, by name."""
        return tuple(sorted({connection.source for connection in self.connections}))

    def records(self, sources: Collection[str] | None = None) -> Iterator[Recorded]:
        """Every line of these sources (default: of all), by receive time. `torn` is anew what was left out on the way."""
        self.torn = []
        wanted = [one for one in self.connections if sources is None or one.source in sources]
        # A connection is opened when its time comes: there may be thousands, most of them over.
        waiting = [(one.first_ns, rank, one) for rank, one in enumerate(wanted)]
        heapq.heapify(waiting)
        running: list[tuple[int, int, Line, Iterator[Line]]] = []
        while waiting or running:
            if waiting and (not running or waiting[0][:2] <= running[0][:2]):
                _, rank, connection = heapq.heappop(waiting)
                lines = self._lines(connection)
                if (line := next(lines, None)) is not None:
                    heapq.heappush(running, (line[0], rank, line, lines))
                continue
            _, rank, line, lines = running[0]
            yield Recorded(line[0], wanted[rank], line[1], line[2])
            following = next(lines, None)
            if following is None:
                heapq.heappop(running)
            else:
                heapq.heapreplace(running, (following[0], rank, following, lines))

    def frames(self, sources: Collection[str] | None = None) -> Iterator[Recorded]:
        """What was received on websockets, without the lines around it."""
        return (record for record in self.records(sources) if record.word == FRAME)

    def _lines(self, connection: RecordedConnection) -> Iterator[Line]:
        """The lines of a connection, heads left out."""
        for path in connection.paths:
            for block in read_blocks(path):
                if isinstance(block, Torn):
                    self.torn.append(block)
                    continue
                for line in read_lines(block.lines, f"{path} (block at byte {block.start})"):
                    if line[1] != "recording":
                        yield line


def _connections(folder: Path) -> tuple[RecordedConnection, ...]:
    """All connections of a folder, by the time of their first line."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder of recordings")
    own: dict[tuple[int, int], list[tuple[int, Path, Head]]] = {}
    found: list[RecordedConnection] = []
    for path in sorted(folder.iterdir()):
        if path.name.endswith((SUFFIX, PART)):
            first = _first_line(path)
            if first is not None:
                head = _head(path, first)
                own.setdefault((head.run_us, head.connection), []).append((first[0], path, head))
        elif path.name.endswith(FOREIGN) and not path.name.endswith(_CSV):
            first = _first_line(path)
            if first is not None:
                name = path.name.removesuffix(FOREIGN)
                found.append(
                    RecordedConnection(run_us=0, number=0, source=name, url="", first_ns=first[0], paths=(path,))
                )
    for (run_us, number), files in own.items():
        files.sort(key=_part)
        first_ns, _, head = files[0]
        paths = tuple(path for _, path, _ in files)
        found.append(
            RecordedConnection(
                run_us=run_us, number=number, source=head.source, url=head.url, first_ns=first_ns, paths=paths
            )
        )
    return tuple(sorted(found, key=_order))


def _first_line(path: Path) -> Line | None:
    """The first line of a file, `None` where not even one block is whole."""
    return next(read_lines(first_lines(path), str(path)), None)


# Made before any thread needs it: see `marketdata.trade_files`.
_HEAD: Final = msgspec.json.Decoder(Head)


def _head(path: Path, first: Line) -> Head:
    try:
        head = _HEAD.decode(first[2])
    except msgspec.DecodeError as error:
        raise DataError(f"{path}: the first line does not say what was recorded: {error}") from None
    if first[1] != "recording" or head.version != VERSION:
        raise DataError(f"{path}: a recording of version {head.version}; this crypy reads version {VERSION}")
    return head


def _part(file: tuple[int, Path, Head]) -> int:
    return file[2].part


def _order(connection: RecordedConnection) -> tuple[int, int, int, str]:
    return connection.first_ns, connection.run_us, connection.number, connection.source
