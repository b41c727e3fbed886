"""A class with `fit` and `predict` is a model: from a file or an installed package, to disk and back, and refused with reasons."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from crypy import load_model
from crypy.domain.errors import ConfigError, DataError, SchemaMismatch
from crypy.marketdata.bars import Bars
from crypy.marketdata.schema import Block, FeatureSchema
from crypy.models import plugin_code
from crypy.models.artefact import CARD, read_card
from crypy.models.dataset import Dataset
from crypy.models.kinds import kind_of, kinds
from crypy.models.plugin import PlugIn, fitted
from crypy.models.plugin_answer import usual_tail
from crypy.models.plugin_data import default_schema, whole_origins
from crypy.models.port import DistributionGrid

HORIZONS = np.array([60.0, 3_600.0])
CODE = """
import json
import numpy as np

class Mine:
    def __init__(self, factor=1.0):
        self.factor = factor

    def fit(self, dataset):
        self.level = float(np.nanstd(np.diff(dataset.log_close(dataset.symbols[0])))) * self.factor

    def predict(self, features, horizons):
        return np.tile(self.level * np.sqrt(horizons / 60), (len(features.schema.symbols), 1))

    def save(self, folder):
        (folder / "deep").mkdir()
        (folder / "deep" / "level.json").write_text(json.dumps(self.level))

    {load}

class NoModel:
    pass

not_a_class = 3
"""
LOAD = """def load(self, folder):
        self.level = json.loads((folder / "deep" / "level.json").read_text())"""
LOAD_CLASS = """@classmethod
    def load(cls, folder):
        made = cls()
        made.level = json.loads((folder / "deep" / "level.json").read_text())
        return made"""


@pytest.fixture(scope="module")
def dataset(make_market: Callable[..., Bars]) -> Dataset:
    return Dataset.of({"BTCUSDT": make_market(3, 5)}, horizons_s=(300, 3_600))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "mine.py", LOAD)


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin_code, "_named", {})


def written(path: Path, load: str) -> Path:
    path.write_text(CODE.replace("{load}", load))
    return path


def answer(dataset: Dataset, said: Any) -> DistributionGrid:
    """What becomes of an answer."""

    class Says:
        def fit(self, dataset: Dataset) -> None: ...

        def predict(self, features: Any, horizons: np.ndarray) -> Any:
            return said

    model = fitted(Says(), "says", dataset)
    return model.predict(last_sequence(dataset, model), HORIZONS)


def last_sequence(dataset: Dataset, model: Any) -> Any:
    return dataset.windows(model.schema, whole_origins(dataset, model.schema)[-1:])[0]


def offer(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, package: str = "own_models") -> None:
    """An installed package, as importlib finds it."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[crypy.models]\n{name} = {value}\n")
    monkeypatch.syspath_prepend(folder)


@pytest.mark.parametrize("load", [LOAD, LOAD_CLASS], ids=["fills", "makes"])
def test_a_class_in_a_file_is_trained_saved_and_loaded(tmp_path: Path, dataset: Dataset, load: str) -> None:
    file = written(tmp_path / "mine.py", load)
    kind = kind_of(f"{file}:Mine")
    assert kind.name == "mine.py:Mine"
    model = kind.fit_on(dataset, factor=2.0)
    model.save(tmp_path / "kept")
    again = load_model(tmp_path / "kept")
    sequence = last_sequence(dataset, model)
    first, second = model.predict(sequence, HORIZONS), again.predict(sequence, HORIZONS)
    assert first.scale.tobytes() == second.scale.tobytes()
    assert first.scale[0, 1] / first.scale[0, 0] == pytest.approx(60**0.5)
    assert isinstance(again, PlugIn)
    assert again.provenance.options == {"factor": 2.0}
    assert (again.provenance.record.end_s, again.name) == (dataset.end_s, "mine.py:Mine")
    # What a card says of the fit stays, however often it is saved again.
    card = msgspec.structs.replace(read_card(tmp_path / "kept"), seed=7, made_us=5)
    (tmp_path / "kept" / CARD).write_bytes(msgspec.json.encode(card))
    load_model(tmp_path / "kept").save(tmp_path / "again")
    assert msgspec.structs.replace(read_card(tmp_path / "again"), arrays_sha256="") == msgspec.structs.replace(
        card, arrays_sha256=""
    )
    # Nothing of the machine is in the artefact.
    assert str(tmp_path) not in (tmp_path / "kept" / "card.json").read_text()
    model.save(tmp_path / "kept")
    assert sorted(one.name for one in tmp_path.iterdir() if one.name.startswith(".")) == []


def test_a_card_alone_runs_no_file(
    tmp_path: Path, file: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind_of(f"{file}:Mine").fit_on(dataset).save(tmp_path / "kept")
    monkeypatch.setattr(plugin_code, "_named", {})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"mine\.py:Mine@FOLDER"):
        load_model(tmp_path / "kept")
    named = load_model(f"{file}:Mine@{tmp_path / 'kept'}")
    assert named.name == "mine.py:Mine"


