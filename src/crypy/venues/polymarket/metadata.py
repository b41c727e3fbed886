"""From the venue's metadata to a market as crypy knows it. Pure.

Everything that decides about money is read from the metadata of this very market: which token is Up (by label, never by
place), tick and minimum size, the fee schedule, and the rule it settles by. A rule is recognised only where all that the metadata
say about it agrees: the source, the average, the tie. Anything else gives `settlement=None`, and such a market is
shown and not traded. The window is what the metadata say as well, and must be the one that the slug names.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Final, Literal

import msgspec

from crypy.domain.durations import Duration
from crypy.domain.errors import ConfigError, Unreadable
from crypy.domain.instruments import ONE, ZERO, Instrument
from crypy.domain.markets import FeeSchedule, PredictionMarket
from crypy.domain.settlement import Outcome, Settlement
from crypy.domain.times import parse_time_us
from crypy.domain.windows import Window
from crypy.venues.polymarket.messages import ClobMarket, GammaEvent, GammaFees, GammaMarket
from crypy.venues.polymarket.slugs import COIN_NAMES, parse_slug, slug_of

VENUE: Final = "polymarket"
COLLATERAL: Final = "pUSD"
SITE: Final = "https://polymarket.com/event/"
# Orders are rounded down to hundredths of a share by the venue's own clients.
LOT_SIZE: Final = Decimal("0.01")
# A marketable buy must be worth this much; resting orders and sales need not.
MIN_BUY: Final = Decimal(1)
# How long a taker is held back where `itode` is set; since 2026-09-04 (250 ms and 50 ms before).
TAKER_DELAY_US: Final = 150_000

_TEXTS: Final = msgspec.json.Decoder(list[str])
_CHAINLINK: Final = re.compile(r"https://data\.chain\.link/streams/([a-z]+)-usd(?:-twap-(\d+)s-streams)?/?")
_HALF: Final = Decimal("0.5")


def prediction_market(
    event: GammaEvent, market: GammaMarket, *, simulated: bool, link: str | None = None
) -> PredictionMarket:
    """The market in crypy's words.

    The taker's delay is not in Gamma's metadata: it is taken to be there until `with_clob_parameters` knows better.
    Raises `Unreadable` for what is no Up/Down market of a coin we know, or contradicts its own name.
    """
    named = parse_slug(market.slug)
    if named is None:
        raise Unreadable(f"{market.slug!r} is no Up/Down market of {', '.join(COIN_NAMES)}")
    window = _window(market, event, named.window.duration)
    if window != named.window and not _same_name(market.slug, window):
        raise Unreadable(f"{market.slug}: its metadata say {window}, its name says {named.window}")
    up, down = _tokens(market)
    metadata = event.event_metadata
    return PredictionMarket(
        venue=VENUE,
        slug=market.slug,
        condition_id=market.condition_id,
        coin=named.coin,
        window=window,
        up=_instrument(market, "up", up),
        down=_instrument(market, "down", down),
        settlement=settlement_rule(market, named.coin, window.duration),
        fees=_fees(market),
        accepting_orders=_accepts_orders(market),
        taker_delay_us=TAKER_DELAY_US,
        link=link if link is not None else SITE + market.slug,
        simulated=simulated,
        price_to_beat=None if metadata is None else _price(metadata.price_to_beat),
        final_price=None if metadata is None else _price(metadata.final_price),
        outcome=_outcome(market),
    )


def with_clob_parameters(market: PredictionMarket, parameters: ClobMarket) -> PredictionMarket:
    """The market with what only the order book tells: whether takers are held back, and whether it takes orders.

    Where the two disagree about the fee, it is unknown and the market has none: an unknown fee means no order.
    Raises `Unreadable` when the parameters are another market's.
    """
    if parameters.c.lower() != market.condition_id.lower():
        raise Unreadable(f"{market.slug}: asked for parameters of {market.condition_id}, got those of {parameters.c}")
    return msgspec.structs.replace(
        market,
        fees=_agreed_fees(market.fees, parameters),
        taker_delay_us=TAKER_DELAY_US if parameters.itode else 0,
        accepting_orders=market.accepting_orders and parameters.ao is not False,
    )


def with_tick_size(market: PredictionMarket, tick_size: Decimal) -> PredictionMarket:
    """The market on another price grid."""
    return msgspec.structs.replace(
        market,
        up=msgspec.structs.replace(market.up, tick_size=tick_size),
        down=msgspec.structs.replace(market.down, tick_size=tick_size),
    )


def _accepts_orders(market: GammaMarket) -> bool:
    """Only where everything says so; markets of several outcomes are signed for another contract and left alone."""
    says_yes = market.active and market.accepting_orders and market.enable_order_book
    return says_yes is True and not market.closed and not market.neg_risk


def settlement_rule(market: GammaMarket, coin: str, duration: Duration) -> Settlement | None:
    """By which rule the market pays, or `None` where it is not one we know for sure.

    5m, 15m and 4h: a Chainlink stream of the coin, plain or averaged; the stream's address and `cryptoMarketConfig` must agree, and a tie must be
    Up. 1h: open and close of Binance's hourly candle. 1d: closes of two one-minute candles at noon in New York, a tie paying half. Until
    the end of September 2026 the candles *open* at noon, so their closes are known a minute later (`lag_s` 60); since then the venue writes of candles "closing at 12:00",
    whose closes are known at once (`lag_s` 0).
    """
    text = " ".join((market.description or "").split())
    if duration in ("5m", "15m", "4h"):
        return _chainlink_rule(market, text, coin, duration)
    pair = f"{coin}/USDT"
    if "binance.com" not in (market.resolution_source or "") + text or pair not in text:
        return None
    return _hour_rule(text, pair) if duration == "1h" else _day_rule(text, pair)


def _chainlink_rule(market: GammaMarket, text: str, coin: str, duration: Duration) -> Settlement | None:
    found = _CHAINLINK.fullmatch(market.resolution_source or "")
    if found is None or found[1] != COIN_NAMES[coin][0] or "is greater than or equal to" not in text:
        return None
    lookback_s = int(found[2]) if found[2] else 0
    config = market.crypto_market_config
    if config is not None:
        told_s = config.twap_lookback_seconds if config.twap_enabled else 0
        if (told_s, config.asset.lower(), config.duration) != (lookback_s, found[1], duration):
            return None
    if lookback_s == 0:
        return None if "twap" in text.lower() else Settlement("point", "chainlink")
    return Settlement("average", "chainlink", lookback_s=lookback_s)


def _hour_rule(text: str, pair: str) -> Settlement | None:
    says = f"close price is greater than or equal to the open price for the {pair} 1 hour candle"
    return Settlement("candle", "binance") if says in text else None


def _day_rule(text: str, pair: str) -> Settlement | None:
    says_up = f'resolve to "Up" if the "Close" price for the Binance 1 minute candle for {pair}'
    is_rule = says_up in text and "12:00 in the ET timezone (noon)" in text and "is lower than the final" in text
    if not is_rule or "50-50" not in text:
        return None
    closes_at_noon = re.search(r"closing at 12:00 in the ET timezone", text) is not None
    return Settlement("closes", "binance", tie="half", lag_s=0 if closes_at_noon else 60)


def _window(market: GammaMarket, event: GammaEvent, duration: Duration) -> Window:
    start = market.event_start_time or event.start_time
    try:
        return Window(_whole_second(start or ""), _whole_second(market.end_date or ""), duration)
    except ConfigError as error:
        raise Unreadable(f"{market.slug}: no window in its metadata: {error}") from None


def _whole_second(text: str) -> int:
    seconds, rest = divmod(parse_time_us(text), 1_000_000)
    if rest:
        raise ConfigError(f"{text!r} is not a whole second")
    return seconds


def _same_name(slug: str, window: Window) -> bool:
    """Whether the window is the second of the two that this slug names, when New York's clocks go back."""
    named = parse_slug(slug)
    if named is None or window.duration != "1h":
        return False
    later = Window(named.window.start_s + 3_600, named.window.end_s + 3_600, "1h")
    return window == later and slug_of(named.coin, later) == slug


