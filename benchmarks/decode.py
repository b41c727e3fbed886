"""Websocket messages to events, nanoseconds each, against the standard library's json and msgspec straight into floats.

Binance's combined stream: the protocol checks the stream's name and symbol and makes exact integers, then an immutable event with both times. The
peers make floats and check nothing: `json.loads` with `float()`, and msgspec's lax decoding of a typed struct, the fastest there is in Python.
Polymarket's market channel: a price change of both tokens is put into two books of exact decimals, and the books' best prices are compared
with the venue's; json puts floats into two dicts. Messages are those of a 2-thousand-message recording made here, prices and sizes as the venues write them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from benchmarks.results import Row, Spread
from benchmarks.timing import loops_s, scaled
from crypy.domain.events import Quote, Trade
from crypy.venues.binance.protocol import MarketStream
from crypy.venues.polymarket.protocol import MarketSession

MESSAGES = 2_000
NOW_US = 1_767_225_600_000_000
Frames = list[bytes]
Decode = Callable[[bytes], Any]


class _AggTrade(msgspec.Struct, gc=False):
    a: int
    p: float
    q: float
    T: int
    m: bool


class _BookTicker(msgspec.Struct, gc=False):
    u: int
    b: float
    B: float
    a: float
    A: float


class _AggTradeFrame(msgspec.Struct, gc=False):
    stream: str
    data: _AggTrade


class _BookTickerFrame(msgspec.Struct, gc=False):
    stream: str
    data: _BookTicker


def frames(kind: str, count: int) -> Frames:
    """Messages of BTC as Binance sends them."""
    rng = np.random.default_rng(3)
    price = 94_591.78 + np.cumsum(rng.integers(-3, 4, count)) * 0.01
    size = np.maximum(1, rng.lognormal(-5, 2, count) * 1e5) / 1e5
    if kind == "aggTrade":
        bodies = (
            f'{{"e":"aggTrade","E":{NOW_US + i},"s":"BTCUSDT","a":{3_357_431_023 + i},"p":"{price[i]:.8f}","q":"{size[i]:.8f}",'
            f'"f":{4_359_283_111 + 2 * i},"l":{4_359_283_112 + 2 * i},"T":{NOW_US + i},"m":{"true" if i % 2 else "false"},"M":true}}'
            for i in range(count)
        )
    else:
        bodies = (
            f'{{"u":{4_000_000_000 + i},"s":"BTCUSDT","b":"{price[i]:.8f}","B":"{size[i]:.8f}","a":"{price[i] + 0.01:.8f}",'
            f'"A":"{2 * size[i]:.8f}"}}'
            for i in range(count)
        )
    return [f'{{"stream":"btcusdt@{kind}","data":{body}}}'.encode() for body in bodies]


def by_json(frame: bytes) -> tuple[float, ...]:
    """The standard library, numbers made floats."""
    data = json.loads(frame)["data"]
    if "T" in data:
        return float(data["p"]), float(data["q"]), data["T"], data["m"]
    return float(data["b"]), float(data["B"]), float(data["a"]), float(data["A"])


def changes(count: int) -> Frames:
    """Price changes of a market's two tokens, a level coming or going on each, best prices unmoved."""
    rng = np.random.default_rng(4)
    made: Frames = []
    for i in range(count):
        cents, size = int(rng.integers(20, 47)), int(rng.integers(0, 50_000))
        rows = [
            {"asset_id": token, "price": f"{price / 100:.2f}", "size": f"{size / 100:.2f}", "side": side,
             "hash": f"{i:040x}", "best_bid": "0.48", "best_ask": "0.52"}
            for token, price, side in (("1" * 77, cents, "BUY"), ("2" * 77, 100 - cents, "SELL"))
        ]  # fmt: skip
        message = {
            "event_type": "price_change",
            "market": "0x" + "a" * 64,
            "price_changes": rows,
            "timestamp": "1767225600123",
        }
        made.append(json.dumps(message, separators=(",", ":")).encode())
    return made


def session() -> MarketSession:
    """Both tokens' books open, best prices 0.48 and 0.52."""
    made = MarketSession(("1" * 77, "2" * 77))
    made.opened(NOW_US)
    made.to_send()
    for token in made.books:
        sides = {side: [{"price": f"{p / 100:.2f}", "size": "100"} for p in prices]
                 for side, prices in (("bids", range(20, 49)), ("asks", range(80, 51, -1)))}  # fmt: skip
        book = {"event_type": "book", "market": "0xa", "asset_id": token, "timestamp": "1767225600000", **sides}
        made.receive(json.dumps(book).encode(), NOW_US)
    return made


class JsonBooks:
    """The peer: floats in dicts, nothing checked."""

    def __init__(self) -> None:
        self.books: dict[tuple[str, str], dict[float, float]] = {}

    def receive(self, frame: bytes) -> None:
        for row in json.loads(frame)["price_changes"]:
            levels = self.books.setdefault((row["asset_id"], row["side"]), {})
            price, size = float(row["price"]), float(row["size"])
            if size:
                levels[price] = size
            else:
                levels.pop(price, None)


def each_ns(ways: dict[str, Decode], messages: Frames, rounds: int) -> dict[str, Spread]:
    """Nanoseconds a message over loops of all of them."""

    def loop(decode: Decode) -> Callable[[], None]:
        def run() -> None:
            for message in messages:
                decode(message)

        return run

    found = loops_s({name: loop(decode) for name, decode in ways.items()}, rounds)
    return {name: seconds.times(1e9 / len(messages)) for name, seconds in found.items()}


def _rows(what: str, found: dict[str, Spread]) -> list[Row]:
    ours = found.pop("crypy")
    return [Row(what=what, ours=ours, unit="ns", peer=peer, theirs=theirs) for peer, theirs in found.items()]


def measure(effort: float) -> list[Row]:
    count, rounds = scaled(MESSAGES, effort, 200), scaled(15, effort, 3)
    stream, rows = MarketStream(("BTCUSDT",)), list[Row]()
    typed = {"aggTrade": _AggTradeFrame, "bookTicker": _BookTickerFrame}
    for kind, struct in typed.items():
        messages, lax = frames(kind, count), msgspec.json.Decoder(struct, strict=False).decode
        assert isinstance(stream.receive(messages[0], NOW_US), Trade if kind == "aggTrade" else Quote)
        ways: dict[str, Decode] = {
            "crypy": lambda message: stream.receive(message, NOW_US),
            "json.loads and float()": by_json,
            "msgspec, lax floats": lax,
        }
        rows += _rows(f"Binance {kind} ({len(messages[0])} B)", each_ns(ways, messages, rounds))
    messages, opened, books = changes(count), session(), JsonBooks()
    both: dict[str, Decode] = {
        "crypy": lambda message: opened.receive(message, NOW_US),
        "json.loads, floats in dicts": books.receive,
    }
    found = each_ns(both, messages, rounds)
    assert all(book.valid for book in opened.books.values())
    return rows + _rows(f"Polymarket price_change ({len(messages[0])} B) into two books", found)
