"""Order books of 5,000 levels a side kept by level changes, the best prices read after every message: level changes a second.

Three busy markets: messages of 4, 40 (BTC at Binance every 100 ms) and 400 changes, most of them near the touch, one in ten anywhere;
a third of them new levels, a third removals. As numbers, the book takes arrays or Python pairs; the yardsticks keep a plain dict a side
and look for its best price by `max` once a message, a sorted list with a dict (`bisect`), and sortedcontainers' SortedDict, on the same
pairs. From the wire, bytes become a book with its ids checked; beside it msgspec makes texts, exact integers and a sorted list, and json
floats in SortedDicts.
"""

from __future__ import annotations

import json
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
from sortedcontainers import SortedDict

from benchmarks.results import Row, Spread
from benchmarks.timing import scaled
from crypy.domain.events import format_e8
from crypy.marketdata.depth import DepthBook, Level, Levels
from crypy.venues.binance.depth import DepthChange, DepthSync, read_change
from crypy.venues.binance.protocol import MarketStream

SYMBOL = "BTCUSDT"
LEVELS = 5_000
CHANGES = 400_000
MESSAGES = 5_000
TICK_E8 = 1_000_000
MIDDLE = 9_459_178
BUDGET = 1.0
US = 1_767_225_600_000_000
Pairs = list[Level]


class Messages(NamedTuple):
    """A book and what then happens to it, in every form that somebody reads."""

    bids: Pairs
    asks: Pairs
    pairs: list[tuple[Pairs, Pairs]]
    arrays: list[tuple[Levels, Levels]]
    frames: list[bytes]
    changes: int


