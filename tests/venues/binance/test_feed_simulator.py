"""Feed and market data against the simulated venue while it drops, repeats, reorders, cuts and refuses: nothing is lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import pytest

from crypy.domain.errors import Incomplete
from crypy.domain.events import Trade
from crypy.marketdata.crypto_data import CryptoData
from crypy.marketdata.schema import CHANNELS, Block, FeatureSchema
from crypy.marketdata.seconds import second_bars
from crypy.marketdata.sequence import feature_sequence
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trades import TradeBatch
from crypy.runtime.transport import NetTransport
from crypy.simulator.faults import Fault
from crypy.simulator.server import Simulator
from crypy.simulator.settings import ServeSettings
from crypy.venues.binance.feed import BINANCE_PATIENCE, BinanceFeed
from crypy.venues.binance.protocol import history_params, history_url, read_history

SYMBOLS = ("BTCUSDT", "ETHUSDT")
SETTINGS = ServeSettings(symbols=SYMBOLS, speed=20.0, history_days=1, trades_per_day=400_000.0, venues=())
STREAM = "binance.stream"
FAULTS = (
    Fault(target=STREAM, kind="drop", share=0.05),
    Fault(target=STREAM, kind="duplicate", share=0.05),
    Fault(target=STREAM, kind="reorder", share=0.05),
    Fault(target=STREAM, kind="rubbish", share=0.02),
    Fault(target=STREAM, kind="close_mid_frame", share=0.002),
    Fault(target=STREAM, kind="close", share=0.002),
    Fault(target="binance.rest", kind="status", status=503, share=0.2),
)
SCHEMA = FeatureSchema(SYMBOLS, 1, (Block(1, 20, CHANNELS), Block(10, 6, CHANNELS)))


@pytest.mark.timeout(100)
async def test_under_faults_every_trade_arrives_once_and_the_sequence_is_the_offline_one(tmp_path: Path) -> None:
    async with Simulator(SETTINGS) as simulator, NetTransport(simulator.clock) as transport:
        clock, urls = simulator.clock, simulator.ready.urls
        data = CryptoData(SYMBOLS, TradeStore(tmp_path), clock, keep_s=1_000)
        seen: dict[str, list[Trade]] = {symbol: [] for symbol in SYMBOLS}

        def on_trade(trade: Trade) -> None:
            seen[trade.symbol].append(trade)
            data.update(trade)

        feed = BinanceFeed(
            transport, clock, SYMBOLS, urls["stream"], urls["rest"], on_trade, lambda quote: None,
            random=np.random.default_rng(1), on_whole=data.set_whole,
            patience=msgspec.structs.replace(
                BINANCE_PATIENCE, give_up_s=2_000.0, silence_s=100.0, first_backoff_s=0.5, backoff_s=1.0, most_backoff_s=4.0
            ),
        )  # fmt: skip
        running = [asyncio.create_task(simulator.run()), asyncio.create_task(feed.run())]
        try:
            for fault in FAULTS:
                simulator.faults.add(fault)
            begun_us = clock.now_us()
            while clock.now_us() < begun_us + 100_000_000:
                await clock.sleep(1.0)
            simulator.faults.clear()
            end_s = clock.now_us() // 1_000_000
            sequence = None
            while sequence is None:
                await clock.sleep(1.0)
                with suppress(Incomplete):
                    sequence = data.feature_sequence(end_s, SCHEMA)
            told = feed.statistics()
            bars = {}
            for symbol, trades in seen.items():
                ids = [trade.id for trade in trades]
                assert ids == list(range(ids[0], ids[0] + len(ids)))
                answer = await transport.request(
                    "GET", history_url(urls["rest"], "aggTrade"), history_params(symbol, ids[0]),
                    {"X-MBX-TIME-UNIT": "MICROSECOND"},
                )  # fmt: skip
                truth = read_history(answer, symbol, "aggTrade", 0)[: len(ids)]
                plain = [
                    Trade(t.symbol, t.id, t.price_e8, t.quantity_e8, t.first_id, t.last_id, t.time_us, t.buyer_is_maker)
                    for t in trades
                ]
                assert plain[: len(truth)] == truth
                bars[symbol] = second_bars(symbol, [TradeBatch.of(trades)], end_s - 80, end_s)
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)
    offline = feature_sequence(bars, end_s, SCHEMA)
    for ours, theirs in zip((*sequence.values, sequence.close), (*offline.values, offline.close), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert min(told.gaps_found, told.duplicates, told.rubbish, told.fetched) > 0
    assert told.connects > 1
    assert told.gaps_lost == 0
