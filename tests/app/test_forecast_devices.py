"""What is told of JAX and its devices, and what to do where a card stands idle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crypy.app.forecast.devices import Card, DeviceReport, card_of, hint_for, nvidia_card, report_devices

GTX_1060 = Card("NVIDIA GeForce GTX 1060 6GB", "566.36", 6.1)
RTX_4090 = Card("NVIDIA GeForce RTX 4090", "570.86.15", 8.9)


def test_the_report_is_what_jax_itself_says() -> None:
    jax = pytest.importorskip("jax", reason="the train extra is not installed")
    report = report_devices(lambda: None)
    assert report.installed
    assert (report.jax, report.backend) == (jax.__version__, jax.default_backend())
    assert report.devices == tuple(repr(one) for one in jax.devices())
    assert report.step_us is not None
    assert 0.0 < report.step_us < 60e6
    assert str(report).splitlines()[0] == f"backend={report.backend} devices=[{', '.join(report.devices)}]"
    assert json.loads(json.dumps(report.as_json()))["devices"] == list(report.devices)


def test_without_the_extra_it_says_which_one_to_install() -> None:
    """In a process of its own, in which there is no JAX."""
    code = (
        "import sys; sys.modules['jax'] = None\n"
        "from crypy.app.forecast.devices import report_devices\n"
        "print(report_devices(lambda: None))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.startswith("backend=none devices=[]\n")
    assert "pip install 'crypy[train]'" in told


def test_a_jax_that_cannot_start_is_told_and_not_raised() -> None:
    pytest.importorskip("jax", reason="the train extra is not installed")
    code = "from crypy.app.forecast.devices import report_devices; print(report_devices(lambda: None))"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "JAX_PLATFORMS": "no_such_platform"},
    ).stdout  # fmt: skip
    assert told.startswith("backend=none devices=[]\n")
    assert "JAX cannot start: " in told


@pytest.mark.parametrize(
    ("backend", "card", "has_plugin", "says"),
    [
        ("cpu", None, False, ""),
        ("gpu", RTX_4090, True, ""),
        ("gpu", GTX_1060, True, "stay on CUDA 12 and cuDNN 9.10"),
        ("cpu", GTX_1060, False, "pip install 'crypy[train,gpu]'"),
        ("cpu", GTX_1060, True, "unset LD_LIBRARY_PATH"),
        ("cpu", Card("NVIDIA GeForce GTX 1060 6GB", "470.14", 6.1), True, "install 525 or newer"),
        ("cpu", Card("NVIDIA GeForce GTX 760", "470.14", 3.0), False, "too old for JAX"),
        ("cpu", Card("NVIDIA GeForce GTX 760", "390.157", 0.0), True, "install 525 or newer"),
    ],
)
def test_a_hint_says_what_to_do_about_a_card(backend: str, card: Card | None, has_plugin: bool, says: str) -> None:
    hint = hint_for(backend, card, has_plugin=has_plugin)
    assert says in hint
    assert bool(hint) == bool(says)


@pytest.mark.parametrize(
    ("told", "card"),
    [
        ("NVIDIA GeForce GTX 1060 6GB, 566.36, 6.1\n", GTX_1060),
        ("NVIDIA GeForce GTX 1060 6GB, 566.36, 6.1\nNVIDIA GeForce RTX 4090, 566.36, 8.9\n", GTX_1060),
        ("NVIDIA GeForce GTX 760, 390.157", Card("NVIDIA GeForce GTX 760", "390.157", 0.0)),
        ("NVIDIA GeForce GTX 760, 390.157, [N/A]", Card("NVIDIA GeForce GTX 760", "390.157", 0.0)),
        ("", None),
        ("No devices were found\n", None),
        ('Field "compute_cap" is not a valid field to query.\n', None),
    ],
)
def test_nvidia_smi_is_read(told: str, card: Card | None) -> None:
    assert card_of(told) == card


@pytest.mark.parametrize(
    ("script", "card"),
    [
        ('echo "NVIDIA GeForce GTX 1060 6GB, 566.36, 6.1"', GTX_1060),
        # Drivers before compute_cap was a field: the second question is the simpler one.
        (
            'case "$1" in *compute_cap*) echo "not a valid field"; exit 2;; esac; echo "NVIDIA GeForce GTX 760, 390.157"',
            Card("NVIDIA GeForce GTX 760", "390.157", 0.0),
        ),
        ('echo "NVIDIA-SMI has failed"; exit 9', None),
    ],
)
def test_the_driver_is_asked_by_its_own_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, card: Card | None
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert nvidia_card() == card


def test_a_report_shows_the_card_and_the_hint() -> None:
    report = DeviceReport(True, "0.10.2", "gpu", ("CudaDevice(id=0)",), 1.25, 84.2, GTX_1060, "stay on CUDA 12")
    assert str(report).splitlines() == [
        "backend=gpu devices=[CudaDevice(id=0)]",
        "jax 0.10.2",
        "one step of a small network 84 us, compiled in 1.25 s",
        "card NVIDIA GeForce GTX 1060 6GB, SM 6.1, driver 566.36",
        "stay on CUDA 12",
    ]
