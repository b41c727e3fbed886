"""An artefact comes back bit for bit, and anything else is refused with the reason."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import numpy as tensors

from crypy import __version__
from crypy.domain.errors import DataError
from crypy.marketdata.bars import Bars
from crypy.marketdata.sequence import feature_sequence
from crypy.models import load_model
from crypy.models.artefact import read_arrays, read_card, write_artefact
from crypy.models.fitting import FitSettings, fit_baseline
from crypy.models.volatility import VolatilityBaseline


@pytest.fixture(scope="module")
def bars(make_market: Callable[..., Bars]) -> dict[str, Bars]:
    return {"BTCUSDT": make_market(12, 1)}


@pytest.fixture(scope="module")
def model(bars: dict[str, Bars]) -> VolatilityBaseline:
    return fit_baseline(bars, settings=FitSettings(spacing_s=300))


@pytest.fixture
def folder(model: VolatilityBaseline, tmp_path: Path) -> Path:
    model.save(tmp_path / "models" / "one")
    return tmp_path / "models" / "one"


def test_a_loaded_model_forecasts_the_same_bits(model: VolatilityBaseline, bars: dict[str, Bars], folder: Path) -> None:
    loaded = load_model(folder)
    assert isinstance(loaded, VolatilityBaseline)
    assert loaded.record == model.record
    sequence = feature_sequence(bars, bars["BTCUSDT"].start_s + 9 * 86_400 + 60, model.schema)
    horizons = np.array([1.0, 77.0, 900.0, 100_000.0])
    ours, theirs = model.predict(sequence, horizons), loaded.predict(sequence, horizons)
    assert (ours.scale.tolist(), ours.skew.tolist(), ours.tail.tolist()) == (
        theirs.scale.tolist(), theirs.skew.tolist(), theirs.tail.tolist(),
    )  # fmt: skip


def test_saving_again_replaces_the_folder_and_leaves_nothing_beside_it(model: VolatilityBaseline, folder: Path) -> None:
    (folder / "left-over.txt").write_text("from before")
    model.save(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["one"]
    assert not (folder / "left-over.txt").exists()
    assert load_model(folder).name == model.name


def test_a_save_that_fails_leaves_the_old_artefact(
    model: VolatilityBaseline, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        model.save(folder)
    monkeypatch.undo()
    assert [path.name for path in folder.parent.iterdir()] == ["one"]
    assert load_model(folder).name == model.name


def test_a_foreign_folder_is_not_overwritten(model: VolatilityBaseline, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"meow")
    with pytest.raises(DataError, match="not a model artefact"):
        model.save(tmp_path / "photos")
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"meow"


def _edit(folder: Path, **changes: object) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, **changes}))


def _put(folder: Path, content: bytes) -> None:
    """Other arrays, with a card that names them."""
    (folder / "arrays.safetensors").write_bytes(content)
    _edit(folder, arrays_sha256=hashlib.sha256(content).hexdigest())


def _arrays(folder: Path, **changes: np.ndarray | None) -> None:
    found = {**tensors.load((folder / "arrays.safetensors").read_bytes()), **changes}
    _put(folder, tensors.save({name: array for name, array in found.items() if array is not None}))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "card.json").unlink(), "no model artefact"),
        (lambda folder: (folder / "card.json").write_text("{"), "damaged or foreign"),
        (lambda folder: (folder / "card.json").write_text("[1]"), "damaged or foreign"),
        (lambda folder: (folder / "arrays.safetensors").unlink(), "cannot be read"),
        (lambda folder: (folder / "arrays.safetensors").write_bytes(b"\x08"), "SHA-256"),
        (lambda folder: _edit(folder, format="crypy-model-1"), "crypy-model-1.*reads.*fit or fetch"),
        (lambda folder: _edit(folder, kind="network"), "'network'"),
        (lambda folder: _edit(folder, version="0"), "volatility-baseline-0"),
        (lambda folder: _edit(folder, runtime="torch"), "runtime"),
        (lambda folder: _edit(folder, schema_fingerprint="0" * 64), "schema"),
        (lambda folder: _edit(folder, parts={"inner": "0" * 64}), "inner"),
    ],
)
def test_damage_is_named(folder: Path, damage: Callable[[Path], object], words: str) -> None:
    damage(folder)
    with pytest.raises(DataError, match=words):
        load_model(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": np.zeros((1, 2, 3))}, "weights of shape"),
        ({"weights": np.zeros((1, 2))}, r"weights is float64 of shape \(1, 2\), expected .*any"),
        ({"tail": None}, "missing are .'tail'"),
        ({"more": np.zeros(3)}, "not expected are .'more'"),
        ({"levels": np.zeros((1, 2), np.float32)}, "levels is float32"),
        ({"levels": np.array([[np.nan, 1.0]])}, "levels has values that are not finite"),
        ({"season": np.zeros((1, 2, 7))}, "season is float64 of shape"),
    ],
)
def test_arrays_that_are_not_as_they_should_be_are_named(
    folder: Path, changes: dict[str, np.ndarray | None], words: str
) -> None:
    _arrays(folder, **changes)
    with pytest.raises(DataError, match=words):
        load_model(folder)


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 9, 200, -1, -800])
def test_a_file_that_is_cut_short_is_refused_even_where_the_card_names_it(folder: Path, keep: int) -> None:
    _put(folder, (folder / "arrays.safetensors").read_bytes()[:keep])
    with pytest.raises(DataError, match="holds no arrays"):
        load_model(folder)


def test_nothing_is_unpickled(folder: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"code": 1}], dtype=object), allow_pickle=True)
    _put(folder, buffer.getvalue())
    with pytest.raises(DataError, match="holds no arrays"):
        load_model(folder)


def test_the_card_says_by_what_and_for_what_it_was_made(model: VolatilityBaseline, folder: Path) -> None:
    card = read_card(folder)
    assert (card.crypy_version, card.runtime, card.parts) == (__version__, "numpy", {})
    assert card.schema == model.schema
    later = VolatilityBaseline(model.coefficients, 60, model.horizons_s, replace(model.record, seed=3, made_us=5))
    later.save(folder)
    card = read_card(folder)
    assert (card.seed, card.made_us) == (3, 5)
    assert load_model(folder).record == later.record  # type: ignore[attr-defined]


def test_a_part_is_an_artefact_of_its_own_that_cannot_be_swapped(
    model: VolatilityBaseline, folder: Path, tmp_path: Path
) -> None:
    card = read_card(folder)
    outer = tmp_path / "outer"
    write_artefact(outer, card, {"x": np.zeros(2)}, {"inner": model})
    assert load_model(outer / "inner").name == model.name
    assert list(read_arrays(outer, read_card(outer), ("x",))) == ["x"]
    assert list(read_card(outer).parts) == ["inner"]
    VolatilityBaseline.prior(("BTCUSDT",), 60).save(outer / "inner")
    with pytest.raises(DataError, match="not the part that the card names"):
        read_card(outer)
    shutil.rmtree(outer / "inner")
    with pytest.raises(DataError, match="cannot be read"):
        read_card(outer)


def test_arrays_come_back_aligned_and_their_own(folder: Path) -> None:
    for array in read_arrays(
        folder, read_card(folder), tuple(tensors.load((folder / "arrays.safetensors").read_bytes()))
    ).values():
        assert array.flags.aligned
        assert array.flags.owndata
        assert array.flags.c_contiguous
