"""The desk: the one door through which orders of an account go out.

request -> stamp -> review -> ledger (the intent, durable) -> venue -> ledger (the answer and its fills). Nothing goes
out that is not in the ledger; nothing is sent twice; what the venue did not answer is asked about, never guessed.
Until the first reconciliation has passed, and whenever one finds what it cannot explain, the desk refuses everything.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from decimal import Decimal

import msgspec
from msgspec.structs import replace

from crypy.domain.errors import CrypyError, Rejected, StateError, VenueError
from crypy.domain.markets import PredictionMarket
from crypy.domain.orders import OrderRequest, OrderState
from crypy.domain.ports import Clock, OrderPort
from crypy.domain.settlement import Outcome
from crypy.domain.times import US_PER_S
from crypy.execution.answers import Answers
from crypy.execution.exposure import Exposure, measure
from crypy.execution.limits import Limits, Mode, Refused
from crypy.execution.reconcile import Reconciliation, Redeemer, book_fills, reconcile
from crypy.execution.review import Approved, review
from crypy.execution.stamp import Stamp, verify
from crypy.ledger.ledger import Ledger
from crypy.ledger.values import Listing, Redemption

_MINUTE_US = 60 * US_PER_S
_MODE = "mode"
# While halted, the venue is asked again this often.
_RETRY_S = 5.0


class DeskStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The desk at a glance. `halted` says why nothing is sent, empty if orders may go; `refusals` counts by limit."""

    account: str
    mode: Mode
    halted: str
    submitted: int
    refusals: dict[str, int]
    last_refusal: Refused | None
    open_orders: int
    reconciled: Reconciliation | None


