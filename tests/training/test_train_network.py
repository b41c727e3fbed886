"""Training a network: reproducible, resumable after kill -9, the same over several devices, and better than the baseline where there is something to learn."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file
from trainer_kit import DAY_S, START_S, LeapingClock, small_dataset, small_network, small_trainer

from crypy.domain.errors import ConfigError, DataError, Incomplete
from crypy.models import load_model
from crypy.models.dataset import Dataset
from crypy.models.skew_t_network import SkewTNetwork
from crypy.training.checkpoints import FILE
from crypy.training.held_out import split
from crypy.training.network_fitting import ModelTrainer, fit_network
from crypy.training.progress import TrainingProgress
from crypy.training.run_settings import network_settings


def same(one: SkewTNetwork, other: SkewTNetwork) -> bool:
    return one.arrays.keys() == other.arrays.keys() and all(
        one.arrays[name].tobytes() == other.arrays[name].tobytes() for name in one.arrays
    )


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return small_dataset()


@pytest.fixture(scope="module")
def trained(dataset: Dataset) -> SkewTNetwork:
    return fit_network(dataset, network=small_network(members=2), trainer=small_trainer())


def test_a_network_learns_what_the_baseline_does_not_see(trained: SkewTNetwork) -> None:
    """The market's volatility has two states that a day's mean blurs: a large gain is there, and is found on what was held out."""
    for gains in trained.record.settings["held_out_gain"].values():
        assert gains["300"] > 0.01
        assert gains["900"] > 0.0


def test_equal_seeds_give_equal_bits_and_others_do_not(dataset: Dataset, trained: SkewTNetwork) -> None:
    again = fit_network(dataset, network=small_network(members=2), trainer=small_trainer())
    other = fit_network(dataset, network=small_network(members=2), trainer=small_trainer(seed=1))
    assert same(trained, again)
    assert trained.record.metrics == again.record.metrics
    assert not same(trained, other)
    heads = trained.arrays["head"]
    assert not np.array_equal(heads[0], heads[1])


def test_inputs_that_are_kept_and_those_made_batch_by_batch_give_equal_bits(
    dataset: Dataset, trained: SkewTNetwork
) -> None:
    assert same(trained, fit_network(dataset, network=small_network(members=2), trainer=small_trainer(keep_mb=0)))


def test_the_record_says_what_it_rests_on(dataset: Dataset, trained: SkewTNetwork, tmp_path: Path) -> None:
    record = trained.record
    assert (record.start_s, record.end_s) == (dataset.start_s, dataset.end_s)
    assert record.data_fingerprint == dataset.fingerprint()
    assert {(one.symbol, one.horizon_s) for one in record.metrics} == {
        (symbol, horizon) for symbol in dataset.symbols for horizon in (300.0, 900.0, 3_600.0)
    }
    trained.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert isinstance(loaded, SkewTNetwork)
    assert same(trained, loaded)
    assert msgspec.json.encode(loaded.record.settings) == msgspec.json.encode(record.settings)


def test_nothing_held_out_trains_on_the_whole_range_for_all_epochs(dataset: Dataset) -> None:
    steps: list[TrainingProgress] = []
    trainer = small_trainer(validation_share=0.0, epochs=1)
    model = fit_network(dataset, network=small_network(), trainer=trainer, on_progress=steps.append)
    assert "held_out_gain" not in model.record.settings
    last = [each for each in steps if each.doing == "training"][-1]
    assert (last.step, last.epoch) == (last.steps, 1.0)
    assert last.loss is not None
    assert last.evaluation is None


def test_it_stops_when_the_held_out_range_says_so_and_keeps_the_best(dataset: Dataset) -> None:
    trainer = small_trainer(learning_rate=0.02, epochs=60, patience=3, evaluations_per_epoch=1, weight_decay=0.0)
    seen: list[TrainingProgress] = []
    model = fit_network(dataset, network=small_network(dropout=0.0), trainer=trainer, on_progress=seen.append)
    looks = {each.evaluation.step: each.evaluation for each in seen if each.evaluation is not None}
    best = max(looks.values(), key=lambda look: look.gain)
    steps = model.record.settings["trained_steps"][0]
    assert steps < max(each.steps for each in seen)
    assert steps - best.step == 3 * min(looks)
    # The model's own score on the held-out range, by the serving arithmetic, is the best look's.
    for symbol, gains in best.gains.items():
        assert model.record.settings["held_out_gain"][symbol]["300"] == pytest.approx(gains[0], abs=1e-4)


def test_what_never_beats_the_baseline_stays_the_baseline(dataset: Dataset) -> None:
    trainer = small_trainer(learning_rate=1.0, epochs=4, patience=2, warm_up_share=0.0)
    model = fit_network(dataset, network=small_network(dropout=0.0), trainer=trainer)
    assert not model.arrays["head"].any()
    assert {gain for gains in model.record.settings["held_out_gain"].values() for gain in gains.values()} == {0.0}


def test_what_lies_behind_the_training_part_moves_no_weight(tmp_path: Path) -> None:
    """The held-out part and the embargo get other prices: every weight stays as it was, bit for bit, and so what it rests on."""
    whole = small_dataset()
    learnt, held_out = split(whole, 0.2, 7_200)
    assert held_out is not None
    assert held_out.start_s - learnt.end_s == 7_200
    another = small_dataset(seed=40)
    bars = {}
    for symbol, one in whole.bars.items():
        after = np.arange(len(one)) >= (learnt.end_s - one.start_s) // 60
        columns = {
            name: np.where(after, getattr(another.bars[symbol], name), getattr(one, name))
            for name in ("open", "high", "low", "close", "volume", "quote_volume", "count", "taker_buy_volume")
        }
        bars[symbol] = replace(one, **columns)
    other = Dataset.of(bars, whole.start_s, whole.end_s, horizons_s=whole.horizons_s)

    def stop(at: TrainingProgress) -> None:
        if at.step >= 30:
            raise KeyboardInterrupt

    # The look at the held-out range may choose other weights in the end; on the way there they are the same.
    for folder, each in (("one", whole), ("two", other)):
        with pytest.raises(KeyboardInterrupt):
            fit_network(
                each, network=small_network(), trainer=small_trainer(), checkpoints=tmp_path / folder, on_progress=stop,
                clock=LeapingClock(),
            )  # fmt: skip
    one, two = (load_file(tmp_path / folder / FILE) for folder in ("one", "two"))
    moving = [name for name in one if name.startswith(("parameters/", "optimiser/"))]
    assert any(one[name].any() for name in moving)
    for name in moving:
        assert one[name].tobytes() == two[name].tobytes()


_CHILD = """
import json, os, sys
from pathlib import Path
import jax
import numpy as np
from trainer_kit import LeapingClock, small_dataset, small_network, small_trainer
from crypy.training.network_fitting import fit_network
folder, kill_at = Path(sys.argv[1]), int(sys.argv[2])
def watch(at):
    print(json.dumps([at.doing, at.step]), flush=True)
    if kill_at and at.step >= kill_at:
        os.kill(os.getpid(), 9)
