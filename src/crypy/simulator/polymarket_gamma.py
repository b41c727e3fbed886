"""Gamma's objects as the simulated Polymarket tells them: events, and their markets. Pure."""

from __future__ import annotations

import json

from crypy.domain.times import US_PER_S, iso
from crypy.simulator.polymarket_book import WHOLE
from crypy.simulator.polymarket_exchange import SimMarket
from crypy.simulator.polymarket_wire import FEES, MIN_SIZE, Json, paid_prices


def gamma_market(market: SimMarket, now_us: int, with_event: bool = True) -> Json:
    """A market as Gamma tells it, its event inside unless it is told inside its event."""
    listing, book = market.listing, market.book
    paid = paid_prices(market)
    middle = (book.best_bid + book.best_ask) / 2 / WHOLE
    prices = [f"{middle:g}", f"{1 - middle:g}"] if paid is None else [f"{price:g}" for price in paid]
    told: Json = {
        "id": str(listing.number),
        "question": listing.title,
        "conditionId": listing.condition_id,
        "slug": listing.slug,
        "resolutionSource": listing.source,
        "description": listing.description,
        "startDate": _iso_fraction(listing.listed_us),
        "eventStartTime": iso(listing.window.start_us),
        "endDate": iso(listing.window.end_us),
        "outcomes": json.dumps(["Up", "Down"]),
        "outcomePrices": json.dumps(prices),
        "clobTokenIds": json.dumps([listing.up_token, listing.down_token]),
        "active": True,
        "closed": market.is_closed,
        "archived": False,
        "acceptingOrders": not market.is_closed,
        "enableOrderBook": True,
        "orderPriceMinTickSize": market.tick / WHOLE,
        "orderMinSize": MIN_SIZE,
        "negRisk": False,
        "feesEnabled": True,
        "feeType": "crypto_fees_v2",
        "feeSchedule": FEES,
        "makerBaseFee": 1000,
        "takerBaseFee": 1000,
        "bestBid": book.best_bid / WHOLE,
        "bestAsk": book.best_ask / WHOLE,
        "version": "v1",
    }
    if listing.statistic == "average":
        config_id = f"{listing.asset}-{listing.window.duration}-twap-{listing.lookback_s}"
        told["cryptoMarketConfigId"] = config_id
        told["cryptoMarketConfig"] = {
            "id": config_id,
            "asset": listing.asset,
            "duration": listing.window.duration,
            "twapEnabled": True,
            "twapLookbackSeconds": listing.lookback_s,
        }
    if market.is_closed:
        told["closedTime"] = iso(listing.resolved_us)
        told["umaResolutionStatus"] = "resolved"
    if with_event:
        told["events"] = [_event(market, now_us)]
    return told


def gamma_event(market: SimMarket, now_us: int) -> Json:
    """An event with its one market inside."""
    return _event(market, now_us) | {"markets": [gamma_market(market, now_us, with_event=False)]}


def _event(market: SimMarket, now_us: int) -> Json:
    listing = market.listing
    metadata = {"priceToBeat": market.shown_strike(now_us), "finalPrice": market.final if market.is_closed else None}
    told: Json = {
        "id": str(listing.number - 500_000),
        "ticker": listing.slug,
        "slug": listing.slug,
        "title": listing.title,
        "description": listing.description,
        "resolutionSource": listing.source,
        "startDate": _iso_fraction(listing.listed_us),
        "startTime": iso(listing.window.start_us),
        "endDate": iso(listing.window.end_us),
        "active": True,
        "closed": market.is_closed,
        "archived": False,
        "enableOrderBook": True,
        "negRisk": False,
        "seriesSlug": listing.series_slug,
        "series": [{"id": str(listing.series_id), "slug": listing.series_slug, "recurrence": listing.window.duration}],
    }
    known = {key: value for key, value in metadata.items() if value is not None}
    return told | ({"eventMetadata": known} if known else {})


def _iso_fraction(time_us: int) -> str:
    """Listing times have fractions on the venue, window times have not."""
    return iso(time_us // US_PER_S * US_PER_S + 328_428)