def test_changed_code_and_changed_files_are_refused(tmp_path: Path, file: Path, dataset: Dataset) -> None:
    kept = tmp_path / "kept"
    kind_of(f"{file}:Mine").fit_on(dataset).save(kept)
    own = kept / "own" / "deep" / "level.json"
    right = own.read_text()
    own.write_text("0.5")
    with pytest.raises(DataError, match="SHA-256 differs"):
        load_model(kept)
    own.write_text(right)
    (kept / "own" / "more.bin").write_bytes(b"x")
    with pytest.raises(DataError, match="SHA-256 differs"):
        load_model(kept)
    (kept / "own" / "more.bin").unlink()
    file.write_text(file.read_text() + "\n# another line\n")
    with pytest.raises(DataError, match="not the code that it was fitted with"):
        load_model(kept)


def test_damaged_options_are_refused(tmp_path: Path, file: Path, dataset: Dataset) -> None:
    kept = tmp_path / "kept"
    kind_of(f"{file}:Mine").fit_on(dataset).save(kept)
    card = json.loads((kept / "card.json").read_text())
    card["settings"]["options"] = "{"
    (kept / "card.json").write_text(json.dumps(card))
    with pytest.raises(DataError, match="options are damaged"):
        load_model(kept)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("absent.py:Mine", "there is no file"),
        ("mine.py:Absent", "holds no 'Absent'"),
        ("mine.py:NoModel", "has no fit and no predict"),
        ("mine.py:not_a_class", "is not a class"),
        ("broken.py:Mine", "cannot be run: ZeroDivisionError"),
    ],
)
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, file: Path, name: str, words: str) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises(ConfigError, match=words):
        kind_of(str(tmp_path / name))


def test_options_that_the_class_does_not_take_are_refused_before_the_fit(file: Path, dataset: Dataset) -> None:
    kind = kind_of(f"{file}:Mine")
    with pytest.raises(ConfigError, match="does not take these options"):
        kind.fit_on(dataset, colour=3)
    with pytest.raises(ConfigError, match="does not take these options"):
        kind.fit_on(dataset, factor=object())


def test_a_model_without_save_says_what_it_lacks(tmp_path: Path, dataset: Dataset) -> None:
    class Research:
        def fit(self, dataset: Dataset) -> None: ...

        def predict(self, features: Any, horizons: np.ndarray) -> Any: ...

    with pytest.raises(ConfigError, match=r"no save\(folder\) and no load\(folder\)"):
        fitted(Research(), "research", dataset).save(tmp_path / "kept")


def test_a_folder_that_is_something_else_is_left_alone(tmp_path: Path, file: Path, dataset: Dataset) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    with pytest.raises(DataError, match="is not a model artefact"):
        kind_of(f"{file}:Mine").fit_on(dataset).save(taken)
    assert list(taken.iterdir()) == []


def test_an_installed_package_offers_a_kind(tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "own_models_code.py", LOAD)
    offer(tmp_path, monkeypatch, "mine", "own_models_code:Mine")
    assert "mine" in kinds()
    # Knowing of a kind imports nothing.
    assert "own_models_code" not in sys.modules
    kind_of("mine").fit_on(dataset, factor=3.0).save(tmp_path / "kept")
    assert load_model(tmp_path / "kept").name == "mine"


