"""Rounds of trading, each in a process that is killed -9 somewhere inside SQLite or between; the next round checks
what is left.

Run as a script: FOLDER SEED ROUNDS. It forks one process per round, so that Python starts only once. Each round opens
the paper venue and the ledger of the one before, reconciles, checks that nothing was lost or doubled, settles what
has ended, trades on a window of its own, and dies at a statement drawn by chance. What the door answered is noted in
a journal outside the databases.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import threading
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from crypy.domain.instruments import ZERO, Instrument
from crypy.domain.markets import FeeSchedule, PredictionMarket
from crypy.domain.orders import LIVE, OrderRequest, OrderState
from crypy.domain.settlement import Settlement
from crypy.domain.windows import Window
from crypy.execution.desk import Desk
from crypy.execution.limits import Limits
from crypy.execution.stamp import StampIssuer
from crypy.ledger.ledger import Ledger
from crypy.ledger.values import market_listings, payout
from crypy.marketdata.book import Book
from crypy.runtime.clocks import SimClock, wall_us
from crypy.simulator.paper import PaperExchange
from crypy.simulator.paper_rules import market_terms

D = Decimal
ACCOUNT, KEY, START_S, SPEED = "paper", b"key", 1_770_000_000, 2_000.0
# Far enough apart that no round's clock starts before the one of the round before had ended.
APART_S, LENGTH_S = 3_000, 900
DEPOSIT = D(10_000)
BIG = D(10**9)
LIMITS = Limits(
    order_notional=BIG, instrument_notional=BIG, market_notional=BIG, coin_notional=BIG, total_notional=BIG, open_orders=10**6,
    orders_per_minute=10**6, daily_loss=BIG, drawdown=BIG,
)  # fmt: skip


def market(round_number: int) -> PredictionMarket:
    start_s = START_S + APART_S * round_number
    tokens = {
        side: Instrument(
            venue="pm", symbol=f"m{round_number}:{side}", kind="outcome", base=side, quote="pUSD", settle="pUSD",
            tick_size=D("0.01"), lot_size=D("0.01"), min_quantity=D(5), min_notional=D(1),
        )
        for side in ("up", "down")
    }  # fmt: skip
    return PredictionMarket(
        venue="pm", slug=f"m{round_number}", condition_id=f"0x{round_number}", coin="BTC", window=Window(start_s, start_s + LENGTH_S, "5m"),
        up=tokens["up"], down=tokens["down"], settlement=Settlement("point", "binance"), accepting_orders=True,
        fees=FeeSchedule(rate=D("0.07"), exponent=D(1)), taker_delay_us=150_000, link="", simulated=True,
    )  # fmt: skip


class Round:
    """One process's life: everything opened, nothing ever closed."""

    def __init__(self, folder: Path, number: int, seed: int) -> None:
        self.folder, self.number, self.random = folder, number, random.Random(f"{seed}/{number}")
        self.clock = SimClock((START_S + APART_S * number) * 1_000_000, wall_us(), SPEED)
        self.markets = [market(i) for i in range(number + 1)]
        self.books = {token.symbol: Book(token.symbol) for m in self.markets for token in (m.up, m.down)}
        terms = {t.instrument.symbol: t for m in self.markets for t in market_terms(m)}
        listings = {each.symbol: each for m in self.markets for each in market_listings(m)}
        self.paper = PaperExchange(
            f"sqlite:///{folder}/paper.db", self.clock, self.books.get, terms.get, {"pUSD": DEPOSIT}
        )
        self.ledger = Ledger.open(f"sqlite:///{folder}/ledger.db", self.clock, "paper")
        self.desk = Desk(
            account=ACCOUNT, ledger=self.ledger, port=self, limits=LIMITS, clock=self.clock, listing_of=listings.get,
            mid_of=lambda _: D("0.50"), stamp_key=KEY, redeemer=self.paper,
        )  # fmt: skip
        self.paper.on_fill = self.desk.nudge
        self.issuer = StampIssuer(ACCOUNT, KEY, self.clock)

    # The order port, with a note of each order that is sent.

    async def submit(self, request: OrderRequest) -> OrderState:
        note(self.folder, "sent", request.client_id)
        return await self.paper.submit(request)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.paper, name)

    async def run(self) -> None:
        found = await self.desk.start()
        check(not found.halted, found.halted)
        await self.verify()
        for each in self.markets[:-1]:
            await self.desk.settle(each, outcome_of(each))
        await self.verify()
        for step in range(12):
            await self.step(step)
        await self.clock.sleep(max(0.0, self.markets[-1].window.end_s - self.clock.now_us() / 1e6))
        await self.desk.settle(self.markets[-1], outcome_of(self.markets[-1]))
        await self.verify()

    async def step(self, step: int) -> None:
        """Show a book, submit an order or two at once, let a trade pass, cancel one now and then."""
        chance, current = self.random, self.markets[-1]
        mid = chance.randint(45, 55)
        for symbol, middle in ((current.up.symbol, mid), (current.down.symbol, 100 - mid)):
            bids = [(D(middle - i) / 100, D(chance.randint(5, 50))) for i in (1, 2)]
            asks = [(D(middle + i) / 100, D(chance.randint(5, 50))) for i in (1, 2)]
            self.books[symbol].replace(bids, asks, self.clock.now_us())
        orders = [self.order(f"{self.number}-{step}-{i}", mid) for i in range(chance.randint(1, 3))]
        await asyncio.gather(*(self.send(order) for order in orders))
        taker = chance.choice(["buy", "sell"])
        self.paper.on_trade(current.up.symbol, taker, D(mid) / 100, D(chance.randint(1, 80)), self.clock.now_us())
        resting = self.ledger.open_orders(ACCOUNT)
        if resting and chance.random() < 0.3:
            state = await self.desk.cancel(chance.choice(resting).request.client_id)
            note(self.folder, "answer", state.request.client_id, state.status, str(state.filled))
        if chance.random() < 0.2:
            check(not (await self.desk.reconcile()).halted, "halted in the middle")

    def order(self, client_id: str, mid: int) -> OrderRequest:
        chance, current = self.random, self.markets[-1]
        token, middle = chance.choice([(current.up, mid), (current.down, 100 - mid)])
        held = self.ledger.balances(ACCOUNT).get(token.symbol, ZERO)
        side = chance.choice(["buy", "buy", "sell"]) if held >= 5 else "buy"
        return OrderRequest(
            client_id=client_id, account=ACCOUNT, venue="pm", symbol=token.symbol, side=side, type="limit", strategy="s",
            quantity=min(held, D(20)) if side == "sell" else D(chance.randint(5, 40)),
            price=D(middle + chance.randint(-3, 3)) / 100, time_in_force=chance.choice(["ioc", "gtc", "gtc", "fok"]),
        )  # fmt: skip

    async def send(self, order: OrderRequest) -> None:
        stamp = self.issuer.issue("t", order.symbol, order.side, "s", D(1_000), 600.0)
        answer = await self.desk.submit(order, stamp)
        if isinstance(answer, OrderState):
            note(self.folder, "answer", order.client_id, answer.status, str(answer.filled))

    async def verify(self) -> None:
        """No order lost, none doubled, ledger equals venue, money conserved to the unit."""
        for client_id, times in Counter(line[1] for line in notes(self.folder, "sent")).items():
            check(times == 1, f"{client_id} was sent {times} times")
        theirs, ours = await self.paper.fills(0), await self.ledger.fills(ACCOUNT)
        check(len({fill.id for fill in theirs}) == len(theirs), "a fill id came twice")
        check(sorted(theirs, key=_id) == sorted(ours, key=_id), "fills differ")
        check(self.ledger.balances(ACCOUNT) == await self.paper.balances(), "balances differ")
        by_order: Counter[str] = Counter()
        for fill in theirs:
            by_order[fill.client_id] += fill.quantity  # type: ignore[assignment]
        for _, client_id, status, filled in notes(self.folder, "answer"):
            order = await self.ledger.order(client_id)
            check(order is not None, f"{client_id} was answered and is lost")
            if order is None:
                continue
            check(order.filled == by_order[client_id] >= D(filled), f"{client_id}: {order.filled} of answered {filled}")
            check("never seen" not in order.reason, f"{client_id} was {status} and the venue does not know it")
            check(status in LIVE or order.status == status, f"{client_id} was {status} and is {order.status}")
        paid = sum((r.paid for r in await self.paper.redemptions(0)), ZERO)
        flow = sum(((-1 if f.side == "buy" else 1) * f.price * f.quantity - f.fee for f in theirs), ZERO)
        check(self.ledger.balances(ACCOUNT).get("pUSD", ZERO) == DEPOSIT + flow + paid, "cash is not conserved")
        for each in await self.paper.redemptions(0):
            due = each.up_quantity * payout(each.outcome, "up") + each.down_quantity * payout(each.outcome, "down")
            check(each.paid == due, f"{each.condition_id} paid {each.paid} of {due}")


