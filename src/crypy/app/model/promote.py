"""What `crypy model promote` does: the gates between a model and the stage it is asked into, and the journal's line about it."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from crypy.app.data.stores import Place
from crypy.app.model.data import dataset_of, models_folder
from crypy.domain.errors import ConfigError
from crypy.domain.times import DAY_S, US_PER_S, iso, parse_time_us
from crypy.models.artefact import CARD, read_card
from crypy.models.dataset import Dataset
from crypy.models.fitting import fit_on
from crypy.runtime.clocks import SystemClock
from crypy.training.evaluation import ModelEvaluation
from crypy.training.judging import Candidate, Terms, judge
from crypy.training.promotion import LATENCY_MS, Answer, Case, Failed, answers
from crypy.training.registry import ModelVersion, Registry, no_stages
from crypy.training.registry_journal import ROAD, Stage
from crypy.training.shadow_record import read_record, record_path
from crypy.training.trials import Trial, TrialLedger

BASELINE: Final = "volatility-baseline"


@dataclass(frozen=True, slots=True)
class Asked:
    """The verb's arguments, read. `to` empty asks for the next stage; `start` empty begins where the fit ranges end."""

    model: str
    to: str
    start: str
    end: str
    horizons_s: tuple[int, ...]
    spacing_s: int
    dry_run: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class Promotion:
    """What came of it. `answers` has every gate, `evaluation` what they looked at."""

    model: str
    world: str
    before: Stage
    stage: Stage
    champion: str
    start_s: int
    end_s: int
    trials: int
    is_promoted: bool
    dry_run: bool
    answers: tuple[Answer, ...]
    evaluation: ModelEvaluation

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why not; empty where all gates are open."""
        return tuple(f"{each.gate}: {each.verdict.reason}" for each in self.answers if isinstance(each.verdict, Failed))

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "model": self.model,
            "world": self.world,
            "before": self.before,
            "stage": self.stage,
            "champion": self.champion,
            "start": iso(self.start_s * US_PER_S),
            "end": iso(self.end_s * US_PER_S),
            "trials": self.trials,
            "promoted": self.is_promoted,
            "dry_run": self.dry_run,
            "gates": [
                {
                    "gate": each.gate,
                    "stage": each.stage,
                    "passed": not isinstance(each.verdict, Failed),
                    "reason": each.verdict.reason if isinstance(each.verdict, Failed) else "",
                    "numbers": dict(each.verdict.numbers),
                }
                for each in self.answers
            ],
            "scores": msgspec.to_builtins(
                [
                    {"symbol": one.symbol, "horizon_s": one.horizon_s, "n": one.n, "nll": one.nll, "vs": one.vs}
                    for one in self.evaluation.scores
                ]
            ),
        }


def promote(asked: Asked, place: Place, told: Callable[[str], None]) -> Promotion:
    """Put a version before the gates of a stage, and write down what came of it unless it is a dry run.

    An artefact's folder is registered first. Raises `ConfigError` for a stage or range that cannot be, `Incomplete` where data are missing.
    """
    registry = Registry(models_folder(place.data_dir))
    one = _version(registry, asked)
    if one.task != "density":
        raise ConfigError(no_stages(one))
    stage = _stage(one, place.world, asked.to)
    dataset = dataset_of(
        place, ",".join(one.symbols), "", asked.end, spacing_s=asked.spacing_s, horizons_s=asked.horizons_s
    )
    line = one.line(place.world)
    champion = registry.champion(line)
    rival = None if champion is None or champion.ref == one.ref else champion
    start_s = _start_s(asked, dataset, [one.fit_end_s, 0 if rival is None else rival.fit_end_s])
    ledger = TrialLedger(registry.root, SystemClock())
    look = Trial(
        what="look", kind=one.kind, settings=one.fingerprint, data=dataset.fingerprint(), start_s=start_s, end_s=dataset.end_s,
        study="promote",
    )  # fmt: skip
    begun = ledger.begin(look)
    try:
        model = registry.load(one)
        candidates = [Candidate(one.ref, model=model, fit_end_s=one.fit_end_s), Candidate(BASELINE, fit=fit_on)]
        if rival is not None:
            candidates.insert(1, Candidate(rival.ref, model=registry.load(rival), fit_end_s=rival.fit_end_s))
        against = BASELINE if rival is None else rival.ref
        judged = judge(candidates, dataset, tuple(dict.fromkeys((against, BASELINE))), Terms(start_s=start_s), told)
    except BaseException:
        ledger.end(begun, "failed", None)
        raise
    evaluation = judged.of(one.ref)
    ledger.end(begun, "done", sum(score.nll for score in evaluation.scores) / len(evaluation.scores))
    trials = ledger.count(start_s, dataset.end_s)
    case = Case(
        model=model,
        dataset=dataset.between(start_s, dataset.end_s),
        judged=evaluation,
        champion=against,
        trials=trials,
        shadow_days=read_record(record_path(registry.root, place.world, one.ref)).ran_s / DAY_S,
        latency_ms=LATENCY_MS,
    )
    told(f"{one.ref}: the gates up to {stage}")
    found = answers(case, stage)
    result = Promotion(
        model=one.ref, world=place.world, before=one.stage(place.world), stage=stage, champion=against, start_s=start_s,
        end_s=dataset.end_s, trials=trials, is_promoted=not any(isinstance(each.verdict, Failed) for each in found) and not asked.dry_run,
        dry_run=asked.dry_run, answers=found, evaluation=evaluation,
    )  # fmt: skip
    if not asked.dry_run:
        _write_down(registry, one, result, "" if rival is None else rival.ref)
    return result


def demote(text: str, reason: str, world: str, data_dir: Path | None) -> dict[str, Any]:
    """Take a version out of service in a world and write down why; the champion before it serves again, or the baseline.

    Raises `ConfigError` without a reason, or for a version that is not deployed there.
    """
    if not reason.strip():
        raise ConfigError("--reason: say in a sentence why, for it stands in the registry's journal")
    registry = Registry(models_folder(data_dir))
    one = registry.find(text)
    if one.stage(world) != "deployed":
        deployed = ", ".join(each.ref for each in registry.deployed(world)) or "none"
        raise ConfigError(
            f"{one.ref} is in stage {one.stage(world)} in {world}, not deployed; deployed there: {deployed}"
        )
    successor = registry.demote(one, world, who(), SystemClock().now_us(), reason.strip())
    return {
        "model": one.ref,
        "world": world,
        "stage": "demoted",
        "reason": reason.strip(),
        "successor": None if successor is None else successor.ref,
    }


def who() -> str:
    """The person's login name, for the journal."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _version(registry: Registry, asked: Asked) -> ModelVersion:
    folder = Path(asked.model)
    if not (folder / CARD).is_file():
        return registry.find(asked.model)
    if read_card(folder).task != "density":
        raise ConfigError(
            f"{folder} holds a direction model, which has no stages: `crypy forecast eval` says what it is worth, and `crypy forecast run` uses"
            " what `crypy forecast train` has registered"
        )
    if asked.dry_run:
        raise ConfigError(f"{folder} is not registered, and a dry run changes nothing; promote it to candidate first")
    return registry.register(folder, asked.name or folder.resolve().name, who(), SystemClock().now_us())