def test_an_artefact_of_a_package_that_is_gone_is_refused(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    with monkeypatch.context() as patched:
        written(folder / "gone_models_code.py", LOAD)
        offer(folder, patched, "gone", "gone_models_code:Mine")
        kind_of("gone").fit_on(dataset).save(tmp_path / "kept")
    with pytest.raises(DataError, match="no kind of model 'gone'"):
        load_model(tmp_path / "kept")
    with pytest.raises(DataError, match="no installed package offers"):
        PlugIn.load(tmp_path / "kept")


def test_names_that_are_taken_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        offer(tmp_path / "a", patched, "volatility-baseline", "somewhere:Mine")
        with pytest.raises(ConfigError, match=r"'volatility-baseline' \(somewhere:Mine\), a name that crypy uses"):
            kinds()
    offer(tmp_path / "b", monkeypatch, "mine", "here:Mine", "first")
    offer(tmp_path / "c", monkeypatch, "mine", "there:Mine", "second")
    with pytest.raises(ConfigError, match="two installed packages offer"):
        kind_of("mine")


def test_a_package_that_cannot_be_imported_says_so(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(tmp_path, monkeypatch, "torn", "no_such_module:Mine")
    with pytest.raises(ConfigError, match="cannot be loaded: No module named"):
        kind_of("torn").fit_on(dataset)


def test_scale_alone_has_no_skew_and_the_usual_tail(dataset: Dataset) -> None:
    grid = answer(dataset, [[0.001, 0.01]])
    assert (grid.skew == 0.0).all()
    assert grid.tail[0].tolist() == usual_tail(HORIZONS).tolist()
    assert (usual_tail(np.array([1.0, 300.0, 172_800.0])) > 2.0).all()
    assert grid.history_s.tolist() == [86_400.0]


def test_skew_and_tail_may_be_numbers_or_of_each_horizon(dataset: Dataset) -> None:
    scale = np.array([[0.001, 0.01]])
    grid = answer(dataset, (scale, -0.05, [4.0, 5.0]))
    assert grid.skew.tolist() == [[-0.05, -0.05]]
    assert grid.tail.tolist() == [[4.0, 5.0]]
    scale[:] = 7.0
    assert grid.scale[0, 0] == 0.001


def test_a_whole_grid_is_taken_as_it_is(dataset: Dataset) -> None:
    scale = np.array([[0.001, 0.01]])
    end_s = int(whole_origins(dataset, default_schema(dataset.symbols, 60))[-1])
    right = DistributionGrid(end_s, ("BTCUSDT",), HORIZONS, scale, 0 * scale, 0 * scale + 5.0, np.array([60.0]))
    assert answer(dataset, right).history_s.tolist() == [60.0]
    for change, words in (
        ({"end_s": 3}, "the grid is of 3 s"),
        ({"symbols": ("ETHUSDT",)}, "the grid is of symbols"),
        ({"horizons_s": HORIZONS + 1}, "the grid is of horizons"),
    ):
        fields = {name: getattr(right, name) for name in right.__slots__} | change
        with pytest.raises(DataError, match=words):
            answer(dataset, DistributionGrid(**fields))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (None, "scale has shape"),
        ("wide", "scale is no array of numbers"),
        ({"BTCUSDT": [1.0, 2.0]}, "scale is no array of numbers"),
        ([0.001, 0.01], r"scale has shape \[2\], expected \[1, 2\]"),
        ([[0.01, 0.001]], "falls from 0.01 at 60 s to 0.001 at 3600 s"),
        ([[0.0, 0.001]], "at 60 s is 0.0, must be a positive number"),
        ([[0.1, float("inf")]], "at 3600 s is inf"),
        (([[0.1, 0.2]], 0.0, float("nan")), "tail of BTCUSDT at 60 s is nan"),
        (([[0.1, 0.2]], [0.0, 0.0, 0.0], 5.0), r"skew has shape \[3\]; a number, \[2\] or \[1, 2\]"),
        (([[0.1, 0.2]], 5.0), "predict gave 2 values"),
    ],
)
def test_an_answer_that_is_none_is_refused(dataset: Dataset, said: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        answer(dataset, said)


def test_what_is_asked_wrongly_is_refused(file: Path, dataset: Dataset) -> None:
    model = kind_of(f"{file}:Mine").fit_on(dataset)
    sequence = last_sequence(dataset, model)
    for horizons in ([], [60.0, 60.0], [0.0], [172_801.0], [float("nan")]):
        with pytest.raises(DataError, match="do not ascend"):
            model.predict(sequence, np.array(horizons))
    other = dataset.windows(FeatureSchema(("BTCUSDT",), 60, (Block(60, 5, ("returns",)),)), dataset.origins_s()[-1:])
    with pytest.raises(SchemaMismatch, match=r"model\.schema"):
        model.predict(other[0], HORIZONS)


def test_a_model_may_say_what_it_eats(dataset: Dataset) -> None:
    own = FeatureSchema(("BTCUSDT",), 60, (Block(300, 12, ("range",)),), allow_missing=True)

    class ByAttribute:
        schema: Any = own

        def fit(self, dataset: Dataset) -> None: ...

        def predict(self, features: Any, horizons: np.ndarray) -> Any: ...

    class ByMethod(ByAttribute):
        def schema(self, symbols: tuple[str, ...]) -> FeatureSchema:
            return own

    class Wrongly(ByAttribute):
        schema = "returns"

    assert fitted(ByAttribute(), "one", dataset).schema == own
    assert fitted(ByMethod(), "one", dataset).schema == own
    with pytest.raises(ConfigError, match="schema gives str"):
        fitted(Wrongly(), "one", dataset)


@pytest.mark.parametrize(
    ("step_s", "blocks"),
    [(1, [(1, 60), (60, 60), (900, 96)]), (60, [(60, 60), (900, 96)]), (900, [(900, 96)]), (3_600, [(3_600, 96)])],
)
def test_the_default_sequence_suits_the_step(step_s: int, blocks: list[tuple[int, int]]) -> None:
    found = default_schema(("BTCUSDT",), step_s)
    assert [(one.step_s, one.length) for one in found.blocks] == blocks
    assert found.base_step_s == step_s


def test_whole_origins_are_those_at_which_nothing_is_missing(dataset: Dataset) -> None:
    schema = default_schema(("BTCUSDT",), 60)
    first, last = whole_origins(dataset.every(60), schema)[[0, -1]].tolist()
    assert (first - dataset.start_s, last) == (86_460, dataset.end_s - 60)
    assert dataset.windows(schema, np.array([first])).known[-1].all()
    with pytest.raises(DataError):
        dataset.windows(schema, np.array([first - 60]))
