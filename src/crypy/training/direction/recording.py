"""What a fitted direction model says of its fit: its log loss beside that of constant chances, on what it learned from and on what was held out."""

from __future__ import annotations

from typing import Any, Final, Protocol

import msgspec
import numpy as np

from crypy.models.artefact import Metric
from crypy.models.direction.market import Market
from crypy.models.direction.port import Member, Probabilities
from crypy.models.volatility import FitRecord
from crypy.training.direction.examples import Examples, data_fingerprint, log_losses
from crypy.training.direction.trainer_settings import DirectionTrainer

# Closes that are scored in sample: enough for three digits, and a minute's model is not asked about a million of them.
_MOST_SCORED: Final = 40_000


class Fitted(Member, Protocol):
    """A member that can be kept."""

    def with_record(self, record: FitRecord) -> Any: ...


def recorded(
    market: Market,
    member: Fitted,
    learnt: Examples,
    held_out: Examples | None,
    trainer: DirectionTrainer,
    range_s: tuple[int, int],
    made_us: int,
) -> Any:
    """The model with the record of its fit on the closes of `range_s`; the same class comes back."""
    constant = frequencies(learnt)
    seen = learnt.asked().thinned(_MOST_SCORED)
    told: dict[str, Any] = {"trainer": msgspec.to_builtins(trainer), "examples": int(learnt.known.sum())}
    metrics = _scored(market, member, seen)
    baseline = _losses(constant, seen)
    told["in_sample_gain"] = {one.symbol: round(baseline[at] - one.nll, 6) for at, one in enumerate(metrics)}
    if held_out is not None:
        baseline = _losses(constant, held_out)
        told["held_out_start_s"] = int(held_out.ends_s[0])
        told["held_out_gain"] = {
            one.symbol: round(baseline[at] - one.nll, 6) for at, one in enumerate(_scored(market, member, held_out))
        }
    fingerprint = data_fingerprint(market, learnt.inputs, range_s[1])
    return member.with_record(FitRecord(*range_s, fingerprint, metrics, told, seed=trainer.seed, made_us=made_us))


def frequencies(examples: Examples) -> np.ndarray:
    """Shares of up and down of each symbol [symbol, 2]; each of the three outcomes has been seen once more than it was."""
    found = np.empty((examples.known.shape[1], 2))
    for symbol in range(len(found)):
        happened = examples.outcomes[examples.known[:, symbol], symbol]
        found[symbol] = [(np.sum(happened == side) + 1.0) / (len(happened) + 3.0) for side in (1, -1)]
    return found


def _scored(market: Market, member: Member, examples: Examples) -> tuple[Metric, ...]:
    losses, known = log_losses(member.ask(market, examples.rows), examples)
    return tuple(
        Metric(symbol, float(member.timeframe_s), int(known[:, at].sum()), _mean(losses[known[:, at], at]))
        for at, symbol in enumerate(member.symbols)
    )


def _losses(constant: np.ndarray, examples: Examples) -> list[float]:
    """Mean log loss of constant chances by symbol."""
    shape = examples.known.shape
    same = Probabilities(np.broadcast_to(constant[:, 0], shape), np.broadcast_to(constant[:, 1], shape))
    losses, known = log_losses(same, examples)
    return [_mean(losses[known[:, at], at]) for at in range(shape[1])]


def _mean(losses: np.ndarray) -> float:
    return float(losses.mean()) if len(losses) else 0.0