class Desk:
    """One account's desk.

    `listing_of` tells what a symbol is (`None`: unknown, refused), `mid_of` its midprice (`None`: none now).
    `stamp_key` is the key of the account's holder (`StampIssuer`), `redeemer` the venue's payouts where it has them.
    `grace_s` is how long an order may be unknown to the venue before it is given up; `reconcile_every_s` in the
    clock's time.
    """

    def __init__(
        self,
        *,
        account: str,
        ledger: Ledger,
        port: OrderPort,
        limits: Limits,
        clock: Clock,
        listing_of: Callable[[str], Listing | None],
        mid_of: Callable[[str], Decimal | None],
        stamp_key: bytes,
        redeemer: Redeemer | None = None,
        grace_s: float = 10.0,
        reconcile_every_s: float = 60.0,
    ) -> None:
        self.account = account
        self.limits = limits
        self._ledger = ledger
        self._port = port
        self._clock = clock
        self._listing_of = listing_of
        self._mid_of = mid_of
        self._stamp_key = stamp_key
        self._redeemer = redeemer
        self._grace_s = grace_s
        self._reconcile_every_s = reconcile_every_s
        self._mode: Mode = _mode(ledger.control(account, _MODE))
        self._halted = "not reconciled yet"
        self._reconciled: Reconciliation | None = None
        self._answers = Answers(account, ledger, port, self._halt)
        # Approved and not in the ledger yet: counted as at risk from the moment of review.
        self._on_the_way: dict[str, Approved] = {}
        self._sending: set[str] = set()
        self._all_sent = asyncio.Event()
        self._all_sent.set()
        self._comparing = asyncio.Lock()
        self._nudged = asyncio.Event()
        self._sent_us: deque[int] = deque()
        self._submitted = 0
        self._refusals: dict[str, int] = {}
        self._last_refusal: Refused | None = None

    async def submit(self, request: OrderRequest, stamp: Stamp | None = None) -> OrderState | Refused:
        """Have an order done: the order as the ledger knows it after the venue's first answer, or why it was refused.

        A venue's no is an order that is `rejected` with the venue's words; an outcome that nobody knows is `unknown`.
        """
        if request.created_us == 0:
            request = replace(request, created_us=self._clock.now_us())
        verdict = self.review(request, stamp)
        if isinstance(verdict, Refused):
            return self._refuse(verdict)
        # No pause between review and send's first step: what was approved counts before anything else is reviewed.
        return await self.send(verdict)

    def review(self, request: OrderRequest, stamp: Stamp | None = None) -> Approved | Refused:
        """The verdict on an order as things stand; sends nothing."""
        traded = self._listing_of(request.symbol)
        if traded is None or (traded.venue, self.account) != (request.venue, request.account):
            text = f"{request.venue}:{request.symbol} on account {request.account} is not traded at this desk"
            return Refused(text, "listing", request.symbol)
        used = self._ledger.stamp_used(self.account, stamp.nonce) if stamp else Decimal(0)
        used += sum(
            (a.use.amount for a in self._on_the_way.values() if a.use and stamp and a.use.nonce == stamp.nonce),
            Decimal(0),
        )
        stamped = verify(request, traded, stamp, self._stamp_key, used, self._clock.now_us())
        if isinstance(stamped, Refused):
            return stamped
        return review(stamped, self.exposure(traded), self.limits)

    def exposure(self, traded: Listing) -> Exposure:
        """What the account has at risk, as far as an order of this instrument is concerned."""
        now_us = self._clock.now_us()
        while self._sent_us and self._sent_us[0] <= now_us - _MINUTE_US:
            self._sent_us.popleft()
        on_the_way = [(approved.request, approved.traded) for approved in self._on_the_way.values()]
        measured = measure(self._ledger.view(self.account), on_the_way, traded, self._mid_of, now_us)
        halted = self._halted or ("a reconciliation is under way" if self._comparing.locked() else "")
        return replace(measured, orders_last_minute=len(self._sent_us), mode=self._mode, halted=halted)

    async def send(self, approved: Approved) -> OrderState | Refused:
        """Write the intent, send the order, write the answer."""
        request = approved.request
        if request.client_id in self._sending or request.account != self.account:
            return self._refuse(Refused(f"order {request.client_id} is being sent already", "client_id"))
        self._sending.add(request.client_id)
        self._all_sent.clear()
        try:
            return await self._send(approved)
        finally:
            self._sending.discard(request.client_id)
            if not self._sending:
                self._all_sent.set()

    async def _send(self, approved: Approved) -> OrderState | Refused:
        request = approved.request
        self._on_the_way[request.client_id] = approved
        self._sent_us.append(self._clock.now_us())
        try:
            await self._ledger.record_intent(request, approved.traded, approved.use)
        except CrypyError as error:
            return self._refuse(Refused(f"not sent, because it could not be written down: {error}", "ledger"))
        finally:
            del self._on_the_way[request.client_id]
        self._submitted += 1
        if self._mode == "stopped" or self._halted:
            reason = self._halted or "stopped before it was sent"
            return await self._answers.write(request, "cancelled", reason)
        self._ledger.note_sent(self.account, request.client_id)
        try:
            state = await self._port.submit(request)
        except Rejected as error:
            return await self._answers.write(request, "rejected", str(error))
        except VenueError as error:
            await self._answers.write(request, "unknown", str(error))
            return await self._answers.ask(request)
        return await self._answers.book(state)

    async def cancel(self, client_id: str) -> OrderState:
        """Take an order back. Returns it as it is afterwards: it may have been filled before.

        Raises `StateError` for an order that is not in the ledger, `VenueError` when the venue did not answer: then
        nothing is known, and the next reconciliation asks again.
        """
        ours = await self._ledger.order(client_id)
        if ours is None:
            raise StateError(f"order {client_id} is not in the ledger of {self.account}; nothing to cancel")
        try:
            state = await self._port.cancel(client_id)
        except Rejected:
            return await self._answers.ask(ours.request)
        return await self._answers.book(state)

    async def cancel_all(self) -> tuple[OrderState, ...]:
        """Take back every order that rests; those of which the venue did not answer are as the ledger knows them."""
        results: list[OrderState] = []
        for state in self._ledger.open_orders(self.account):
            try:
                results.append(await self.cancel(state.request.client_id))
            except VenueError:
                results.append(state)
        return tuple(results)

    async def kill(self, reason: str) -> tuple[OrderState, ...]:
        """Stop everything now: nothing is sent any more, resting orders are taken back. Outlives the process."""
        try:
            await self._set_mode("stopped", reason)
        finally:
            # Even where the switch could not be written: what rests is taken back in any case.
            cancelled = await self.cancel_all()
        return cancelled

    async def no_new_entries(self, reason: str) -> None:
        """From now on only orders that reduce a position. Outlives the process."""
        await self._set_mode("reduce_only", reason)

    async def release(self, reason: str) -> None:
        """Trade normally again after `kill` or `no_new_entries`."""
        await self._set_mode("normal", reason)

    async def settle(self, market: PredictionMarket, outcome: Outcome) -> Redemption:
        """Have a settled market's tokens paid out and book it, once however often it is asked.

        Raises `StateError` where the venue pays nothing out or the market still runs, `VenueError` when it does not
        answer.
        """
        if self._redeemer is None:
            raise StateError(f"{self.account}: the venue of {market.slug} has no payouts")
        async with self._comparing:
            redemption = await self._redeemer.redeem(market, outcome)
            symbols = (redemption.up_symbol, redemption.down_symbol)
            await book_fills(self.account, self._ledger, self._port)
            for state in self._ledger.open_orders(self.account):
                if state.request.symbol in symbols and state.request.client_id not in self._sending:
                    await self._answers.ask(state.request)
            await self._ledger.record_settlement(self.account, redemption)
        return redemption

    async def start(self) -> Reconciliation:
        """Compare with the venue; orders go out only if nothing unexplained was found."""
        return await self.reconcile()

    async def reconcile(self) -> Reconciliation:
        """Compare ledger and venue, repair what is safe, halt on the rest. New orders are refused meanwhile."""
        async with self._comparing:
            await self._all_sent.wait()
            found = await reconcile(self.account, self._ledger, self._port, self._redeemer, self._clock, self._grace_s)
        self._reconciled = found
        self._halted = found.halted
        return found

    def nudge(self) -> None:
        """The venue has news (a resting order filled): have them fetched soon. A straight call."""
        self._nudged.set()

    async def run(self) -> None:
        """Start if that was not done, then fetch news when nudged and reconcile now and then, until cancelled."""
        if self._reconciled is None:
            await self.start()
        compared_us = self._clock.now_us()
        while True:
            every_s = min(self._reconcile_every_s, _RETRY_S) if self._halted else self._reconcile_every_s
            left_s = every_s - (self._clock.now_us() - compared_us) / US_PER_S
            if left_s > 0 and await self._nudge_within(left_s):
                await self._answers.fetch_fills()
            else:
                await self.reconcile()
                compared_us = self._clock.now_us()

    def status(self) -> DeskStatus:
        """The desk at a glance."""
        return DeskStatus(
            account=self.account,
            mode=self._mode,
            halted=self._halted,
            submitted=self._submitted,
            refusals=dict(self._refusals),
            last_refusal=self._last_refusal,
            open_orders=len(self._ledger.open_orders(self.account)),
            reconciled=self._reconciled,
        )

    async def _nudge_within(self, seconds: float) -> bool:
        """Whether a nudge came before that much time had passed."""
        nudge = asyncio.ensure_future(self._nudged.wait())
        timer = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({nudge, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            nudge.cancel()
            timer.cancel()
        was_nudged = self._nudged.is_set()
        self._nudged.clear()
        return was_nudged

    def _halt(self, reason: str) -> None:
        self._halted = reason
        self._nudged.set()

    async def _set_mode(self, mode: Mode, reason: str) -> None:
        # In force before it is written: a full disk does not keep the switch from working.
        self._mode = mode
        await self._ledger.record_control(self.account, _MODE, mode, reason)

    def _refuse(self, refused: Refused) -> Refused:
        self._refusals[refused.limit] = self._refusals.get(refused.limit, 0) + 1
        self._last_refusal = refused
        return refused


def _mode(text: str) -> Mode:
    match text:
        case "" | "normal":
            return "normal"
        case "reduce_only":
            return "reduce_only"
        case _:
            return "stopped"  # stopped, or a word of a newer version: the careful reading