def _id(fill: Any) -> str:
    return fill.id


def outcome_of(settled: PredictionMarket) -> Any:
    return ("up", "down", "half")[settled.window.start_s // APART_S % 3]


def note(folder: Path, *line: str) -> None:
    """One write to a file opened for appending: whole, and there even after kill -9."""
    with (folder / "journal").open("ab", buffering=0) as file:
        file.write(json.dumps(line).encode() + b"\n")


def notes(folder: Path, kind: str) -> list[list[str]]:
    if not (folder / "journal").exists():
        return []
    lines = [json.loads(line) for line in (folder / "journal").read_bytes().splitlines()]
    return [line for line in lines if line[0] == kind]


def check(holds: bool, complaint: str) -> None:
    if not holds:
        raise AssertionError(complaint)


def die_at(statement: int) -> None:
    """Kill this process, as hard as there is, when the databases' n-th statement or commit begins."""
    seen, lock = [0], threading.Lock()

    def count(*_: Any) -> None:
        with lock:
            seen[0] += 1
            if seen[0] == statement:
                os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", count)
    event.listen(Engine, "after_cursor_execute", count)
    event.listen(Engine, "commit", count)


def live(folder: Path, number: int, seed: int, statement: int) -> int:
    """One round, in this process; the exit code."""
    die_at(statement)
    try:
        asyncio.run(Round(folder, number, seed).run())
    except BaseException as error:
        sys.stderr.write(f"round {number}, seed {seed}, statement {statement}: {type(error).__name__}: {error}\n")
        return 3
    return 0


def main(folder: Path, seed: int, rounds: int) -> int:
    chance, killed = random.Random(seed), 0
    for number in range(rounds):
        statement = int(chance.choice([chance.uniform(1, 150), chance.uniform(100, 2_600)]))
        process = os.fork()
        if process == 0:
            os._exit(live(folder, number, seed, statement))
        _, status = os.waitpid(process, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            killed += 1
        elif status != 0:
            return 1
    process = os.fork()
    if process == 0:
        os._exit(live(folder, rounds, seed, 10**9))
    _, status = os.waitpid(process, 0)
    told = {"killed": killed, "sent": len(notes(folder, "sent")), "answered": len(notes(folder, "answer"))}
    sys.stdout.write(json.dumps(told) + "\n")
    return 0 if status == 0 else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
