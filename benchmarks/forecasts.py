"""`python -m benchmarks forecasts [--model FOLDER ...] [--quarter-hours]`: every baseline on recorded bars, beside published numbers.

How good, not how fast, though it tells the times too: log score, CRPS and coverage per coin and horizon on bars after those that each model was fitted on,
each model's gain over the volatility baseline with a standard error from a bootstrap of blocks of days. The published numbers are in
`published_forecasts.json`. A model of one's own is judged beside them, if its data end before the range; that look at the range is written into
the trial ledger of the data folder first, as those of `crypy model eval` are.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from crypy.app.model.data import models_folder
from crypy.domain.errors import CrypyError, DataError
from crypy.domain.times import US_PER_S, iso, parse_time_us
from crypy.marketdata.candle_files import read_candles
from crypy.models import load_model
from crypy.models.artefact import read_card
from crypy.models.baselines.fitting import BaselineSettings
from crypy.models.dataset import Dataset
from crypy.models.fitting import FitSettings
from crypy.models.hindcast import Hindcast, hindcasts
from crypy.models.kinds import kind_of
from crypy.models.port import Model
from crypy.runtime.clocks import SystemClock
from crypy.training.evaluation import EvaluatedRange, Evaluation, HorizonScore
from crypy.training.registry import card_fingerprint
from crypy.training.scoring import evaluate
from crypy.training.trials import Trial, TrialLedger

HERE: Final = Path(__file__).resolve().parent
REFERENCE: Final = "volatility-baseline"
KINDS: Final = (
    "climatology", "climatology-normal", "seasonal", "ewma", "ewma-normal", "ewma-season", "har", REFERENCE,
    "har-season-normal", "har-ranges", "garch", "garch-season",
)  # fmt: skip
_FOLDERS: Final = {"1m": "klines_1m/binance_spot", "15m": "klines_15m/binance_spot_api"}
_SHARES: Final = ("below_5", "below_25", "below_75", "below_95")


class Split(msgspec.Struct, frozen=True):
    """Where to cut, and what was published: levels of climatology in nats, gains over it, CRPS in basis points, by symbol and horizon."""

    interval: str
    fit: str
    split: str
    end: str
    spacing_s: int
    horizons_s: tuple[int, ...]
    climatology: dict[str, tuple[float, ...]]
    gain: dict[str, dict[str, tuple[float, ...]]]
    crps_bp: dict[str, dict[str, tuple[float, ...]]]
    half_lives_s: dict[str, tuple[float, ...]] = {}

    def level(self, kind: str, symbol: str, column: int) -> float | None:
        """The published log score of a cell, `None` where there is none."""
        if kind == "climatology":
            return self.climatology[symbol][column]
        row = self.gain.get(kind)
        return None if row is None else self.climatology[symbol][column] - row[symbol][column]


class Published(msgspec.Struct, frozen=True):
    """`published_forecasts.json`."""

    about: str
    minutes: Split
    quarter_hours: Split


@dataclass(frozen=True, slots=True)
class Timed:
    """One model's forecasts of the range, and the seconds that fitting and forecasting took."""

    cast: Mapping[str, Hindcast]
    fit_s: float | None
    forecast_s: float


def published() -> Published:
    """What others measured."""
    return msgspec.json.decode((HERE / "published_forecasts.json").read_bytes(), type=Published)


