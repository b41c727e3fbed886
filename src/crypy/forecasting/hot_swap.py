"""Which model a running process forecasts with, and how another takes its place between two seconds.

What is deployed in the world is read from the registry whenever its journal has changed. It is loaded, put together and tried out in a thread
(its first answer compiles what is to be compiled), and only then handed to the runner by a straight call: no second is missed, and an answer that is
under way comes from the model it began with. What cannot serve is refused with its reason, and what serves goes on.

One process serves one base step: that of the model that was deployed last. Symbols that no deployed model knows are the baseline's, fitted at the same step.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Final

import structlog

from crypy.domain.errors import CrypyError, Incomplete
from crypy.forecasting.runner import ModelRunner, SequenceSource
from crypy.marketdata.schema import FeatureSchema, FeatureSequence
from crypy.models.composite import Composite
from crypy.models.port import Model
from crypy.training.registry import ModelVersion, Registry

log = structlog.get_logger()

BASELINE: Final = "baseline"
# An answer that takes so long even when nothing is left to compile would cost seconds their forecast.
_SLOWEST_S: Final = 0.5
_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Rings:
    """What the live process holds: the symbols it follows, the steps it squares returns at, and how many seconds back."""

    symbols: tuple[str, ...]
    base_steps_s: tuple[int, ...]
    history_s: int

    def lack(self, schema: FeatureSchema) -> str:
        """Why a sequence of the schema can never be made here; empty where it can."""
        strange = [symbol for symbol in schema.symbols if symbol not in self.symbols]
        if strange:
            return f"it needs {', '.join(strange)}, and {', '.join(self.symbols)} are followed; add to data.symbols and start again"
        if schema.base_step_s not in self.base_steps_s:
            return f"its base step is {schema.base_step_s} s, and live returns are squared at {', '.join(map(str, self.base_steps_s))} s"
        if schema.history_s > self.history_s:
            return f"it looks back {schema.history_s:,} s, and {self.history_s:,} s are held; a start with it deployed holds more"
        return ""


@dataclass(frozen=True, slots=True)
class Serving:
    """What forecasts: the model, and by symbol the registered version that its row is from (`baseline` where none)."""

    model: Model
    by_symbol: dict[str, str]

    @property
    def name(self) -> str:
        """As forecasts and reports name it: the versions in it, the baseline by its own name."""
        if not self.refs:
            return self.model.name
        return " + ".join(dict.fromkeys(self.by_symbol.values()))

    @property
    def refs(self) -> tuple[str, ...]:
        """The registered versions in it, none for the baseline alone."""
        return tuple(dict.fromkeys(ref for ref in self.by_symbol.values() if ref != BASELINE))


@dataclass(slots=True)
class _Loaded:
    """What the registry asks for: models by symbol, and why the others cannot be had."""

    members: dict[str, tuple[str, Model]] = field(default_factory=dict[str, tuple[str, Model]])
    refused: dict[str, str] = field(default_factory=dict[str, str])
    base_step_s: int = 0


class HotSwap:
    """Keeps `runner` on what is deployed in `world`. All but the loading happens in the event loop.

    `baseline` serves where nothing else does; `baseline_at(symbols, base_step_s)` fits one for some symbols at another step, in a
    thread. `on_swap(model, name)` hears of the model in use and what it serves as, in the same straight call. `serving` is what forecasts now, `refused` says by version why it does not although it is deployed.
    """

    def __init__(
        self,
        runner: ModelRunner,
        source: SequenceSource,
        registry: Registry,
        world: str,
        rings: Rings,
        baseline: Model,
        baseline_at: Callable[[tuple[str, ...], int], Model],
        sealed_s: Callable[[], int],
        executor: Executor | None = None,
        on_swap: Callable[[Model, str], None] | None = None,
    ) -> None:
        self.registry = registry
        self.world = world
        self.rings = rings
        self.baseline = baseline
        self.serving = Serving(baseline, dict.fromkeys(rings.symbols, BASELINE))
        self.refused: dict[str, str] = {}
        self.swaps = 0
        self._runner = runner
        self._source = source
        self._baseline_at = baseline_at
        self._sealed_s = sealed_s
        self._executor = executor
        self._on_swap = on_swap
        # What was loaded stays until the next look, so that a line in the journal about something else loads nothing anew.
        self._known: dict[str, Model] = {}
        self._rests: dict[tuple[tuple[str, ...], int], Model] = {}
        self._stamp: tuple[int, int] | None = None
        self._is_asked = False

    @property
    def has_news(self) -> bool:
        """Whether the journal has changed since the last look, or another one was asked for. One look at a file's times."""
        return self._is_asked or self.registry.journal.stamp() != self._stamp

    async def look(self) -> bool:
        """Read the registry and serve what it says; whether anything was swapped. Raises `CrypyError` where the registry cannot be read."""
        stamp = self.registry.journal.stamp()
        loaded = await asyncio.to_thread(self._load)
        self._stamp = stamp
        self._is_asked = False
        swapped = False
        while loaded.members and not swapped:
            by_symbol = {
                symbol: loaded.members[symbol][0] if symbol in loaded.members else BASELINE
                for symbol in self.rings.symbols
            }
            if by_symbol == self.serving.by_symbol:
                break
            fault = await self._try_to_serve(loaded, by_symbol)
            swapped = not fault
            if fault:
                # The latest one is out; what stood behind it may serve.
                lead = next(iter(loaded.members.values()))[0]
                loaded = await asyncio.to_thread(self._load, loaded.refused | {lead: fault})
        if not loaded.members and self.serving.refs:
            self.fall_back()
            swapped = True
        self._tell_refused(loaded.refused)
        return swapped

    def fall_back(self) -> None:
        """Forecast with the baseline from the next second on."""
        self._serve(Serving(self.baseline, dict.fromkeys(self.rings.symbols, BASELINE)), None)

    def renew(self, baseline: Model) -> None:
        """Take a baseline that was fitted anew."""
        self.baseline = baseline
        self._rests.clear()
        if not self.serving.refs:
            self.fall_back()

    def again(self) -> None:
        """Have the next look take place whether or not the journal changes: what lacked history may have it by then."""
        self._is_asked = True

    def _load(self, refused: dict[str, str] | None = None) -> _Loaded:
        """The deployed models, the latest first; each symbol is the first one's that knows it. Blocks."""
        found = _Loaded(refused=dict(refused or {}))
        deployed = self.registry.deployed(self.world)
        self._known = {
            one.fingerprint: self._known[one.fingerprint] for one in deployed if one.fingerprint in self._known
        }
        for one in deployed:
            if one.ref in found.refused:
                continue
            wanted = [symbol for symbol in one.symbols if symbol in self.rings.symbols and symbol not in found.members]
            if not wanted:
                continue
            fault, model = self._model_of(one, found)
            if fault:
                found.refused[one.ref] = fault
            elif model is not None:
                found.base_step_s = one.base_step_s
                found.members |= dict.fromkeys(wanted, (one.ref, model))
        return found

    def _model_of(self, one: ModelVersion, found: _Loaded) -> tuple[str, Model | None]:
        if found.members and one.base_step_s != found.base_step_s:
            return f"its base step is {one.base_step_s} s, and a later one of {found.base_step_s} s serves", None
        try:
            model = self._known.get(one.fingerprint) or self.registry.load(one)
            self._known[one.fingerprint] = model
            return self.rings.lack(model.schema), model
        except Exception as error:
            # An artefact may need what is not installed, or be anybody's code: the reason is told, and the others serve.
            return _sentence(error), None

    async def _try_to_serve(self, loaded: _Loaded, by_symbol: dict[str, str]) -> str:
        """Swap to the loaded models; why not, where they cannot serve."""
        try:
            model = await asyncio.to_thread(self._put_together, loaded)
            sequence = self._source.feature_sequence(self._sealed_s(), model.schema)
            took_s = await asyncio.to_thread(self._try_out, model, sequence)
        except Incomplete as error:
            return f"too little history: {error}"
        except Exception as error:
            # As in loading: anybody's code; the reason is told on the terminal and in the log.
            return _sentence(error)
        if took_s > _SLOWEST_S:
            return f"one answer takes {took_s:.2f} s, and one is due each second"
        self._serve(Serving(model, by_symbol), self._executor)
        return ""

    def _put_together(self, loaded: _Loaded) -> Model:
        models = {id(model): model for _, model in loaded.members.values()}
        rest = tuple(symbol for symbol in self.rings.symbols if symbol not in loaded.members)
        if not rest and len(models) == 1:
            return next(iter(models.values()))
        baseline = self._rest_at(rest, loaded.base_step_s) if rest else None
        members = {
            symbol: loaded.members[symbol][1] if symbol in loaded.members else baseline for symbol in self.rings.symbols
        }
        return Composite({symbol: model for symbol, model in members.items() if model is not None})

    def _rest_at(self, symbols: tuple[str, ...], base_step_s: int) -> Model:
        """The baseline of some symbols at another step, fitted once: trying again must not cost a fit each time."""
        if (symbols, base_step_s) not in self._rests:
            self._rests[symbols, base_step_s] = self._baseline_at(symbols, base_step_s)
        return self._rests[symbols, base_step_s]

    def _try_out(self, model: Model, sequence: FeatureSequence) -> float:
        """Seconds that the fastest of some answers takes; the first one compiles."""
        fastest_s = float("inf")
        for _ in range(_TRIES):
            began_s = time.perf_counter()
            self._runner.try_out(model, sequence)
            fastest_s = min(fastest_s, time.perf_counter() - began_s)
        return fastest_s

    def _serve(self, serving: Serving, executor: Executor | None) -> None:
        before = self.serving
        self._runner.use(serving.model, executor, serving.name)
        if self._on_swap is not None:
            self._on_swap(serving.model, serving.name)
        self.serving = serving
        self.swaps += 1
        log.info("model.swapped", world=self.world, model=serving.name, serves=serving.by_symbol, before=before.name)

    def _tell_refused(self, refused: dict[str, str]) -> None:
        for ref, reason in refused.items():
            if self.refused.get(ref) != reason:
                log.warning("model.refused", world=self.world, model=ref, reason=reason)
        self.refused = refused


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, CrypyError) else f"{type(error).__name__}: {error}"