network = small_network(members=2, dropout=0.2)
trainer = small_trainer(epochs=4, checkpoint_steps=7, checkpoint_s=1e9)
model = fit_network(
    small_dataset(), network=network, trainer=trainer, checkpoints=folder / "work", on_progress=watch, clock=LeapingClock()
)
np.savez(folder / "arrays.npz", **model.arrays)
print(json.dumps(["devices", jax.device_count()]))
print(json.dumps(model.record.settings))
"""


def run_child(folder: Path, kill_at: int = 0, devices: int = 1) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parent),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    return subprocess.run(
        [sys.executable, "-c", _CHILD, str(folder), str(kill_at)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_after_kill_9_it_ends_with_the_bits_of_an_undisturbed_run(tmp_path: Path) -> None:
    undisturbed = run_child(tmp_path / "whole")
    assert undisturbed.returncode == 0, undisturbed.stderr
    # Within the first member behind a checkpoint, then within the second one.
    for kill_at in (17, 130):
        killed = run_child(tmp_path / "killed", kill_at)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert (tmp_path / "killed" / "work" / FILE).is_file()
    resumed = run_child(tmp_path / "killed")
    assert resumed.returncode == 0, resumed.stderr
    first = next(json.loads(line) for line in resumed.stdout.splitlines() if line.startswith('["training"'))
    assert first[1] > 17
    whole, mended = np.load(tmp_path / "whole" / "arrays.npz"), np.load(tmp_path / "killed" / "arrays.npz")
    for name in whole.files:
        assert whole[name].tobytes() == mended[name].tobytes(), name
    assert undisturbed.stdout.splitlines()[-1] == resumed.stdout.splitlines()[-1]


@pytest.mark.slow
def test_two_devices_learn_what_one_does(tmp_path: Path) -> None:
    one, two = run_child(tmp_path / "one"), run_child(tmp_path / "two", devices=2)
    assert one.returncode == two.returncode == 0, one.stderr + two.stderr
    assert '["devices", 2]' in two.stdout
    left, right = np.load(tmp_path / "one" / "arrays.npz"), np.load(tmp_path / "two" / "arrays.npz")
    for name in left.files:
        np.testing.assert_allclose(left[name], right[name], rtol=0.02, atol=2e-3)


def test_ctrl_c_leaves_a_checkpoint_that_the_same_call_goes_on_from(dataset: Dataset, tmp_path: Path) -> None:
    def stop(at: TrainingProgress) -> None:
        # In the middle of a look, too: it must not be skipped then.
        if at.doing.startswith("looking") and at.step > 0:
            raise KeyboardInterrupt

    network, trainer = small_network(), small_trainer(epochs=2)
    whole = fit_network(dataset, network=network, trainer=trainer)
    with pytest.raises(KeyboardInterrupt):
        fit_network(dataset, network=network, trainer=trainer, checkpoints=tmp_path, on_progress=stop)
    assert (tmp_path / FILE).is_file()
    assert same(whole, fit_network(dataset, network=network, trainer=trainer, checkpoints=tmp_path))
    # Done and kept: another call gives the model without a step of work.
    told: list[TrainingProgress] = []
    done = fit_network(dataset, network=network, trainer=trainer, checkpoints=tmp_path, on_progress=told.append)
    assert same(whole, done)
    assert not [each for each in told if each.doing == "training"]
    with pytest.raises(ConfigError, match=r"trainer.seed was 0, is 5"):
        fit_network(dataset, network=network, trainer=small_trainer(epochs=2, seed=5), checkpoints=tmp_path)
    with pytest.raises(ConfigError, match="data was"):
        fit_network(small_dataset(seed=8), network=network, trainer=trainer, checkpoints=tmp_path)


def test_the_specification_trains_a_range(dataset: Dataset, trained: SkewTNetwork) -> None:
    found = ModelTrainer(dataset, small_network(members=2), small_trainer()).run(dataset.start_s, dataset.end_s)
    assert same(found, trained)
    with pytest.raises(ConfigError, match="no range inside"):
        ModelTrainer(dataset).run(dataset.start_s, dataset.end_s + DAY_S)


def test_what_cannot_be_trained_is_told(dataset: Dataset) -> None:
    with pytest.raises(ConfigError, match="too short to hold out"):
        fit_network(
            dataset.between(START_S + DAY_S, START_S + DAY_S + 7_200), network=small_network(), trainer=small_trainer()
        )
    trainer = small_trainer(learning_rate=1e30, clip_norm=1e30, validation_share=0.0, warm_up_share=0.0)
    with pytest.raises(DataError, match="learning_rate below"):
        fit_network(dataset, network=small_network(), trainer=trainer)
    with pytest.raises(ConfigError, match="no multiple"):
        fit_network(dataset, network=small_network(), trainer=small_trainer(spacing_s=90))
    early = Dataset.of(dataset.bars, START_S, START_S + 3_600 * 3, horizons_s=dataset.horizons_s)
    with pytest.raises(Incomplete, match="history"):
        fit_network(early, network=small_network(), trainer=small_trainer(validation_share=0.0))


def test_settings_of_a_network_may_name_only_what_differs() -> None:
    chosen = network_settings(60, {"encoder": "lstm", "hidden": [32]})
    assert (chosen.encoder, chosen.hidden) == ("lstm", (32,))
    assert chosen.blocks == network_settings(60, {}).blocks
    with pytest.raises(ConfigError, match="no setting 'layers'"):
        network_settings(60, {"layers": 3})
    with pytest.raises(ConfigError, match="dropout"):
        network_settings(60, {"dropout": 1.5})
    with pytest.raises(ConfigError, match="network settings"):
        network_settings(60, {"hidden": "wide"})