def market(size: int, changes: int) -> Messages:
    """Messages of about `size` changes each, levels sorted from the touch outwards as the venue sends them."""
    rng = np.random.default_rng(5)
    middle = MIDDLE
    sides: list[dict[int, int]] = [{}, {}]
    for side, sign in enumerate((-1, 1)):
        for away in rng.choice(np.arange(1, 2 * LEVELS), LEVELS, replace=False).tolist():
            sides[side][middle + sign * away] = int(rng.integers(1, 10**6)) * 1_000
    bids, asks = ([(price * TICK_E8, quantity) for price, quantity in side.items()] for side in sides)
    pairs: list[tuple[Pairs, Pairs]] = []
    count = 0
    while count < changes:
        moved = int(rng.integers(-1, 2))
        middle += moved
        message: list[Pairs] = []
        for side, sign in zip(sides, (-1, 1), strict=True):
            near = rng.geometric(1 / 100, (size + 1) // 2)
            away = np.where(rng.random(len(near)) < 0.1, rng.integers(1, 2 * LEVELS, len(near)), near)
            prices = {middle + sign * int(distance) for distance in away}
            # What the price has moved through is gone.
            gone = {middle} & side.keys()
            found = dict.fromkeys(gone, 0)
            for price in prices:
                dropped = price in side and rng.random() < 0.5
                found[price] = 0 if dropped else int(rng.integers(1, 10**6)) * 1_000
            side.update(found)
            for price in [price for price, quantity in found.items() if not quantity]:
                del side[price]
            message.append([(price * TICK_E8, found[price]) for price in sorted(found, reverse=sign < 0)])
            count += len(found)
        pairs.append((message[0], message[1]))
    arrays = [(_array(bids), _array(asks)) for bids, asks in pairs]
    frames = [_frame(number, *message) for number, message in enumerate(pairs, 1)]
    return Messages(bids, asks, pairs, arrays, frames, count)


def _array(levels: Pairs) -> Levels:
    return np.array(levels, np.int64).reshape(-1, 2)


def _frame(number: int, bids: Pairs, asks: Pairs) -> bytes:
    sides = (",".join(f'["{format_e8(p)}","{format_e8(q)}"]' for p, q in levels) for levels in (bids, asks))
    b, a = sides
    return (
        f'{{"stream":"btcusdt@depth@100ms","data":{{"e":"depthUpdate","E":{US + number},"s":"{SYMBOL}","U":{number},"u":{number}'
        f',"b":[{b}],"a":[{a}]}}}}'
    ).encode()


# ---- other ways to keep a side


class Side(Protocol):
    """One side of a yardstick's book."""

    def change(self, levels: Iterable[tuple[Any, Any]]) -> None: ...

    def best(self) -> Any: ...

    def read(self) -> list[tuple[Any, Any]]: ...


class DictSide:
    """A dict; the best price is looked for when it is asked."""

    def __init__(self, levels: Pairs, sign: int) -> None:
        self._sizes = dict(levels)
        self._best = max if sign < 0 else min

    def change(self, levels: Iterable[tuple[Any, Any]]) -> None:
        sizes = self._sizes
        for price, quantity in levels:
            if quantity:
                sizes[price] = quantity
            else:
                sizes.pop(price, None)

    def best(self) -> Any:
        price = self._best(self._sizes)
        return price, self._sizes[price]

    def read(self) -> list[tuple[Any, Any]]:
        return sorted(self._sizes.items())


class ListSide:
    """Prices in a sorted list, quantities in a dict."""

    def __init__(self, levels: Pairs, sign: int) -> None:
        self._sizes = dict(levels)
        self._prices = sorted(self._sizes)
        self._at = -1 if sign < 0 else 0

    def change(self, levels: Iterable[tuple[Any, Any]]) -> None:
        sizes, prices = self._sizes, self._prices
        for price, quantity in levels:
            if quantity:
                if price not in sizes:
                    insort(prices, price)
                sizes[price] = quantity
            elif sizes.pop(price, None) is not None:
                del prices[bisect_left(prices, price)]

    def best(self) -> Any:
        price = self._prices[self._at]
        return price, self._sizes[price]

    def read(self) -> list[tuple[Any, Any]]:
        return [(price, self._sizes[price]) for price in self._prices]


class SortedDictSide:
    """sortedcontainers' dict, which most Python order books stand on."""

    def __init__(self, levels: Iterable[tuple[Any, Any]], sign: int) -> None:
        self._sizes: Any = SortedDict(levels)
        self._at = -1 if sign < 0 else 0

    def change(self, levels: Iterable[tuple[Any, Any]]) -> None:
        sizes = self._sizes
        for price, quantity in levels:
            if quantity:
                sizes[price] = quantity
            else:
                sizes.pop(price, None)

    def best(self) -> Any:
        return self._sizes.peekitem(self._at)

    def read(self) -> list[tuple[Any, Any]]:
        return list(self._sizes.items())


Make = Callable[[Pairs, int], Side]


# ---- ways to keep a book: what is done before the first message, all messages, and the book at the end

Read = Callable[[], tuple[Pairs, Pairs]]
Run = tuple[Callable[[], object], Read]
Way = Callable[[Messages], Run]


def ours(changes: Callable[[Messages], list[Any]]) -> Way:
    """The book fed with arrays or pairs."""

    def way(messages: Messages) -> Run:
        book, told = DepthBook(SYMBOL), changes(messages)
        book.replace(messages.bids, messages.asks, 0, US)

        def run() -> None:
            for number, (bids, asks) in enumerate(told, 1):
                book.change(bids, asks, number, US)
                _ = book.best_bid, book.best_ask

        return run, lambda: (book.bids()[::-1], book.asks())

    return way


def yardstick(make: Make) -> Way:
    """Two sides of another kind, fed with pairs."""

    def way(messages: Messages) -> Run:
        bids, asks = make(messages.bids, -1), make(messages.asks, 1)

        def run() -> None:
            for bid_changes, ask_changes in messages.pairs:
                bids.change(bid_changes)
                asks.change(ask_changes)
                _ = bids.best(), asks.best()

        return run, lambda: (bids.read(), asks.read())

    return way


def wire(messages: Messages) -> Run:
    """Through the stream's decoder and the continuity check, as the feed does it."""
    stream, sync = MarketStream([SYMBOL], depth=True), DepthSync(SYMBOL, 2 * LEVELS)
    sync.take(read_change(b'{"E":1,"s":"BTCUSDT","U":0,"u":0,"b":[],"a":[]}', SYMBOL, 0))
    sync.take(DepthChange(SYMBOL, -1, 0, _array(messages.bids), _array(messages.asks), US, US, True))
    book = sync.book

    def run() -> None:
        for frame in messages.frames:
            change = stream.receive(frame, US)
            assert isinstance(change, DepthChange)
            sync.take(change)
            _ = book.best_bid, book.best_ask

    return run, lambda: (book.bids()[::-1], book.asks())


class _Data(msgspec.Struct):
    b: list[tuple[str, str]]
    a: list[tuple[str, str]]


class _Frame(msgspec.Struct):
    data: _Data


def wire_by_texts(messages: Messages) -> Run:
    """msgspec's texts, made exact integers the quick way (eight decimals are taken for granted), into sorted lists."""
    decoder = msgspec.json.Decoder(_Frame)
    bids, asks = ListSide(messages.bids, -1), ListSide(messages.asks, 1)

    def run() -> None:
        for frame in messages.frames:
            data = decoder.decode(frame).data
            bids.change([(int(p.replace(".", "")), int(q.replace(".", ""))) for p, q in data.b])
            asks.change([(int(p.replace(".", "")), int(q.replace(".", ""))) for p, q in data.a])
            _ = bids.best(), asks.best()

    return run, lambda: (bids.read(), asks.read())


def wire_by_json(messages: Messages) -> Run:
    """The standard library, floats, SortedDicts."""
    sides = [
        SortedDictSide(((p / 1e8, q / 1e8) for p, q in levels), sign)
        for levels, sign in ((messages.bids, -1), (messages.asks, 1))
    ]

    def run() -> None:
        for frame in messages.frames:
            data = json.loads(frame)["data"]
            for side, levels in zip(sides, (data["b"], data["a"]), strict=True):
                side.change([(float(p), float(q)) for p, q in levels])
                _ = side.best()

    def read() -> tuple[Pairs, Pairs]:
        bids, asks = ([(round(p * 1e8), round(q * 1e8)) for p, q in side.read()] for side in sides)
        return bids, asks

    return run, read


WAYS: dict[str, Way] = {
    "pairs": ours(lambda messages: messages.pairs),
    "arrays": ours(lambda messages: messages.arrays),
    "from the wire": wire,
    "dict, best by max": yardstick(DictSide),
    "sorted list": yardstick(ListSide),
    "SortedDict": yardstick(SortedDictSide),
    "msgspec texts, sorted list": wire_by_texts,
    "json, floats, SortedDict": wire_by_json,
}
COMPARED = (
    ("pairs", "sorted list"), ("pairs", "SortedDict"), ("arrays", "dict, best by max"),
    ("from the wire", "msgspec texts, sorted list"), ("from the wire", "json, floats, SortedDict"),
)  # fmt: skip


def measure(effort: float) -> list[Row]:
    """Millions of level changes a second; every way has to come to the same book."""
    rounds = scaled(5, effort, 2)
    rows: list[Row] = []
    for size in (4, 40, 400):
        messages = market(size, scaled(min(CHANGES, MESSAGES * size), effort, 4_000))
        found = _measured(messages, rounds)
        rows += [
            Row(
                what=f"{size} changes a message, {form}", ours=found[form], unit="M changes/s", more_is_better=True,
                peer=peer, theirs=found[peer], budget=BUDGET if size > 4 and form != "from the wire" else None,
            )
            for form, peer in COMPARED
        ]  # fmt: skip
    return rows


def _measured(messages: Messages, rounds: int) -> dict[str, Spread]:
    took: dict[str, list[float]] = {name: [] for name in WAYS}
    last: tuple[Pairs, Pairs] | None = None
    # One round of all and then the next: a busy moment of the machine does not fall on one of them alone. The first warms up.
    for number in range(rounds + 1):
        for name, way in WAYS.items():
            run, read = way(messages)
            began = time.perf_counter()
            run()
            if number:
                took[name].append(time.perf_counter() - began)
            else:
                last = last or read()
                assert read() == last, f"{name}: another book at the end"
    return {name: Spread.of(times).per(messages.changes / 1e6) for name, times in took.items()}