def datasets(split: Split, folder: Path) -> tuple[Dataset, Dataset]:
    """What is fitted on, and what is judged on."""
    first, middle, last = (parse_time_us(day) // US_PER_S for day in (split.fit, split.split, split.end))
    source = folder / _FOLDERS[split.interval]
    bars = {symbol: read_candles(source, symbol).bars for symbol in split.climatology}
    fit = Dataset.of(bars, first, middle, spacing_s=split.spacing_s, horizons_s=split.horizons_s)
    whole = Dataset.of(bars, first, last, spacing_s=split.spacing_s, horizons_s=split.horizons_s)
    return fit, whole.between(middle, last)


def fitted(kind: str, dataset: Dataset) -> Model:
    """A kind fitted at the horizons that are judged; the volatility baseline by plain likelihood, as it was published."""
    horizons = dataset.horizons_s
    if kind == REFERENCE:
        settings = FitSettings(horizons_s=horizons, prior_strength=0.0, spacing_s=dataset.spacing_s)
        return kind_of(kind).fit_on(dataset, settings=settings)
    return kind_of(kind).fit_on(dataset, settings=BaselineSettings(horizons_s=horizons))


def forecasts(kinds: Sequence[str], models: Sequence[Path], fit: Dataset, judged: Dataset) -> dict[str, Timed]:
    """Every model's forecasts by name. Raises `DataError` for an artefact that has seen the range."""
    horizons = np.array(judged.horizons_s, np.float64)
    out: dict[str, Timed] = {}
    for name in (*kinds, *models):
        print(f"{name} ...", file=sys.stderr, flush=True)
        began = time.perf_counter()
        model = fitted(name, fit) if isinstance(name, str) else _loaded(name, judged)
        ready = time.perf_counter()
        cast = hindcasts(model, judged, horizons)
        done = time.perf_counter()
        label = name if isinstance(name, str) else name.name
        out[label] = Timed(cast, ready - began if isinstance(name, str) else None, done - ready)
    return out


def looks(models: Sequence[Path], split: Split, judged: Dataset) -> tuple[Trial, ...]:
    """What the trial ledger is told of these artefacts, before any is judged. Raises `DataError` for one that cannot be read."""
    middle, last = (parse_time_us(day) // US_PER_S for day in (split.split, split.end))
    fingerprint = judged.fingerprint()
    return tuple(
        Trial(
            what="look", kind=read_card(folder).kind, settings=card_fingerprint(folder), data=fingerprint, start_s=middle, end_s=last,
            study="benchmark",
        )
        for folder in models
    )  # fmt: skip


def _loaded(folder: Path, judged: Dataset) -> Model:
    card = read_card(folder)
    if card.fit_end_s > judged.start_s:
        raise DataError(
            f"{folder} was fitted on data up to {iso(card.fit_end_s * US_PER_S)}, the range begins"
            f" {iso(judged.start_s * US_PER_S)}; train it on less"
        )
    model = load_model(folder)
    if set(model.schema.symbols) != set(judged.symbols):
        raise DataError(f"{folder} forecasts {', '.join(model.schema.symbols)}, judged are {', '.join(judged.symbols)}")
    return model


def tables(split: Split, timed: Mapping[str, Timed], evaluation: Evaluation) -> str:
    """All tables as Markdown."""
    cells = [(symbol, column) for symbol in split.climatology for column in range(len(split.horizons_s))]
    heads = [f"{symbol.removesuffix('USDT')} {_horizon(split.horizons_s[column])}" for symbol, column in cells]

    def score(model: str, symbol: str, column: int) -> HorizonScore:
        return evaluation.of(model).score(symbol, split.horizons_s[column])

    levels: list[list[str]] = []
    errors: list[list[str]] = []
    crps: list[list[str]] = []
    gains: list[list[str]] = []
    for model in timed:
        own = [score(model, *cell) for cell in cells]
        levels.append([model, *(f"{one.nll:.4f}" for one in own)])
        known = [split.level(model, *cell) for cell in cells]
        if None not in known:
            errors.append([model, *(f"{one.nll - (level or 0.0):+.4f}" for one, level in zip(own, known, strict=True))])
        crps.append([model, *(f"{one.crps_bp:.3f}" for one in own)])
        if model != REFERENCE:
            gains.append([model, *(_gain(one) for one in own)])
    covered = [
        [f"{model}, {share.replace('_', ' ')} %", *(f"{score(model, *cell).coverage[share]:.3f}" for cell in cells)]
        for model in timed
        if model in (REFERENCE, "har-season-normal") or model not in KINDS
        for share in _SHARES
    ]
    parts = (
        ("Negative log likelihood, nats (lower is better)", heads, levels),
        ("Ours less the published number, nats", heads, errors),
        (f"Gain in log score over {REFERENCE}, nats, with its standard error", heads, gains),
        ("CRPS, basis points", heads, crps),
        ("Share of returns below forecast quantiles", heads, covered),
        ("Time", ["fit, s", "forecasts of an origin, 1/s"], [_times(name, one) for name, one in timed.items()]),
    )  # fmt: skip
    return "\n\n".join(f"{title}:\n\n{_markdown(['model', *head], rows)}" for title, head, rows in parts)


def _times(name: str, timed: Timed) -> list[str]:
    origins = sum(len(cast.origins_s) for cast in timed.cast.values())
    return [name, "" if timed.fit_s is None else f"{timed.fit_s:.1f}", f"{origins / timed.forecast_s:,.0f}"]


def _gain(one: HorizonScore) -> str:
    found = one.vs[REFERENCE]["nll"]
    return f"{found.gain:+.4f}" + ("" if found.se is None else f" ± {found.se:.4f}")


def _horizon(horizon_s: int) -> str:
    for unit_s, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if horizon_s % unit_s == 0:
            return f"{horizon_s // unit_s}{unit}"
    return f"{horizon_s}s"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(arguments: Sequence[str]) -> int:
    """Exit code 1 with one sentence where something is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks forecasts", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--model", type=Path, action="append", default=[], help="an artefact folder to judge as well")
    parser.add_argument("--kind", action="append", default=[], help=f"only these of {', '.join(KINDS)}")
    parser.add_argument("--quarter-hours", action="store_true", help="SOL and XRP on bars of 15 minutes")
    parser.add_argument("--data", type=Path, default=_data(), help="folder of recorded bars (default: %(default)s)")
    parser.add_argument("--data-dir", type=Path, help="crypy's data folder, which has the trial ledger")
    chosen = parser.parse_args(arguments)
    unknown = [kind for kind in chosen.kind if kind not in KINDS]
    if unknown:
        parser.error(f"there is no baseline {', '.join(unknown)}; there are {', '.join(KINDS)}")
    split = published().quarter_hours if chosen.quarter_hours else published().minutes
    kinds = [kind for kind in KINDS if not chosen.kind or kind in (*chosen.kind, REFERENCE)]
    try:
        fit, judged = datasets(split, chosen.data)
        ledger = TrialLedger(models_folder(chosen.data_dir), SystemClock())
        begun = [ledger.begin(look) for look in looks(chosen.model, split, judged)]
        timed = forecasts(kinds, chosen.model, fit, judged)
        ends = EvaluatedRange(start=split.split, end=split.end, spacing_s=split.spacing_s)
        found = evaluate({name: one.cast for name, one in timed.items()}, [REFERENCE], ends)
        for look, folder in zip(begun, chosen.model, strict=True):
            scores = found.of(folder.name).scores
            ledger.end(look, "done", sum(one.nll for one in scores) / len(scores))
    except CrypyError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Fitted on {split.fit} to {split.split}, judged to {split.end}, origins every {split.spacing_s} s.\n")
    print(tables(split, timed, found))
    if begun:
        print(f"\nThe look of {len(begun)} model{'s' * (len(begun) > 1)} at this range is in {ledger.path}.")
    return 0


def _data() -> Path:
    return Path(os.environ.get("CRYPY_SHARED_DATA", HERE.parents[1] / "shared" / "data"))
