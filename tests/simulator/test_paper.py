"""The paper venue as an account that trades on it sees it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest
from paper_kit import WINDOW, D, Scene, market, request

from crypy.domain.errors import Rejected, StateError, Unavailable
from crypy.domain.ports import OrderPort
from crypy.simulator.paper_rules import Terms


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    yield made
    made.paper.close()


async def cash(scene: Scene) -> Decimal:
    return (await scene.paper.balances())["pUSD"]


async def test_it_is_an_order_port(scene: Scene) -> None:
    port: OrderPort = scene.paper
    assert await port.open_orders() == ()


async def test_a_buy_pays_notional_and_fee_and_gets_the_full_size(scene: Scene) -> None:
    state = await scene.submit("a", "buy", "120", "0.55", time_in_force="ioc")
    assert (state.status, state.filled) == ("filled", 120)
    fills = await scene.paper.fills(0)
    assert [(f.price, f.quantity, f.fee) for f in fills] == [
        (D("0.50"), D(100), D("1.75")),
        (D("0.52"), D(20), D("0.34944")),
    ]
    assert await scene.paper.balances() == {"pUSD": 1000 - D("50") - D("10.4") - D("2.09944"), "up": D(120)}


async def test_a_sell_gets_notional_less_fee(scene: Scene) -> None:
    await scene.submit("a", "buy", "100", "0.50", time_in_force="ioc")
    before = await cash(scene)
    await scene.submit("b", "sell", "50", "0.48", time_in_force="ioc")
    assert await cash(scene) == before + D(24) - D("0.8736")


async def test_the_order_meets_the_book_of_the_moment_it_arrives(scene: Scene) -> None:
    task = asyncio.ensure_future(scene.paper.submit(request("a", "buy", "10", "0.51", time_in_force="ioc")))
    await asyncio.sleep(0.005)
    await scene.clock.advance(0.1)
    scene.show({"0.40": "100"}, {"0.51": "4"})
    state = await scene.now(_wait(task))
    assert (state.status, state.filled) == ("cancelled", 4)
    assert [fill.price for fill in await scene.paper.fills(0)] == [D("0.51")]


async def test_what_is_gone_on_arrival_is_not_filled(scene: Scene) -> None:
    task = asyncio.ensure_future(scene.paper.submit(request("a", "buy", "10", "0.50", time_in_force="ioc")))
    for _ in range(5):
        await asyncio.sleep(0.001)
    scene.show({"0.48": "100"}, {"0.52": "40"})
    with pytest.raises(Rejected, match="FAK"):
        await scene.now(_wait(task))
    assert await cash(scene) == 1000
    assert await scene.paper.query("a") is None


async def test_the_same_quantity_is_not_sold_twice(scene: Scene) -> None:
    assert (await scene.submit("a", "buy", "70", "0.50", time_in_force="ioc")).filled == 70
    assert (await scene.submit("b", "buy", "70", "0.50", time_in_force="ioc")).filled == 30
    with pytest.raises(Rejected, match="no orders found"):
        await scene.submit("c", "buy", "70", "0.50", time_in_force="ioc")
    scene.show({"0.48": "100"}, {"0.50": "120"})
    assert (await scene.submit("d", "buy", "70", "0.50", time_in_force="ioc")).filled == 20


async def test_both_tokens_books_are_one_book(scene: Scene) -> None:
    await scene.submit("a", "buy", "100", "0.50", time_in_force="ioc")  # takes Up's ask, which is Down's bid at 0.50
    await scene.submit("b", "buy", "40", "0.52", symbol="down", time_in_force="ioc")
    with pytest.raises(Rejected, match="no orders found"):
        await scene.submit("c", "sell", "40", "0.50", symbol="down", time_in_force="ioc")


async def test_fok_is_whole_or_nothing(scene: Scene) -> None:
    with pytest.raises(Rejected, match="fully filled or killed"):
        await scene.submit("a", "buy", "141", "0.52", time_in_force="fok")
    assert (await scene.submit("b", "buy", "140", "0.52", time_in_force="fok")).status == "filled"


async def test_a_resting_order_waits_for_real_trades(scene: Scene) -> None:
    state = await scene.submit("a", "buy", "20", "0.48")
    assert state.status == "open"
    now_us = scene.clock.now_us()
    scene.paper.on_trade("up", "sell", D("0.48"), D(100), now_us)
    assert await scene.paper.fills(0) == ()
    scene.paper.on_trade("up", "sell", D("0.48"), D(5), now_us)
    (fill,) = await scene.paper.fills(0)
    assert (fill.quantity, fill.price, fill.fee, fill.liquidity) == (5, D("0.48"), 0, "maker")
    assert scene.fills_heard == 1
    scene.paper.on_trade("down", "buy", D("0.53"), D(50), now_us)  # Up sold at 0.47: through our price
    assert (await scene.paper.query("a")).status == "filled"
    assert await scene.paper.balances() == {"pUSD": 1000 - D("9.6"), "up": D(20)}


async def test_trades_from_before_the_order_do_not_fill_it(scene: Scene) -> None:
    await scene.submit("a", "buy", "20", "0.49")
    scene.paper.on_trade("up", "sell", D("0.49"), D(50), WINDOW.start_us - 1)
    assert await scene.paper.fills(0) == ()


async def test_what_crosses_and_is_left_over_rests(scene: Scene) -> None:
    state = await scene.submit("a", "buy", "150", "0.51")
    assert (state.status, state.filled) == ("partly_filled", 100)
    assert [order.remaining for order in await scene.paper.open_orders()] == [50]


async def test_cash_set_aside_for_resting_orders_cannot_be_spent_again(scene: Scene) -> None:
    for i in range(4):
        await scene.submit(f"r{i}", "buy", "500", "0.49")
    with pytest.raises(Rejected, match="not enough balance / allowance: 20"):
        await scene.submit("x", "buy", "100", "0.50", time_in_force="ioc")
    await scene.now(scene.paper.cancel("r0"))
    assert (await scene.submit("y", "buy", "100", "0.50", time_in_force="ioc")).status == "filled"


async def test_tokens_offered_cannot_be_sold_again(scene: Scene) -> None:
    await scene.submit("a", "buy", "100", "0.50", time_in_force="ioc")
    await scene.submit("b", "sell", "80", "0.60")
    with pytest.raises(Rejected, match="not enough balance"):
        await scene.submit("c", "sell", "30", "0.48", time_in_force="ioc")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"price": "0.505"}, "breaks minimum tick size rule: 0.01"),
        ({"price": "1.00"}, "breaks minimum tick size rule"),
        ({"quantity": "4"}, "lower than the minimum: 5"),
        ({"quantity": "5.001"}, "no multiple of 0.01"),
        ({"quantity": "0"}, "no multiple"),
        ({"quantity": "1", "price": "0.60", "time_in_force": "ioc"}, r"marketable BUY order \(\$0.6\), min size: \$1"),
        ({"post_only": True, "price": "0.50"}, "post-only order: order crosses book"),
        ({"post_only": True, "time_in_force": "ioc"}, "post-only goes with GTC"),
        ({"symbol": "nothing"}, "No orderbook exists"),
        ({"time_in_force": "gtd"}, "invalid expiration"),
        ({"quantity": "5000"}, "not enough balance / allowance"),
        ({"side": "sell"}, "not enough balance / allowance"),
        ({"price": "0.40", "time_in_force": "ioc"}, "no orders found to match with FAK order"),
    ],
)
async def test_refusals_are_the_venues(scene: Scene, changes: dict[str, str], words: str) -> None:
    values = {"side": "buy", "quantity": "10", "price": "0.49"} | changes
    with pytest.raises(Rejected, match=words):
        await scene.submit("a", **values)
    assert await scene.paper.balances() == {"pUSD": 1000}
    assert await scene.paper.open_orders() == ()


async def test_small_marketable_orders_are_measured_by_worth_and_not_by_size(scene: Scene) -> None:
    assert (await scene.submit("a", "buy", "2.5", "0.50", time_in_force="ioc")).status == "filled"
    assert (await scene.submit("b", "sell", "0.5", "0.48", time_in_force="ioc")).status == "filled"


@pytest.mark.parametrize(
    ("changes", "words"), [({"fees": None}, "unknown fee"), ({"accepting_orders": False}, "not yet ready")]
)
async def test_markets_that_take_no_orders(changes: dict[str, object], words: str) -> None:
    scene = Scene(**changes)
    with pytest.raises(Rejected, match=words):
        await scene.submit("a", "buy", "10", "0.50")
    scene.paper.close()


async def test_nothing_is_taken_from_a_book_that_cannot_be_believed(scene: Scene) -> None:
    scene.books["up"].invalidate("a message was lost")
    with pytest.raises(Rejected, match="a message was lost"):
        await scene.submit("a", "buy", "10", "0.50")


async def test_nothing_is_taken_after_the_window(scene: Scene) -> None:
    await scene.clock.advance(300)
    with pytest.raises(Rejected, match="closed"):
        await scene.submit("a", "buy", "10", "0.50")


async def test_one_client_id_is_one_order(scene: Scene) -> None:
    both = [scene.paper.submit(request("a", "buy", "10", "0.50", time_in_force="ioc")) for _ in range(2)]
    results = await scene.now(_gather(both))
    assert sorted(type(result).__name__ for result in results) == ["OrderState", "Rejected"]
    with pytest.raises(Rejected, match="Duplicated"):
        await scene.submit("a", "buy", "10", "0.50")
    assert (await scene.paper.balances())["up"] == 10


async def test_orders_that_are_held_back_cannot_be_cancelled(scene: Scene) -> None:
    task = asyncio.ensure_future(scene.paper.submit(request("a", "buy", "10", "0.50", time_in_force="ioc")))
    await asyncio.sleep(0.01)
    assert (await scene.paper.query("a")).status == "sent"
    with pytest.raises(Rejected, match="delayed"):
        await scene.paper.cancel("a")
    await scene.now(_wait(task))
    with pytest.raises(Rejected, match="already canceled or matched"):
        await scene.paper.cancel("a")
    with pytest.raises(Rejected, match="not found"):
        await scene.paper.cancel("never")


@pytest.mark.parametrize(("outcome", "paid"), [("up", "100"), ("down", "30"), ("half", "65")])
async def test_a_settled_market_pays_once(scene: Scene, outcome, paid: str) -> None:
    await scene.submit("a", "buy", "100", "0.50", time_in_force="ioc")
    await scene.submit("b", "buy", "30", "0.52", symbol="down", time_in_force="ioc")
    await scene.submit("c", "buy", "20", "0.40")
    with pytest.raises(StateError, match="cannot be settled before"):
        await scene.paper.redeem(scene.market, outcome)
    await scene.clock.advance(300)
    before = await cash(scene)
    results = await asyncio.gather(*(scene.paper.redeem(scene.market, outcome) for _ in range(3)))
    assert len(set(results)) == 1
    assert (results[0].up_quantity, results[0].down_quantity, results[0].paid) == (100, 30, D(paid))
    assert await scene.paper.balances() == {"pUSD": before + D(paid)}
    assert (await scene.paper.query("c")).status == "cancelled"
    assert await scene.paper.redemptions(0) == (results[0],)
    with pytest.raises(StateError, match="cannot now be"):
        await scene.paper.redeem(scene.market, "up" if outcome != "up" else "down")


async def test_the_account_is_what_it_was_after_opening_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'paper.sqlite'}"
    scene = Scene(url)
    await scene.submit("a", "buy", "60", "0.50", time_in_force="ioc")
    await scene.submit("b", "buy", "20", "0.48")
    scene.paper.on_trade("up", "sell", D("0.48"), D(104), scene.clock.now_us())
    before = await scene.paper.balances(), await scene.paper.open_orders(), await scene.paper.fills(0)
    last_us = scene.clock.now_us()
    scene.paper.close()

    again = Scene(url, deposit="7777")  # its clock starts where the first one's did: earlier than the last fill
    assert (await again.paper.balances(), await again.paper.open_orders(), await again.paper.fills(0)) == before
    assert (await again.submit("c", "buy", "60", "0.50", time_in_force="ioc")).filled == 40  # 60 are taken already
    fills = await again.paper.fills(0)
    assert len({fill.id for fill in fills}) == 3
    assert fills[-1].time_us >= last_us
    with pytest.raises(Rejected, match="Duplicated"):
        await again.submit("a", "buy", "60", "0.50")
    again.paper.on_trade("up", "sell", D("0.47"), D(100), again.clock.now_us() + 10**9)
    assert (await again.paper.query("b")).status == "filled"
    again.paper.close()


async def test_a_full_disk_undoes_what_was_not_written(tmp_path: Path) -> None:
    scene = Scene(f"sqlite:///{tmp_path / 'paper.sqlite'}")
    await scene.submit("a", "buy", "10", "0.50", time_in_force="ioc")
    before = await scene.paper.balances()

    def limit(pages: str):
        return lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={pages}").close()

    writer = scene.paper._store._writer
    writer.put(limit("1")).result()
    orders = [scene.paper.submit(request(f"x{i}", "buy", "5", "0.40", strategy="x" * 1000)) for i in range(300)]
    answers = await scene.now(_gather(orders))
    rested = [answer.request.client_id for answer in answers if not isinstance(answer, BaseException)]
    assert any(isinstance(answer, Unavailable) and "nothing was done" in str(answer) for answer in answers)
    writer.resume()
    writer.put(limit("1000000")).result()
    scene.paper.close()
    scene = Scene(f"sqlite:///{tmp_path / 'paper.sqlite'}")
    assert await scene.paper.balances() == before
    assert [order.request.client_id for order in await scene.paper.open_orders()] == rested
    assert (await scene.submit("z", "buy", "10", "0.50", time_in_force="ioc")).status == "filled"
    scene.paper.close()


async def test_spot_pays_its_flat_fee_in_the_quote() -> None:
    from crypy.domain.instruments import Instrument
    from crypy.marketdata.book import Book
    from crypy.simulator.models.fees import BpsFee
    from crypy.simulator.paper import PaperExchange
    from crypy.testing.clock import ManualClock

    spot = Instrument(
        venue="binance", symbol="BTCUSDT", kind="spot", base="BTC", quote="USDT", settle="USDT", tick_size=D("0.01"),
        lot_size=D("0.00001"), min_notional=D(5),
    )  # fmt: skip
    book = Book("BTCUSDT")
    book.replace([(D("60000"), D(1))], [(D("60001"), D(1))], 1)
    terms = Terms(instrument=spot, fees=BpsFee(D(10), D(10)))
    paper = PaperExchange("sqlite://", ManualClock(), lambda _: book, lambda _: terms, {"USDT": D(10_000)})
    await paper.submit(request("a", "buy", "0.1", None, symbol="BTCUSDT", venue="binance"))
    assert await paper.balances() == {"USDT": 10_000 - D("6000.1") - D("6.0001"), "BTC": D("0.1")}
    with pytest.raises(Rejected, match="min size"):
        await paper.submit(request("b", "buy", "0.00001", "60001", symbol="BTCUSDT", time_in_force="ioc"))
    paper.close()


def test_a_market_without_known_fees_has_terms_that_say_so() -> None:
    from crypy.simulator.paper_rules import market_terms

    up, down = market_terms(market(fees=None))
    assert (up.fees, down.mirror_of, up.mirror_of, up.closes_us) == (None, "up", "", WINDOW.end_us)


async def _wait(task):
    return await task


async def _gather(coroutines):
    return await asyncio.gather(*coroutines, return_exceptions=True)


async def test_no_answer_before_the_disk_has_it(scene: Scene) -> None:
    task = asyncio.ensure_future(scene.paper.submit(request("a", "buy", "10", "0.50", time_in_force="ioc")))
    await asyncio.sleep(0.01)
    await scene.clock.advance(0.1)
    gate = threading.Event()
    scene.paper._store._writer.put(lambda _: gate.wait())
    await scene.clock.advance(0.1)
    await asyncio.sleep(0.01)
    assert not task.done()
    gate.set()
    assert (await scene.now(_wait(task))).status == "filled"
