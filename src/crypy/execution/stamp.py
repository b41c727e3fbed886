"""The holder's stamp: leave to put so much into one pair, one side, for one strategy, until a moment.

A desk only lets entries through that carry one. It is an HMAC-SHA256 under a key that lives as long as the process;
what of it is used is kept per nonce in the ledger. Orders that reduce a position need none that is still valid,
so that a way out is never locked.
"""

from __future__ import annotations

import hashlib
import hmac
from decimal import Decimal

import msgspec

from crypy.domain.errors import ConfigError
from crypy.domain.instruments import ZERO, Side
from crypy.domain.orders import OrderRequest
from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S
from crypy.execution.limits import Refused
from crypy.ledger.books import STAMP_LIFE_US
from crypy.ledger.values import Listing, StampUse


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """What is allowed, and the signature over all of it. `amount` is in the cash asset, notional at the order's
    limit.
    """

    account: str
    trader: str
    pair: str
    side: Side
    strategy: str
    amount: Decimal
    expires_us: int
    nonce: str
    signature: str = ""


class Stamped(msgspec.Struct, frozen=True):
    """An order whose stamp was looked at. `use` is what of the stamp it takes; `no_entry` says why it may only
    reduce.
    """

    request: OrderRequest
    traded: Listing
    use: StampUse | None
    no_entry: Refused | None


class StampIssuer:
    """Issues stamps for one account's holder; the desk has the same key. Nonces are never used again."""

    def __init__(self, account: str, key: bytes, clock: Clock) -> None:
        self._account = account
        self._key = key
        self._clock = clock
        self._issued = 0
        self._started_us = clock.now_us()

    def issue(self, trader: str, pair: str, side: Side, strategy: str, amount: Decimal, lifetime_s: float) -> Stamp:
        """Leave for `trader` to put `amount` into `pair`. Raises `ConfigError` for a lifetime over three days."""
        lifetime_us = round(lifetime_s * US_PER_S)
        if not 0 < lifetime_us <= STAMP_LIFE_US:
            raise ConfigError(
                f"a stamp for {lifetime_s} s: give more than 0 s and at most {STAMP_LIFE_US // US_PER_S} s"
            )
        self._issued += 1
        stamp = Stamp(
            account=self._account,
            trader=trader,
            pair=pair,
            side=side,
            strategy=strategy,
            amount=amount,
            expires_us=self._clock.now_us() + lifetime_us,
            nonce=f"{self._started_us:x}-{self._issued}",
        )
        return msgspec.structs.replace(stamp, signature=sign(stamp, self._key))


def sign(stamp: Stamp, key: bytes) -> str:
    """The signature over everything else on the stamp."""
    text = msgspec.json.encode(msgspec.structs.replace(stamp, signature=""))
    return hmac.new(key, text, hashlib.sha256).hexdigest()


def verify(
    request: OrderRequest, traded: Listing, stamp: Stamp | None, key: bytes, used: Decimal, now_us: int
) -> Stamped | Refused:
    """Look at an order's stamp, of which `used` is in other orders.

    A false stamp, or one for something else, is refused; one that is absent, expired or used up only lets reductions
    through.
    """
    if stamp is None:
        return Stamped(request, traded, None, Refused("no stamp: the holder allows no entry", "stamp"))
    if not hmac.compare_digest(stamp.signature, sign(stamp, key)):
        return Refused(f"stamp {stamp.nonce} is not signed by this process's holder", "stamp", stamp.nonce)
    said = (stamp.account, stamp.pair, stamp.side, stamp.strategy)
    asked = (request.account, request.symbol, request.side, request.strategy)
    if said != asked:
        return Refused(f"stamp {stamp.nonce} is for {said} and not for {asked}", "stamp", stamp.nonce)
    amount = notional(request)
    no_entry = None
    if now_us >= stamp.expires_us:
        no_entry = Refused(f"stamp {stamp.nonce} expired {(now_us - stamp.expires_us) / US_PER_S:.1f} s ago", "stamp")
    elif used + amount > stamp.amount:
        text = f"stamp {stamp.nonce} allows {stamp.amount}, {used} is used and {amount} was asked for"
        no_entry = Refused(text, "stamp", str(amount))
    use = None if no_entry is not None or not amount else StampUse(stamp.nonce, amount, stamp.expires_us)
    return Stamped(request, traded, use, no_entry)


def notional(request: OrderRequest) -> Decimal:
    """What an entry may cost at its limit, fees apart; zero for sells."""
    return request.quantity * (request.price or ZERO) if request.side == "buy" else ZERO