def _stage(one: ModelVersion, world: str, to: str) -> Stage:
    """The stage asked for, or the next one. Raises `ConfigError` where there is none, or it is behind the model."""
    now = one.stage(world)
    place = ROAD.index(now) if now in ROAD else 0
    if now == ROAD[-1]:
        raise ConfigError(f"{one.ref} is deployed in {world} already")
    if not to:
        return ROAD[place + 1]
    wanted: Stage | None = next((stage for stage in ROAD[1:] if stage == to), None)
    if wanted is None:
        raise ConfigError(f"--to {to}: choose from {', '.join(ROAD[1:])}")
    if ROAD.index(wanted) <= place:
        raise ConfigError(f"{one.ref} is in stage {now} in {world} already; leave --to away for the next one")
    return wanted


def _start_s(asked: Asked, dataset: Dataset, fit_ends_s: list[int]) -> int:
    """Where judging begins: what is asked for, or where the last fit range ends. `judge` refuses a start inside one."""
    if asked.start:
        start_s = parse_time_us(asked.start) // US_PER_S
        if not dataset.start_s <= start_s < dataset.end_s:
            raise ConfigError(
                f"--start {asked.start}: the data to judge on run from {iso(dataset.start_s * US_PER_S)} to {iso(dataset.end_s * US_PER_S)}"
            )
        return start_s
    latest = max(fit_ends_s)
    if not dataset.start_s < latest < dataset.end_s:
        raise ConfigError(
            f"nothing says where judging is to begin: the data run from {iso(dataset.start_s * US_PER_S)} to {iso(dataset.end_s * US_PER_S)}"
            " and no fit range ends inside; name --start"
        )
    return -(-latest // dataset.spacing_s) * dataset.spacing_s


def _write_down(registry: Registry, one: ModelVersion, result: Promotion, champion: str) -> None:
    numbers = {f"{each.gate}.{name}": value for each in result.answers for name, value in each.verdict.numbers.items()}
    now_us = SystemClock().now_us()
    if result.is_promoted:
        registry.promote(one, result.world, result.stage, who(), now_us, numbers, champion)
    else:
        registry.refuse(one, result.world, result.stage, who(), now_us, result.reasons, numbers)