def _tokens(market: GammaMarket) -> tuple[str, str]:
    labels, tokens = _texts(market, market.outcomes), _texts(market, market.clob_token_ids)
    by_label = dict(zip(labels, tokens, strict=False))
    if sorted(labels) != ["Down", "Up"] or len(tokens) != 2 or len(set(tokens)) != 2:
        raise Unreadable(
            f"{market.slug}: outcomes {market.outcomes} with tokens {market.clob_token_ids} are no Up and Down"
        )
    if not all(token.isascii() and token.isdigit() for token in tokens):
        raise Unreadable(f"{market.slug}: {market.clob_token_ids} are no token ids")
    return by_label["Up"], by_label["Down"]


def _texts(market: GammaMarket, text: str | None) -> list[str]:
    try:
        return _TEXTS.decode(text or "[]")
    except msgspec.DecodeError as error:
        raise Unreadable(f"{market.slug}: {text!r} is no list of texts: {error}") from None


def _instrument(market: GammaMarket, side: Literal["up", "down"], token: str) -> Instrument:
    tick, minimum = market.order_price_min_tick_size, market.order_min_size
    if tick is None or not (tick.is_finite() and ZERO < tick < ONE):
        raise Unreadable(f"{market.slug}: {tick} is no tick size")
    if minimum is None or not (minimum.is_finite() and minimum >= 0):
        raise Unreadable(f"{market.slug}: {minimum} is no minimum size")
    return Instrument(
        venue=VENUE,
        symbol=f"{market.slug}:{side}",
        kind="outcome",
        base=token,
        quote=COLLATERAL,
        settle=COLLATERAL,
        tick_size=tick,
        lot_size=LOT_SIZE,
        min_quantity=minimum,
        min_notional=MIN_BUY,
    )


