"""Each way in which a feature has fooled its author, planted, and caught by the check that is meant for it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from crypy.features.feature import Feature, Source
from crypy.features.indicators import EwmMean, LogReturn
from crypy.testing.feature_candles import delicate_bars
from crypy.testing.feature_checks import check_feature

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Made(Feature):
    """A feature of the close that is honest until a cheat replaces its fold: the change from the close before."""

    @property
    def inputs(self) -> tuple[Source, ...]:
        return ("close",)

    @property
    def warm_up(self) -> int:
        return 2

    @property
    def unit(self) -> str:
        return "price"

    @property
    def memory_size(self) -> int:
        return 1

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        close = inputs[0]
        out[:] = close - np.concatenate((memory, close[:-1]))
        memory[0] = close[-1]


class Honest(Made):
    pass


class PeeksThroughTheBase(Made):
    """A view knows the array that it is a view of, and with it the candle after."""

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        super().fold(memory, inputs, out)
        close = inputs[0]
        if close.base is not None and close.base.ndim == 2:
            begin = (close.__array_interface__["data"][0] - close.base.__array_interface__["data"][0]) // 8
            flat = close.base.reshape(-1)
            ahead = flat[begin + 1 : begin + 1 + len(close)]
            out[: len(ahead)] = ahead


class CentresItsWindow(Made):
    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        out[:] = np.convolve(inputs[0], np.ones(5) / 5, "same") if len(out) >= 5 else inputs[0]


class DividesByTheWhole(Made):
    """Standardised by mean and deviation of all rows that it is given."""

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        out[:] = (inputs[0] - inputs[0].mean()) / (inputs[0].std() + 1.0)


class FillsBackwards(Made):
    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        super().fold(memory, inputs, out)
        out[:-1] = np.where(out[:-1] == 0.0, out[1:], out[:-1])


class DriftsBySumsOfPieces(Made):
    """A running sum by cumsum, begun anew in every piece: right but for rounding."""

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        before = 0.0 if np.isnan(memory[0]) else memory[0]
        out[:] = before + np.cumsum(inputs[0] * 0.1)
        memory[0] = out[-1]


@dataclass(frozen=True)
class RemembersElsewhere(Made):
    held: list[float] = field(default_factory=list, compare=False, hash=False)

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        for row, close in enumerate(inputs[0]):
            out[row] = close - (self.held[-1] if self.held else close)
            self.held[:] = [float(close)]


class LeavesRowsAsTheyWere(Made):
    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        super().fold(memory, inputs, out.copy())
        moved = inputs[0] > 0.0
        out[moved & (np.arange(len(out)) % 7 > 0)] = 1.0


class WritesToItsInputs(Made):
    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        super().fold(memory, inputs, out)
        inputs[0][:] = np.log(inputs[0])


class TellsTooShortAWarmUp(Made):
    """Counts rows since its beginning, and calls itself warm at once."""

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        seen = 0.0 if np.isnan(memory[0]) else memory[0]
        out[:] = seen + np.arange(1, len(out) + 1)
        memory[0] = out[-1]


class DividesByNothing(Made):
    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        super().fold(memory, inputs, out)
        with np.errstate(divide="ignore", invalid="ignore"):
            out[:] = 1.0 / out


@dataclass(frozen=True)
class LosesItsParameter(Made):
    """Made again with the parameters that it shows, it is another: a model's artefact would hold the wrong one."""

    lag: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "lag", self.lag + 1)


class Raises(Made):
    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        raise RuntimeError("no luck")


CHEATS: dict[type[Made], str] = {
    PeeksThroughTheBase: "look-ahead",
    CentresItsWindow: "look-ahead",
    DividesByTheWhole: "look-ahead",
    FillsBackwards: "look-ahead",
    DriftsBySumsOfPieces: "warm-up",
    RemembersElsewhere: "memory",
    LeavesRowsAsTheyWere: "memory",
    WritesToItsInputs: "inputs kept",
    TellsTooShortAWarmUp: "warm-up",
    DividesByNothing: "finite",
    LosesItsParameter: "declared",
    Raises: "look-ahead",
}


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.__name__)
def test_a_cheat_is_caught_by_the_check_that_is_meant_for_it(cheat: type[Made]) -> None:
    report = check_feature(cheat())
    assert report[CHEATS[cheat]].outcome == "wrong", str(report)


def test_an_honest_feature_that_is_in_no_catalogue_passes() -> None:
    report = check_feature(Honest())
    assert report.ok, str(report)


def test_a_feature_made_of_a_cheat_is_caught() -> None:
    assert not check_feature(EwmMean(CentresItsWindow(), 5.0)).ok


@pytest.mark.parametrize("cheat", [CentresItsWindow, FillsBackwards, PeeksThroughTheBase])
def test_looking_ahead_also_shows_when_candles_come_one_by_one(cheat: type[Made]) -> None:
    assert check_feature(cheat())["pieces"].outcome == "wrong"


def test_bars_of_ones_own_are_taken() -> None:
    report = check_feature(LogReturn(5), delicate_bars(400, 9))
    assert report.ok, str(report)
    assert report.data == "400 bars of BTCUSDT"


def test_an_error_of_the_feature_is_told_in_its_words() -> None:
    assert "RuntimeError: no luck" in check_feature(Raises())["pieces"].sentence
