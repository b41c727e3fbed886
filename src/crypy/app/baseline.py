"""The baseline of `crypy up`, fitted on what is stored and audited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import structlog

from crypy.app.data.stores import VENUE
from crypy.app.road import Road
from crypy.domain.errors import CrypyError, Incomplete
from crypy.domain.ports import Clock
from crypy.domain.times import DAY_S, US_PER_S
from crypy.marketdata.audit import SymbolAudit, audit
from crypy.marketdata.audited import audited_bars
from crypy.marketdata.bars import Bars
from crypy.marketdata.store import TradeStore
from crypy.models.dataset import Dataset
from crypy.models.fitting import FitSettings, fit_baseline
from crypy.models.hindcast import Hindcast, hindcasts
from crypy.models.volatility import VolatilityBaseline

log = structlog.get_logger()

_LATELY_S: Final = 14 * DAY_S
_EVERY_S: Final = 60


@dataclass(frozen=True, slots=True)
class Fitted:
    """A baseline and the second bars that it was fitted on, none for the prior."""

    model: VolatilityBaseline
    bars: Mapping[str, Bars]

    def lately(self, horizons_s: tuple[int, ...]) -> dict[str, Hindcast]:
        """What it would have forecast each minute of the last two weeks, of what the bars hold after their first day; empty for the prior. Blocks for seconds."""
        if not self.bars:
            return {}
        # What is unknown at either end of one symbol's bars is asked of none.
        end_s = min(one.end_s for one in self.bars.values())
        start_s = max(end_s - _LATELY_S, max(one.start_s for one in self.bars.values()) + DAY_S)
        if start_s >= end_s:
            return {}
        data = Dataset.of(self.bars, start_s, end_s, spacing_s=_EVERY_S, horizons_s=horizons_s)
        return hindcasts(self.model, data, np.array(horizons_s, np.float64))


def audit_new(store: TradeStore, symbol: str, clock: Clock) -> SymbolAudit:
    """Prove what is not marked as audited, and tell the log of what is wrong. Blocks."""
    found = audit(store, VENUE, symbol, clock, only_new=True)
    for bad in found.bad:
        log.warning("audit.bad_day", symbol=symbol, day=bad.day, reasons="; ".join(bad.reasons), fate=bad.fate)
    return found


def fit_stored(
    store: TradeStore, road: Road, folder: Path | None, symbols: tuple[str, ...] = (), base_step_s: int = 1
) -> Fitted:
    """The baseline fitted on the stored history of some symbols (all of the road's) up to now, after an audit of what was not audited yet.

    The prior where a symbol has no history. Kept in `folder`, if there is one. Blocks for seconds: call it in a thread.
    """
    chosen = symbols or road.symbols
    bars: dict[str, Bars] = {}
    for symbol in chosen:
        found = _audited(store, road, symbol)
        if found is None:
            return Fitted(VolatilityBaseline.prior(chosen, base_step_s), {})
        bars[symbol] = found
    model = fit_baseline(bars, settings=FitSettings(base_step_s=base_step_s))
    if folder is not None:
        _save(model, folder)
    return Fitted(model, bars)


def _audited(store: TradeStore, road: Road, symbol: str) -> Bars | None:
    """Bars of what may be learned from, `None` where there are none. A bad day that came back as it was is unknown to the model."""
    found = audit_new(store, symbol, road.clock)
    first_us, last_us = found.coverage.first_time_us, found.coverage.last_time_us
    if first_us is None or last_us is None or road.history_start_us is None:
        return None
    start_s = -(-max(first_us, road.history_start_us) // US_PER_S)
    end_s = min(last_us, road.clock.now_us()) // US_PER_S
    try:
        return audited_bars(store, VENUE, symbol, start_s, end_s, leave_out=[bad.day for bad in found.bad])
    except Incomplete:
        return None


def _save(model: VolatilityBaseline, folder: Path) -> None:
    """Keep the artefact; a disk that takes none does not keep the model from being used."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        model.save(folder)
    except (CrypyError, OSError) as error:
        log.warning("model.not_saved", folder=str(folder), error=str(error))
