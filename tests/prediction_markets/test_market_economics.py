"""Whether the decision earns anything where it should, and stays out where it should: many windows of a known law."""

from __future__ import annotations

import math

import numpy as np
from markets_kit import FEES, POINT, SIGMA, market, view

from crypy.prediction_markets.engine import decide, probability_of_up
from crypy.prediction_markets.fees import taker_fee
from crypy.prediction_markets.parameters import Parameters
from crypy.prediction_markets.plans import Buy

WINDOWS = 250
PARAMETERS = Parameters(book_weight=0.5)


def play(book_error: float, model_error: float, seed: int) -> tuple[int, float, float]:
    """Windows in which at most one order is made, ten seconds apart: orders, profit per share bought, its standard error.

    The book is quoted two cents wide around the true chance, off by `book_error`; the engine's own chance comes from a price
    that is off by `model_error` (in logs).
    """
    rng, profits = np.random.default_rng(seed), list[float]()
    rules = market(settlement=POINT)
    for _ in range(WINDOWS):
        path = np.cumsum(rng.normal(0.0, SIGMA * math.sqrt(10.0), 30))
        for step in range(25):
            left_s = 300.0 - 10.0 * (step + 1)
            price = 100.0 * math.exp(path[step])
            true = probability_of_up(view(left_s=left_s, price=price, of=rules)).probability  # type: ignore[union-attr]
            mid = min(max(round(true + rng.normal(0.0, book_error), 2), 0.02), 0.98)
            seen = view(
                left_s=left_s, price=price * math.exp(rng.normal(0.0, model_error)), up_bid=round(mid - 0.01, 2),
                up_ask=round(mid + 0.01, 2), of=rules,
            )  # fmt: skip
            plan = decide(seen, PARAMETERS)
            if isinstance(plan, Buy):
                won = (path[-1] >= 0.0) == (plan.token == "up")
                cost = plan.price + taker_fee(FEES, plan.price, plan.quantity) / plan.quantity
                profits.append(float(won) - float(cost))
                break
    spread = float(np.std(profits)) / math.sqrt(len(profits)) if profits else 0.0
    return len(profits), float(np.mean(profits)) if profits else 0.0, spread


def test_a_book_that_is_right_is_left_alone():
    orders, _, _ = play(book_error=0.0, model_error=0.0, seed=1)
    assert orders == 0
    # Even by a model that sees the price half a basis point wrong.
    orders, _, _ = play(book_error=0.0, model_error=0.5e-4, seed=2)
    assert orders < WINDOWS * 0.02


def test_a_book_that_errs_pays_after_all_costs():
    orders, profit, error = play(book_error=0.08, model_error=0.0, seed=3)
    assert orders > WINDOWS * 0.5
    assert profit > 2.0 * error
