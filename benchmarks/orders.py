"""Orders through the one door to the paper venue, every step durable, against bare SQLite and bare fsync on the same disk.

Each order is reviewed, its intent committed, matched by the paper venue (committed in its own file), its answer and fill committed: three durable commits
one after another, `synchronous=FULL`. One at a time, and 32 at once, where commits are shared. The yardsticks: one row a commit in plain SQLite with
the same settings, and one line a time appended to a file and flushed (`fdatasync`). Matching and the risk checks are measured alone.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from decimal import Decimal
from pathlib import Path

from msgspec.structs import replace

from benchmarks.results import Row, Spread
from benchmarks.sixty_markets import START_US, book, market
from benchmarks.timing import ROUNDS, Latency, latency_us, scaled
from crypy.domain.instruments import Side
from crypy.domain.markets import PredictionMarket
from crypy.domain.orders import OrderRequest, OrderState
from crypy.domain.times import US_PER_S
from crypy.domain.windows import window_at
from crypy.execution.desk import Desk
from crypy.execution.limits import Limits
from crypy.execution.review import Approved
from crypy.execution.stamp import StampIssuer
from crypy.ledger.database import sqlite_module
from crypy.ledger.ledger import Ledger
from crypy.ledger.values import market_listings
from crypy.simulator.paper import PaperExchange
from crypy.simulator.paper_account import PaperAccount
from crypy.simulator.paper_rules import market_terms
from crypy.simulator.paper_store import PaperState
from crypy.testing.clock import ManualClock

ACCOUNT, CASH = "paper", "pUSD"
KEY = b"the holder's key of this process"
ORDERS = 200
MATCHES = 2_000
CHECKS = 1_000
RESTING = 400
SQLITE, FILE = "SQLite, one row a commit", "write and fdatasync a line"
AT_ONCE = 32
MUCH = Decimal(10_000_000)
ANY = Limits(
    order_notional=MUCH, instrument_notional=MUCH, market_notional=MUCH, coin_notional=MUCH, total_notional=MUCH,
    open_orders=1_000_000, orders_per_minute=10_000_000, daily_loss=MUCH, drawdown=MUCH,
)  # fmt: skip
NOW_US = START_US + 60_000_000


class Door:
    """Desk, ledger and paper venue with files of their own, and one market quoted at one half."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(NOW_US)
        # No delay of the venue's: what is measured is work, not waiting.
        self.market = _without_delay()
        self.book = book("0.49", "0.51", NOW_US)
        listings = {listed.symbol: listed for listed in market_listings(self.market)}
        terms = {one.instrument.symbol: one for one in market_terms(self.market)}
        self.ledger = Ledger.open(f"sqlite:///{folder / 'ledger.db'}", self.clock, "paper")
        self.paper = PaperExchange(
            f"sqlite:///{folder / 'paper.db'}", self.clock, lambda _: self.book, terms.get, {CASH: MUCH}
        )
        self.stamps = StampIssuer(ACCOUNT, KEY, self.clock)
        self.desk = Desk(
            account=ACCOUNT, ledger=self.ledger, port=self.paper, limits=ANY, clock=self.clock, listing_of=listings.get,
            mid_of=lambda _: Decimal("0.50"), stamp_key=KEY, redeemer=self.paper,
        )  # fmt: skip
        self.fresh_book()
        self.stamp = self.stamps.issue("t", self.market.up.symbol, "buy", "s", MUCH, 86_400.0)

    async def submit(self, number: int) -> None:
        """Buy ten, or sell ten: the account comes back to where it was. Each order is ten seconds later than the one before."""
        self.clock._now_us += 10 * US_PER_S
        side: Side = "buy" if number % 2 == 0 else "sell"
        done = await self.desk.submit(
            _request(self.market.up.symbol, number, side), self.stamp if side == "buy" else None
        )
        assert isinstance(done, OrderState), done
        assert done.status == "filled", done

    def fresh_book(self) -> None:
        """Displayed quantity that nobody has taken from."""
        self.book.replace([(Decimal("0.49"), MUCH)], [(Decimal("0.51"), MUCH)], self.clock.now_us())

    def close(self) -> None:
        self.paper.close()
        self.ledger.close()


def _without_delay() -> PredictionMarket:
    return replace(market("BTC", window_at("1d", NOW_US)), taker_delay_us=0)


def _request(symbol: str, number: int, side: Side) -> OrderRequest:
    price = Decimal("0.51") if side == "buy" else Decimal("0.49")
    return OrderRequest(
        client_id=f"bench-{number}", account=ACCOUNT, venue="polymarket", symbol=symbol, side=side, strategy="s", type="limit",
        quantity=Decimal(10), price=price, time_in_force="ioc",
    )  # fmt: skip


