"""What JAX computes on here, and what to do where a graphics card stands idle: for `crypy forecast run --dry-run` and `crypy doctor`."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

# Where WSL2 puts what Windows' driver brings along; it is not always on the PATH.
_WSL: Final = Path("/usr/lib/wsl/lib/nvidia-smi")
_ASK_LIMIT_S: Final = 10.0
# What JAX's installation page says of CUDA 12, and from what capability on it and NVIDIA speak of CUDA 13 and of cuDNN after 9.10.
_LEAST_DRIVER: Final = 525
_LEAST_CAPABILITY: Final = 5.2
_MODERN_CAPABILITY: Final = 7.5


@dataclass(frozen=True, slots=True)
class Card:
    """An NVIDIA card as its driver tells of it; `capability` is its SM version, such as 6.1, 0 where an old driver does not tell."""

    name: str
    driver: str
    capability: float


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """`installed` says whether JAX is there, `backend` is cpu, gpu, tpu or "" where JAX could not start. `step_us` is the time of one compiled
    step of a small network, `compile_s` what compiling it took. `card` is the first NVIDIA card, `None` where no driver tells of one. `hint` is
    what to do, empty where nothing is to be done."""

    installed: bool
    jax: str = ""
    backend: str = ""
    devices: tuple[str, ...] = ()
    compile_s: float | None = None
    step_us: float | None = None
    card: Card | None = None
    hint: str = ""

    def as_json(self) -> dict[str, Any]:
        """As `--json` shows it."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"backend={self.backend or 'none'} devices=[{', '.join(self.devices)}]"]
        if self.installed:
            lines.append(f"jax {self.jax}")
        if self.step_us is not None and self.compile_s is not None:
            lines.append(f"one step of a small network {self.step_us:.0f} us, compiled in {self.compile_s:.2f} s")
        if self.card is not None:
            lines.append(f"card {self.card.name}, SM {self.card.capability:g}, driver {self.card.driver}")
        return "\n".join([*lines, *([self.hint] if self.hint else [])])


def nvidia_card() -> Card | None:
    """The first card that `nvidia-smi` tells of, `None` without a driver or a card."""
    command = shutil.which("nvidia-smi") or (str(_WSL) if _WSL.is_file() else "")
    if not command:
        return None
    for fields in ("name,driver_version,compute_cap", "name,driver_version"):
        try:
            told = subprocess.run(
                [command, f"--query-gpu={fields}", "--format=csv,noheader"],
                capture_output=True, text=True, timeout=_ASK_LIMIT_S, check=True,
            ).stdout  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            continue
        if (card := card_of(told)) is not None:
            return card
    return None


def card_of(told: str) -> Card | None:
    """The first line of `nvidia-smi --query-gpu=name,driver_version,compute_cap --format=csv,noheader`.

    >>> card_of("NVIDIA GeForce GTX 1060 6GB, 566.36, 6.1")
    Card(name='NVIDIA GeForce GTX 1060 6GB', driver='566.36', capability=6.1)
    """
    words = [word.strip() for word in told.strip().partition("\n")[0].split(",")]
    if len(words) < 2 or not words[1][:1].isdigit():
        return None
    try:
        return Card(words[0], words[1], float(words[2]) if len(words) > 2 else 0.0)
    except ValueError:
        return Card(words[0], words[1], 0.0)


def report_devices(card: Callable[[], Card | None] = nvidia_card) -> DeviceReport:
    """Start JAX, run one small compiled step, and tell. About a second; a JAX that cannot start is told, not raised."""
    found = card()
    try:
        import jax
    except ModuleNotFoundError:
        hint = "JAX is not installed: two-head networks are served without it, training and LSTMs need it; `pip install 'crypy[train]'` brings it"
        return DeviceReport(installed=False, card=found, hint=hint)
    try:
        devices = jax.devices()
        compile_s, step_us = _timed_step()
    except Exception as error:  # a driver or plug-in can fail in any way, and that is what is to be told
        told = f"JAX cannot start: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        return DeviceReport(True, jax.__version__, card=found, hint=told)
    backend = jax.default_backend()
    hint = hint_for(backend, found, has_plugin=find_spec("jax_cuda12_plugin") is not None)
    return DeviceReport(
        True, jax.__version__, backend, tuple(repr(one) for one in devices), compile_s, step_us, found, hint
    )


def hint_for(backend: str, card: Card | None, *, has_plugin: bool) -> str:
    """What to do so that a card is used, and used safely; empty where all is well or there is no card."""
    if card is None:
        return ""
    if backend == "cpu":
        if card.capability and card.capability < _LEAST_CAPABILITY:
            return f"{card.name} (SM {card.capability:g}) is too old for JAX, which needs SM {_LEAST_CAPABILITY} or newer; the processor is used"
        if not has_plugin:
            return f"{card.name} is there and JAX uses the processor: `pip install 'crypy[train,gpu]'` brings JAX's CUDA 12 wheels"
        if int(card.driver.partition(".")[0]) < _LEAST_DRIVER:
            return f"the driver {card.driver} is too old for CUDA 12: install {_LEAST_DRIVER} or newer"
        return f"JAX does not see {card.name} although its CUDA wheels are there: unset LD_LIBRARY_PATH and JAX_PLATFORMS, and see that the driver works"
    if 0.0 < card.capability < _MODERN_CAPABILITY:
        return f"{card.name} is of SM {card.capability:g}: stay on CUDA 12 and cuDNN 9.10, the last that lists it (`pip install 'nvidia-cudnn-cu12<9.11'`)"
    return ""


def _timed_step() -> tuple[float, float]:
    """Seconds to compile a step of a small network, and microseconds that one takes (the quickest of ten)."""
    import jax
    import jax.numpy as jnp

    def step(weight: jax.Array, x: jax.Array) -> jax.Array:
        return jax.nn.softmax(jax.nn.silu(x @ weight) @ weight.T)

    weight, x = jnp.full((64, 32), 0.01), jnp.ones((2, 64))
    began = time.perf_counter()
    compiled = jax.jit(step)
    jax.block_until_ready(compiled(weight, x))
    compile_s, took = time.perf_counter() - began, [0.0] * 10
    for index in range(len(took)):
        began = time.perf_counter()
        jax.block_until_ready(compiled(weight, x))
        took[index] = time.perf_counter() - began
    return compile_s, 1e6 * min(took)
