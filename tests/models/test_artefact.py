"""An artefact comes back bit for bit, and anything else is refused with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from crypy.domain.errors import DataError
from crypy.marketdata.bars import Bars
from crypy.marketdata.sequence import feature_sequence
from crypy.models import load_model
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


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "card.json").unlink(), "no model artefact"),
        (lambda folder: (folder / "card.json").write_text("{"), "damaged or foreign"),
        (lambda folder: (folder / "weights.npy").unlink(), "cannot be read"),
        (lambda folder: (folder / "weights.npy").write_bytes(b"\x93NUMPY"), "SHA-256"),
        (lambda folder: _edit(folder, format="other-9"), "other-9"),
        (lambda folder: _edit(folder, kind="network"), "'network'"),
        (lambda folder: _edit(folder, version="0"), "volatility-baseline-0"),
        (lambda folder: _edit(folder, schema_fingerprint="0" * 64), "schema"),
    ],
)
def test_damage_is_named(folder: Path, damage: Callable[[Path], object], words: str) -> None:
    damage(folder)
    with pytest.raises(DataError, match=words):
        load_model(folder)


def test_arrays_of_another_shape_are_refused(folder: Path) -> None:
    import hashlib
    import io

    buffer = io.BytesIO()
    np.save(buffer, np.zeros((1, 2, 3)))
    (folder / "weights.npy").write_bytes(buffer.getvalue())
    card = json.loads((folder / "card.json").read_text())
    card["arrays"]["weights"] = hashlib.sha256(buffer.getvalue()).hexdigest()
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(DataError, match="weights of shape"):
        load_model(folder)


def test_pickles_are_not_opened(folder: Path) -> None:
    import hashlib
    import io

    buffer = io.BytesIO()
    np.save(buffer, np.array([{"code": 1}], dtype=object), allow_pickle=True)
    (folder / "levels.npy").write_bytes(buffer.getvalue())
    card = json.loads((folder / "card.json").read_text())
    card["arrays"]["levels"] = hashlib.sha256(buffer.getvalue()).hexdigest()
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(DataError, match="holds no array"):
        load_model(folder)