class Batch:
    """Orders through a door of their own, so many under way together."""

    def __init__(self, folder: Path, orders: int, at_once: int) -> None:
        folder.mkdir()
        self.door = Door(folder)
        self._at_once = at_once
        self.orders = -(-orders // at_once) * at_once
        self._first = 0

    async def open(self) -> None:
        await self.door.desk.start()
        # Something to sell for those that overtake a buy.
        for number in range(-2 * self._at_once, 0, 2):
            await self.door.submit(number)

    async def run(self) -> None:
        """One round."""
        last = self._first + self.orders
        for start in range(self._first, last, self._at_once):
            await asyncio.gather(*(self.door.submit(number) for number in range(start, start + self._at_once)))
        self._first = last


class BareSqlite:
    """Each row its own commit, by the library that the ledger uses."""

    def __init__(self, folder: Path, orders: int) -> None:
        self._connection = sqlite_module().connect(str(folder / "bare.db"), isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, client_id TEXT UNIQUE, body TEXT)")
        self.orders = orders
        self._number = 0

    async def run(self) -> None:
        for _ in range(self.orders):
            self._number += 1
            row = (self._number, f"bench-{self._number}", "x" * 300)
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("INSERT INTO orders VALUES (?, ?, ?)", row)
            self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()


class BareFile:
    """Each line written and flushed to the disk."""

    def __init__(self, folder: Path, orders: int) -> None:
        self._file = (folder / "bare.log").open("ab", buffering=0)
        self.orders = orders

    async def run(self) -> None:
        for _ in range(self.orders):
            self._file.write(b"x" * 300 + b"\n")
            os.fdatasync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


async def orders_per_s(root: Path, orders: int, rounds: int) -> dict[str, Spread]:
    """Orders (rows, lines) a second of each, taking turns."""
    single, many = Batch(root / "single", orders, 1), Batch(root / "many", orders, AT_ONCE)
    sqlite, file = BareSqlite(root, orders), BareFile(root, orders)
    runs: dict[str, Batch | BareSqlite | BareFile] = {"single": single, "many": many, SQLITE: sqlite, FILE: file}
    taken: dict[str, list[float]] = {name: [] for name in runs}
    try:
        await single.open()
        await many.open()
        for _ in range(rounds + 1):
            for name, run in runs.items():
                began = time.perf_counter()
                await run.run()
                taken[name].append(time.perf_counter() - began)
    finally:
        for closing in (single.door, many.door, sqlite, file):
            closing.close()
    # The first round warms up.
    return {name: Spread.of(times[1:]).per(runs[name].orders) for name, times in taken.items()}


async def checks_us(root: Path, calls: int, resting: int) -> tuple[Latency, Latency, float]:
    """Stamp and review on an empty account and beside many live orders, in microseconds; a reconciliation of those in milliseconds."""
    folder = root / "checks"
    folder.mkdir()
    door = Door(folder)
    try:
        await door.desk.start()
        ask = replace(_request(door.market.up.symbol, 0, "buy"), price=Decimal("0.50"), time_in_force="gtc")

        def check(_: int) -> None:
            assert isinstance(door.desk.review(ask, door.stamp), Approved)

        empty = latency_us(check, calls)
        await asyncio.gather(
            *(door.desk.submit(replace(ask, client_id=f"rests-{number}"), door.stamp) for number in range(resting))
        )
        assert len(door.ledger.open_orders(ACCOUNT)) == resting
        full = latency_us(check, scaled(calls, 0.1, 3))
        began = time.perf_counter()
        found = await door.desk.reconcile()
        assert not found.halted, found.halted
        return empty, full, (time.perf_counter() - began) * 1e3
    finally:
        door.close()


def matching(calls: int) -> Spread:
    """Microseconds of one order matched in memory: checks, fill, fee, balances."""
    traded = _without_delay()
    terms = {one.instrument.symbol: one for one in market_terms(traded)}
    state = PaperState(created_us=NOW_US, number=0, time_us=NOW_US, balances={CASH: MUCH}, resting=(), levels={})
    account, up = PaperAccount(state, terms.get), traded.up.symbol
    shown = book("0.49", "0.51", NOW_US)
    shown.replace([(Decimal("0.49"), MUCH)], [(Decimal("0.51"), MUCH)], NOW_US)

    def place(k: int) -> None:
        account.place(_request(up, k, "buy" if k % 2 == 0 else "sell"), terms[up], shown, NOW_US)

    return latency_us(place, calls).p50


def measure(effort: float) -> list[Row]:
    resting = scaled(RESTING, effort, 8)
    with tempfile.TemporaryDirectory() as root:
        found = asyncio.run(orders_per_s(Path(root), scaled(ORDERS, effort, 8), scaled(ROUNDS, effort, 2)))
        empty, full, reconciled_ms = asyncio.run(checks_us(Path(root), scaled(CHECKS, effort, 50), resting))
    rows = [
        Row(what=what, ours=found[name], unit="/s", more_is_better=True, peer=peer, theirs=found[peer])
        for name, what in (("single", "orders, one at a time (3 commits each)"), ("many", f"orders, {AT_ONCE} at once"))
        for peer in (SQLITE, FILE)
    ]
    once = Spread(reconciled_ms, reconciled_ms, reconciled_ms)
    return [
        *rows,
        Row(what="matching one order in memory, median", ours=matching(scaled(MATCHES, effort, 50)), unit="us"),
        Row(what="stamp and review, empty account, median", ours=empty.p50, unit="us"),
        Row(what=f"stamp and review, {resting} live orders, median", ours=full.p50, unit="us"),
        Row(what=f"reconciliation, {resting} live orders", ours=once, unit="ms"),
    ]
