"""Orders and fills for the tests of the ledger."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from crypy.domain.orders import Fill, OrderRequest
from crypy.ledger.values import Listing

ACCOUNT = "paper"
NOW_US = 1_735_689_600_000_000


def listing(symbol: str = "up", market: str = "m1") -> Listing:
    return Listing(venue="pm", symbol=symbol, kind="outcome", asset=symbol, cash="pUSD", market=market, coin="BTC")


def request(client_id: str = "c1", **changes: Any) -> OrderRequest:
    values: dict[str, Any] = {
        "client_id": client_id, "account": ACCOUNT, "venue": "pm", "symbol": "up", "side": "buy", "type": "limit",
        "quantity": Decimal(10), "price": Decimal("0.50"), "created_us": NOW_US,
    }  # fmt: skip
    return OrderRequest(**(values | changes))


def fill(fill_id: str = "f1", client_id: str = "c1", **changes: Any) -> Fill:
    values: dict[str, Any] = {
        "id": fill_id, "client_id": client_id, "venue": "pm", "symbol": "up", "side": "buy", "price": Decimal("0.50"),
        "quantity": Decimal(4), "fee": Decimal("0.07"), "fee_asset": "pUSD", "liquidity": "taker", "time_us": NOW_US,
    }  # fmt: skip
    return Fill(**(values | changes))
