"""Taking times: of single calls as quantiles, of loops as medians, always with their spread over rounds.

Whatever is compared takes turns, round by round, so that a busy moment of the machine does not fall on one of them alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from benchmarks.results import Spread

ROUNDS = 5
Call = Callable[[int], object]


class Latency(NamedTuple):
    """Quantiles of one call in microseconds, each the median over rounds."""

    p50: Spread
    p99: Spread
    p999: Spread


def scaled(number: int, effort: float, least: int = 1) -> int:
    """So much of a full run's number as the effort (0 to 1) allows."""
    return max(least, round(number * effort))


def latencies_us(
    ways: Mapping[str, Call], calls: int, rounds: int = ROUNDS, before: Mapping[str, Call] | None = None
) -> dict[str, Latency]:
    """Times of each way's `call(k)`, k counting on over all rounds; a tenth of a round goes before to warm up.

    `before[name](k)` makes each call of a way ready and is not timed.
    """
    ready, number = before or {}, dict.fromkeys(ways, 0)
    took = {name: np.empty((rounds, calls), np.int64) for name in ways}

    def run(name: str, row: np.ndarray) -> None:
        call, prepare, k = ways[name], ready.get(name), number[name]
        for index in range(len(row)):
            if prepare is not None:
                prepare(k)
            began = time.perf_counter_ns()
            call(k)
            row[index] = time.perf_counter_ns() - began
            k += 1
        number[name] = k

    for name in ways:
        run(name, np.empty(max(3, calls // 10), np.int64))
    for index in range(rounds):
        for name in ways:
            run(name, took[name][index])
    return {
        name: Latency(*(Spread.of(row.tolist()) for row in np.quantile(rows, (0.5, 0.99, 0.999), axis=1) / 1e3))
        for name, rows in took.items()
    }


def loops_s(loops: Mapping[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, Spread]:
    """Seconds of whole loops, after one of each that warms up."""
    for loop in loops.values():
        loop()
    took: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(rounds):
        for name, loop in loops.items():
            began = time.perf_counter()
            loop()
            took[name].append(time.perf_counter() - began)
    return {name: Spread.of(times) for name, times in took.items()}


def latency_us(call: Call, calls: int, rounds: int = ROUNDS) -> Latency:
    """`latencies_us` of one way alone."""
    return latencies_us({"": call}, calls, rounds)[""]


def loop_s(loop: Callable[[], object], rounds: int = ROUNDS) -> Spread:
    """`loops_s` of one loop alone."""
    return loops_s({"": loop}, rounds)[""]