def _fees(market: GammaMarket) -> FeeSchedule | None:
    if market.fee_schedule is not None:
        return _schedule(market.fee_schedule)
    # Only an explicit "no fees" is a fee of zero; silence is not knowing.
    return FeeSchedule(ZERO, ONE) if market.fees_enabled is False else None


def _schedule(told: GammaFees) -> FeeSchedule | None:
    numbers = (told.rate, told.exponent, told.rebate_rate)
    if not all(number.is_finite() and number >= 0 for number in numbers):
        return None
    return FeeSchedule(told.rate, told.exponent, told.taker_only, told.rebate_rate)


def _agreed_fees(fees: FeeSchedule | None, parameters: ClobMarket) -> FeeSchedule | None:
    told = parameters.fd
    if fees is None or told is None or told.r is None or told.e is None:
        return fees
    agree = told.r == fees.rate and told.e == fees.exponent and told.to in (None, fees.taker_only)
    return fees if agree else None


def _price(told: float | str | None) -> float | None:
    try:
        value = math.nan if told is None else float(told)
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


def _outcome(market: GammaMarket) -> Outcome | None:
    """Who won, once the market is closed and pays exactly; prices near 1 before that say nothing."""
    if not market.closed:
        return None
    labels, prices = _texts(market, market.outcomes), _texts(market, market.outcome_prices)
    if len(labels) != len(prices):
        return None
    try:
        paid = dict(zip(labels, (Decimal(price) for price in prices), strict=True))
    except ArithmeticError:
        return None
    match paid.get("Up"), paid.get("Down"):
        case (up, down) if up == ONE and down == ZERO:
            return "up"
        case (up, down) if up == ZERO and down == ONE:
            return "down"
        case (up, down) if up == _HALF and down == _HALF:
            return "half"
        case _:
            return None
