"""What may be chosen: spaces from TOML, options from plain data, settings back to TOML, datasets as plain data."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.errors import ConfigError
from crypy.marketdata.bars import Bars
from crypy.models.dataset import Dataset
from crypy.models.fitting import FitSettings
from crypy.models.kinds import kind_of
from crypy.models.network.settings import NetworkSettings
from crypy.training.kind_options import check_names, typed_options
from crypy.training.plain_dataset import PlainDataset
from crypy.training.search_space import SPACES, Choice, Real, Whole, nested, settings_toml, space_of
from crypy.training.trainer_settings import TrainerSettings

KIND = "volatility-baseline"
TOML = """
["trainer.learning_rate"]
type = "real"
low = 1e-4
high = 1e-2
log = true

["trainer.epochs"]
type = "whole"
low = 2
high = 8

["network.hidden"]
type = "choice"
of = [[128, 64], [256, 128]]
"""


def test_a_space_is_read_as_it_is_documented(tmp_path: Path) -> None:
    file = tmp_path / "space.toml"
    file.write_text(TOML)
    assert space_of("anything", file) == {
        "trainer.learning_rate": Real(1e-4, 1e-2, log=True),
        "trainer.epochs": Whole(2, 8),
        "network.hidden": Choice(([128, 64], [256, 128])),
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names nothing to choose"),
        ("not toml", "no search space"),
        ('["a"]\ntype = "real"\nlow = 2.0\nhigh = 1.0', "low is not below high"),
        ('["a"]\ntype = "real"\nlow = 0.0\nhigh = 1.0\nlog = true', "log needs low above 0"),
        ('["a"]\ntype = "whole"\nlow = 1.5\nhigh = 2', "no search space"),
        ('["a"]\ntype = "choice"\nof = []', "no values"),
        ('["a"]\ntype = "guess"', "no search space"),
        ('["a"]\ntype = "real"\nlow = 1.0\nhigh = 2.0\nhihg = 3.0', "hihg"),
        ('["a.b.c"]\ntype = "choice"\nof = [1]', "one dot at most"),
    ],
)
def test_a_space_that_cannot_be_is_refused_with_its_file(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "space.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said) as refused:
        space_of(KIND, file)
    assert str(file) in str(refused.value)


def test_a_file_that_is_not_there_and_a_kind_without_a_space(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        space_of(KIND, tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="no built-in search space"):
        space_of("composite")


@pytest.mark.parametrize("name", list(SPACES))
def test_every_built_in_space_names_options_that_its_kind_has(name: str) -> None:
    pytest.importorskip("jax", reason="JAX is not installed")
    check_names(kind_of(name), SPACES[name])


def test_what_a_network_has_by_default_lies_in_its_space() -> None:
    defaults = {"network": NetworkSettings.for_step(60), "trainer": TrainerSettings()}
    for name, dimension in SPACES["skew-t-network"].items():
        group, _, field = name.partition(".")
        value = getattr(defaults[group], field)
        match dimension:
            case Real(low, high) | Whole(low, high):
                assert low <= value <= high, name
            case Choice(of):
                assert name == "network.members" or value in of, name


def test_names_that_the_kind_does_not_have_are_said_before_anything_is_tried() -> None:
    for name in ("colour", "settings.colour", "settings"):
        if name == "settings":
            check_names(kind_of(KIND), [name])
            continue
        with pytest.raises(ConfigError, match="colour"):
            check_names(kind_of(KIND), [name])


def test_plain_options_become_the_settings_that_fit_takes() -> None:
    found = typed_options(kind_of(KIND), {"settings": {"prior_strength": 2, "horizons_s": [300, 900]}})
    assert found == {"settings": FitSettings(prior_strength=2.0, horizons_s=(300, 900))}
    with pytest.raises(ConfigError, match="no field 'strength'"):
        typed_options(kind_of(KIND), {"settings": {"strength": 2}})
    with pytest.raises(ConfigError, match="no option 'network'"):
        typed_options(kind_of(KIND), {"network": {}})
    with pytest.raises(ConfigError, match="settings"):
        typed_options(kind_of(KIND), {"settings": {"prior_strength": "much"}})


scalars = st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = scalars | st.lists(st.integers(-9, 9), max_size=4)
names = st.text(min_size=1, max_size=8).filter(lambda name: "." not in name)


@given(
    st.dictionaries(names, values, max_size=3),
    st.dictionaries(names, st.dictionaries(names, values, max_size=3), max_size=3),
)
def test_settings_come_back_from_toml_as_they_were(
    plain: dict[str, object], tables: dict[str, dict[str, object]]
) -> None:
    settings = {**plain, **tables}
    assert tomllib.loads(settings_toml(settings)) == settings


def test_what_toml_cannot_say_is_refused() -> None:
    with pytest.raises(ConfigError, match="null"):
        settings_toml({"settings": {"a": None}})


def test_names_with_dots_are_tables() -> None:
    assert nested({"a.b": 1, "a.c": 2, "d": 3}) == {"a": {"b": 1, "c": 2}, "d": 3}


def test_a_dataset_comes_back_from_plain_data_bit_for_bit() -> None:
    close = np.exp(np.random.default_rng(1).normal(size=500).cumsum() * 1e-3)
    bars = Bars(
        "BTCUSDT", 1_735_689_600, 60, close, close * 1.001, close * 0.999, close,
        np.ones(500), close.copy(), np.arange(500), np.full(500, 0.5),
    )  # fmt: skip
    dataset = Dataset.of({"BTCUSDT": bars}, spacing_s=300, horizons_s=(300,))
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(PlainDataset.of(dataset)), type=PlainDataset)
    back = sent.dataset()
    assert back.fingerprint() == dataset.fingerprint()
    assert (back.spacing_s, back.horizons_s, back.start_s, back.end_s) == (300, (300,), dataset.start_s, dataset.end_s)
    assert PlainDataset.of(dataset).dataset() is back, "unpacked once"
