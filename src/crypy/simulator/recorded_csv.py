"""Recordings kept as CSV, one row per trade or per book level, put back into the frames they came from.

The layout is that of Binance-Data-Processor: times in microseconds, streams named in each row. What such a file
does not hold byte for byte (the order of fields) is written as the venue writes it.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from crypy.domain.errors import DataError

Line = tuple[int, str, bytes]
Row = dict[str, str]
# `@depth@100ms` of a traded pair is never silent for so long.
LONGEST_SILENCE_US = 3_600_000_000


def csv_symbol(path: Path) -> str:
    """The symbol of a recorded CSV, "" where it is something else."""
    with gzip.open(path, "rt", newline="") as file:
        row = next(csv.DictReader(file), None)
    return "" if row is None else row.get("Symbol", "")


def csv_lines(path: Path) -> Iterator[Line]:
    """Frames as (receive time in ns, stream, JSON). Raises `DataError` for columns that are neither trades nor book levels."""
    with gzip.open(path, "rt", newline="") as file:
        rows = csv.DictReader(file)
        names = set(rows.fieldnames or ())
        if {"TradeId", "TransactionTime"} <= names:
            yield from map(_trade, rows)
        elif {"FirstUpdateId", "FinalUpdateId", "IsAsk"} <= names:
            yield from _depth(rows)
        else:
            raise DataError(f"{path}: a CSV of neither trades nor book levels; its columns are {', '.join(names)}")


def _trade(row: Row) -> Line:
    maker = "true" if row["IsBuyerMarketMaker"] == "1" else "false"
    data = (
        f'{{"e":"trade","E":{row["EventTime"]},"s":"{row["Symbol"]}","t":{row["TradeId"]}'
        f',"p":"{_eight(row["Price"])}","q":"{_eight(row["Quantity"])}"'
        f',"T":{row["TransactionTime"]},"m":{maker},"M":true}}'
    )
    return int(row["TimestampOfReceive"]) * 1_000, row["Stream"], data.encode()


def _depth(rows: Iterator[Row]) -> Iterator[Line]:
    """One frame for the rows of one update; a row far behind the rest was added by hand and ends the recording."""
    before_us: int | None = None
    for (received, first, last), update in groupby(rows, _update_of):
        if before_us is not None and int(received) - before_us > LONGEST_SILENCE_US:
            return
        before_us = int(received)
        levels = list(update)
        head = levels[0]
        bids = ",".join(_level(row) for row in levels if row["IsAsk"] == "0")
        asks = ",".join(_level(row) for row in levels if row["IsAsk"] == "1")
        data = (
            f'{{"e":"depthUpdate","E":{head["EventTime"]},"s":"{head["Symbol"]}","U":{first},"u":{last}'
            f',"b":[{bids}],"a":[{asks}]}}'
        )
        yield int(received) * 1_000, head["Stream"], data.encode()


def _update_of(row: Row) -> tuple[str, str, str]:
    return row["TimestampOfReceive"], row["FirstUpdateId"], row["FinalUpdateId"]


def _level(row: Row) -> str:
    return f'["{_eight(row["Price"])}","{_eight(row["Quantity"])}"]'


def _eight(number: str) -> str:
    """A decimal with the eight decimals that the venue prints."""
    whole, _, fraction = number.partition(".")
    return f"{whole}.{fraction:0<8}"
