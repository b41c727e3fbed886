"""The nexus: what is believed now about each coin, in one place, each belief with its age.

It is written by three parties (prices from the live feed, distributions from the model runner, reference prices from
the market side) and read by everybody. A write replaces a value whole and then calls `on_change` straight away, in the
writer's own call: the engines decide before the write returns, with no queue in between. Nothing in here waits, and
nothing in here reads a clock that was not passed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from crypy.distributions.curve import HorizonCurve
from crypy.distributions.skew_t import ZeroMeanSkewStudentT
from crypy.domain.durations import DURATIONS, Duration
from crypy.domain.errors import DataError
from crypy.domain.events import Trigger
from crypy.domain.instruments import coin_of
from crypy.domain.markets import ReferenceSource
from crypy.domain.ports import Clock
from crypy.domain.times import iso
from crypy.domain.windows import Window, window_at
from crypy.forecasting.batch import ForecastBatch

OnChange = Callable[[str | None, Trigger], None]


@dataclass(frozen=True, slots=True)
class Price:
    """A midprice and the time it was true."""

    value: float
    time_us: int


@dataclass(frozen=True, slots=True)
class Reference:
    """The price a window is measured against, and where it is from."""

    window: Window
    price: float
    source: ReferenceSource
    time_us: int


@dataclass(frozen=True, slots=True)
class NexusView:
    """What is known of one coin and duration now; `None` where it is not known yet.

    `window` is the one that runs now. `dist` and `extra_dist` are the returns from `dist_end_us` to the ends of the
    window that ran then and of its successor; `curve` answers for any other horizon. `reference_*` belong to `window`.
    """

    coin: str
    duration: Duration
    window: Window
    price: float | None
    price_time_us: int | None
    reference_price: float | None
    reference_source: ReferenceSource
    dist: ZeroMeanSkewStudentT | None
    extra_dist: ZeroMeanSkewStudentT | None
    curve: HorizonCurve | None
    dist_end_us: int | None


class Nexus:
    """Prices, references and distributions of `coins` x `durations`.

    `on_change(coin, trigger)` is called after each change, with `None` when all coins changed. It runs inside the writer's call:
    what it raises reaches the writer.
    """

    def __init__(
        self, coins: Iterable[str], clock: Clock, on_change: OnChange, durations: Iterable[Duration] = DURATIONS
    ) -> None:
        self.coins = tuple(coins)
        self.durations = tuple(durations)
        self.on_change = on_change
        self.forecasts = 0
        self._clock = clock
        self._prices: dict[str, Price] = {}
        self._references: dict[tuple[str, Duration], Reference] = {}
        self._batch: ForecastBatch | None = None
        self._curves: dict[str, HorizonCurve] = {}

    def update_price(self, coin: str, price: float, time_us: int) -> None:
        """Replace the coin's midprice. Raises `DataError` for a coin that is not followed or a price that is no price.

        A time before the last one's is ignored: the newer price stays.
        """
        if coin not in self.coins:
            raise DataError(f"{coin} is not among the coins followed ({', '.join(self.coins)})")
        if not (price > 0.0 and math.isfinite(price)):
            raise DataError(f"{coin}: {price} is not a price; the last good one stays")
        last = self._prices.get(coin)
        if last is not None and time_us < last.time_us:
            return
        self._prices[coin] = Price(price, time_us)
        self.on_change(coin, "price")

    def update_reference(
        self, coin: str, duration: Duration, window: Window, price: float, source: ReferenceSource
    ) -> None:
        """Replace the price that `window` is measured against."""
        if not (price > 0.0 and math.isfinite(price)):
            raise DataError(f"{coin} {duration}: {price} is not a reference price; the last good one stays")
        self._references[(coin, duration)] = Reference(window, price, source, self._clock.now_us())
        self.on_change(coin, "reference")

    def update_dists(self, batch: ForecastBatch) -> None:
        """Replace all distributions at once, or none.

        Raises `DataError` naming the first invalid member; the batch before stays, with its age. A batch older than the last is refused
        in the same way.
        """
        if self._batch is not None and batch.end_us <= self._batch.end_us:
            raise DataError(
                f"a forecast of {iso(batch.end_us)} came after one of {iso(self._batch.end_us)}; the newer stays"
            )
        curves = self._checked_curves(batch)
        self._batch = batch
        self._curves = curves
        self.forecasts += 1
        self.on_change(None, "dists")

    def price(self, coin: str) -> Price | None:
        """The coin's last midprice."""
        return self._prices.get(coin)

    def curve(self, coin: str) -> HorizonCurve | None:
        """The coin's distributions over all horizons, from the last batch's end."""
        return self._curves.get(coin)

    @property
    def dist_end_us(self) -> int | None:
        """The moment the last batch forecast from."""
        return None if self._batch is None else self._batch.end_us

    @property
    def model(self) -> str:
        """The model behind the last batch, empty before the first."""
        return "" if self._batch is None else self._batch.model

    def history_s(self, coin: str) -> float:
        """Seconds of history behind the coin's last forecast, 0 before the first."""
        if self._batch is None:
            return 0.0
        grid = self._batch.grid
        return next((float(grid.history_s[i]) for i, s in enumerate(grid.symbols) if coin_of(s) == coin), 0.0)

    def view(self, coin: str, duration: Duration) -> NexusView:
        """Everything known of one coin and duration at the clock's now."""
        window = window_at(duration, self._clock.now_us())
        price = self._prices.get(coin)
        reference = self._references.get((coin, duration))
        if reference is not None and reference.window != window:
            reference = None
        forecast = None if self._batch is None else self._batch.windows.get((coin, duration))
        return NexusView(
            coin=coin,
            duration=duration,
            window=window,
            price=None if price is None else price.value,
            price_time_us=None if price is None else price.time_us,
            reference_price=None if reference is None else reference.price,
            reference_source="none" if reference is None else reference.source,
            dist=None if forecast is None else forecast.dist,
            extra_dist=None if forecast is None else forecast.extra_dist,
            curve=self._curves.get(coin),
            dist_end_us=self.dist_end_us,
        )

    def _checked_curves(self, batch: ForecastBatch) -> dict[str, HorizonCurve]:
        grid = batch.grid
        rows = {coin_of(symbol): row for row, symbol in enumerate(grid.symbols)}
        curves: dict[str, HorizonCurve] = {}
        for coin in self.coins:
            missing = [d for d in self.durations if (coin, d) not in batch.windows]
            if coin not in rows or missing:
                lacking = f"{coin} {missing[0]}" if missing else coin
                raise DataError(f"the forecast of {iso(batch.end_us)} lacks {lacking}; the last whole one stays")
            row = rows[coin]
            try:
                curves[coin] = HorizonCurve(grid.horizons_s, grid.scale[row], grid.skew[row], grid.tail[row])
            except DataError as error:
                raise DataError(f"the forecast of {iso(batch.end_us)} is invalid for {coin}: {error}") from None
        return curves
