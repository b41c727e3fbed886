"""The simulated makers: which ladders they show for a probability. Pure functions of seed, market and time.

The makers are good but not perfect: they see the price late, and their log odds are off by a slow wave of their own (a sum of
four sines, about 0.12 at one standard deviation, which is three cents at even odds) that comes back to zero within minutes. So there
are edges sometimes, on either side, and none on average.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from crypy.domain.times import US_PER_S
from crypy.simulator.polymarket_book import WHOLE, Ladder

COARSE: Final = 10
FINE: Final = 1
# Beyond these the venue switches to the fine grid.
FINE_BELOW: Final = 40
FINE_ABOVE: Final = 960

_WAVE_PERIODS_S: Final = (37.0, 83.0, 190.0, 430.0)
_LEVELS: Final = 8
_MASK: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class MakerRules:
    """`lag_s`: how late makers see the price. `error` is in log odds (standard deviation), `half_spread` in thousandths at even odds."""

    lag_s: float = 0.4
    error: float = 0.3
    half_spread: float = 5.0
    idle_half_spread: float = 12.0


def believed(probability: float, seed: int, time_us: int, error: float) -> float:
    """The probability with the makers' error of the moment, between 0.0005 and 0.9995."""
    clipped = min(max(probability, 1e-6), 1.0 - 1e-6)
    odds = math.log(clipped / (1.0 - clipped)) + error * _wave(seed, time_us / US_PER_S)
    return min(max(1.0 / (1.0 + math.exp(-odds)), 0.0005), 0.9995)


def ladders(probability: float, half_spread: float, tick: int, seed: int, time_us: int) -> tuple[Ladder, Ladder]:
    """Bids and asks for Up around the probability, on the grid of `tick` thousandths; a side without room is empty."""
    middle = probability * WHOLE
    # Even odds are the riskiest to quote; towards certainty makers come closer.
    half = max(half_spread * 2.0 * math.sqrt(probability * (1.0 - probability)), tick / 2)
    best_bid = math.floor((middle - half) / tick) * tick
    best_ask = max(math.ceil((middle + half) / tick) * tick, best_bid + tick)
    bids = {p: _size(seed, p, k, time_us) for k in range(_LEVELS) if (p := best_bid - k * tick) >= tick}
    asks = {p: _size(~seed, p, k, time_us) for k in range(_LEVELS) if (p := best_ask + k * tick) <= WHOLE - tick}
    return bids, asks


def wants_fine_grid(probability: float) -> bool:
    """Whether the price is where the venue quotes in tenths of a cent."""
    return not FINE_BELOW <= probability * WHOLE <= FINE_ABOVE


def _wave(seed: int, time_s: float) -> float:
    """A slow wave of variance one."""
    total = 0.0
    for k, period_s in enumerate(_WAVE_PERIODS_S):
        phase = (_mixed(seed + k) & 0xFFFF) / 0xFFFF * math.tau
        total += math.sin(math.tau * time_s / period_s + phase)
    return total / math.sqrt(len(_WAVE_PERIODS_S) / 2.0)


def _size(seed: int, price: int, depth: int, time_us: int) -> int:
    """Hundredths of a share: a few at the best price, hundreds deeper. Each level changes every half to six seconds."""
    level = _mixed(seed ^ price * 0x9E3779B1)
    lasts_us = 500_000 + (level & 0xFFFF) * 84
    draw = _mixed(level ^ time_us // lasts_us)
    shares = 12 + (draw & 0xFF) // 4 + depth * (20 + (draw >> 8 & 0x7F))
    cents = 0 if draw >> 16 & 1 else draw >> 17 & 0x3F
    return shares * 100 + cents


def _mixed(value: int) -> int:
    """SplitMix64's finaliser: neighbouring numbers give unrelated ones."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & _MASK
    return value ^ value >> 31
