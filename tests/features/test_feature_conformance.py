"""Every indicator of the catalogue passes the checks that plug-in authors get, and its catalogue entry is complete."""

from __future__ import annotations

import inspect
import json

import numpy as np
import pytest
from feature_kit import EXAMPLES, candle_of, empty_state, real_minutes
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.errors import ConfigError
from crypy.features import indicators
from crypy.features.catalogue import CATALOGUE, feature_of, spec_of
from crypy.features.feature import Feature, kind_of
from crypy.features.indicators import ClosePosition, EwmMean, LogReturn, Ratio
from crypy.features.store import FeatureStore
from crypy.testing.feature_candles import between, changed_from, delicate_bars
from crypy.testing.feature_checks import check_feature, cut, differs, folded

BARS = delicate_bars(1_200, 5)
WHOLE = {feature: folded(feature, [BARS]).copy() for feature in ()}


def whole(feature: Feature) -> np.ndarray:
    if feature not in WHOLE:
        WHOLE[feature] = folded(feature, [BARS]).copy()
    return WHOLE[feature]


def test_there_is_an_example_of_every_indicator() -> None:
    assert {kind_of(type(feature)) for feature in EXAMPLES} == set(CATALOGUE)
    assert len(CATALOGUE) == len(indicators.__all__)


@pytest.mark.parametrize("kind", CATALOGUE.values(), ids=CATALOGUE)
def test_an_indicator_extends_only_what_is_abstract_and_overrides_none_of_it(kind: type[Feature]) -> None:
    families = [base for base in kind.__mro__[1:] if issubclass(base, Feature) and base is not Feature]
    assert all(inspect.isabstract(base) for base in families)
    assert not vars(kind).keys() & {name for base in families for name in vars(base) if not name.startswith("_")}


@pytest.mark.parametrize("feature", EXAMPLES, ids=lambda feature: feature.name)
def test_an_indicator_passes_every_check(feature: Feature) -> None:
    report = check_feature(feature)
    assert report.ok, str(report)


@given(st.lists(st.integers(0, len(BARS)), max_size=12), st.sampled_from(EXAMPLES))
def test_any_pieces_give_the_bits_of_the_whole(borders: list[int], feature: Feature) -> None:
    assert differs(folded(feature, cut(BARS, borders)), whole(feature)) is None


@given(st.integers(1, len(BARS) - 1), st.sampled_from(EXAMPLES), st.integers(0, 50))
def test_later_candles_change_no_value(row: int, feature: Feature, seed: int) -> None:
    assert differs(folded(feature, [changed_from(BARS, row, seed)])[:row], whole(feature)[:row]) is None


def test_candles_one_by_one_give_the_bits_of_years_at_once() -> None:
    state, store = empty_state(BARS), FeatureStore(features=EXAMPLES)
    for row in range(len(BARS)):
        state.raw[BARS.symbol].append(candle_of(BARS, row))
        store.compute(state)
    for feature in EXAMPLES:
        assert differs(state.features[BARS.symbol][feature].values(0, len(BARS)), whole(feature)) is None, feature.name


def test_real_minutes_give_numbers_after_the_warm_up(shared_data) -> None:
    bars = real_minutes(shared_data, 3)
    for feature in EXAMPLES:
        values = folded(feature, [bars])
        first = int((~np.isnan(values)).argmax())
        assert np.isfinite(values[first:]).all(), feature.name
        assert first <= sum(one.warm_up for one in FeatureStore([feature]).order), feature.name


@pytest.mark.parametrize("feature", EXAMPLES, ids=lambda feature: feature.name)
def test_a_spec_gives_the_feature_back(feature: Feature) -> None:
    again = feature_of(json.loads(json.dumps(spec_of(feature))))
    assert again == feature
    assert again.name == feature.name
    assert hash(again) == hash(feature)


def test_names_are_unique() -> None:
    everything = FeatureStore(EXAMPLES).order
    assert len({feature.name for feature in everything}) == len(everything)


def test_a_spec_is_plain_and_names_every_parameter() -> None:
    assert spec_of(ClosePosition(15)) == {"feature": "close_position", "window": 15}
    nested = spec_of(Ratio(LogReturn(5), EwmMean("volume", 30)))
    assert nested == {
        "feature": "ratio",
        "of": {"feature": "log_return", "lag": 5},
        "by": {"feature": "ewm_mean", "of": "volume", "half_life": 30.0},
    }


def test_a_whole_half_life_is_the_same_feature_as_one_with_a_point() -> None:
    assert EwmMean("close", 30).name == EwmMean("close", 30.0).name == "ewm_mean(of=close,half_life=30.0)"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"feature": "close_postion"}, "did you mean 'close_position'"),
        ({"feature": "nonsense-at-all"}, "there are absolute, "),
        ({"feature": "log_return", "window": 5}, "no parameter 'window'; it has lag"),
        ({"feature": "body", "window": 5}, "no parameter 'window'; it has none"),
        ({"feature": "log_return", "lag": 0}, "lag is a whole number from 1 to 1051200, not 0"),
        ({"feature": "log_return", "lag": 2.0}, "not 2.0"),
        ({"feature": "log_return", "lag": True}, "not True"),
        ({"feature": "log_return", "lag": "5"}, "not '5'"),
        ({"feature": "ewm_mean", "of": "close", "half_life": -1}, "half_life is a number above 0 to 1051200, not -1"),
        ({"feature": "ewm_mean", "of": "close", "half_life": float("nan")}, "not nan"),
        ({"feature": "ewm_mean", "of": "close", "half_life": 1e308}, "not 1e\\+308"),
        ({"feature": "ewm_mean", "half_life": 5}, "ewm_mean needs of"),
        ({"feature": "ewm_mean", "of": "clsoe"}, "asks for the column 'clsoe'; candles have open"),
        ({"feature": "ewm_mean", "of": 5}, "asks for the column 5"),
        ({"feature": "ratio", "of": {"feature": "log_return", "lag": -1}, "by": "close"}, "LogReturn: lag"),
        ({"window": 5}, "a feature is an object such as"),
        (["close_position"], "a feature is an object such as"),
    ],
)
def test_a_spec_that_cannot_be_says_why(spec: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        feature_of(spec)


def test_a_spec_without_a_bottom_is_refused() -> None:
    spec: object = "close"
    for _ in range(40):
        spec = {"feature": "absolute", "of": spec}
    with pytest.raises(ConfigError, match="at most 32 deep"):
        feature_of(spec)


def test_bars_in_pieces_are_the_bars() -> None:
    assert np.concatenate([piece.volume for piece in cut(BARS, [7, 300])]).tobytes() == BARS.volume.tobytes()
    assert between(BARS, 5, 9).start_s == BARS.start_s + 300
