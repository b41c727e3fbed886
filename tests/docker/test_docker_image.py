"""The image as far as it can be looked at without Docker: lawful instructions, files that are there, versions that agree, and that what it copies installs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "docker" / "Dockerfile"
# https://docs.docker.com/reference/dockerfile/
INSTRUCTIONS = {
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "ONBUILD", "RUN", "SHELL",
    "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
}  # fmt: skip


def instructions(text: str) -> list[tuple[str, str]]:
    """Instruction and arguments, continued lines joined and comments left out."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found: list[tuple[str, str]] = []
    for line in joined.splitlines():
        name, _, rest = line.strip().partition(" ")
        found.append((name, rest.strip()))
    return found


def given(name: str) -> list[str]:
    return [rest for instruction, rest in instructions(DOCKERFILE.read_text()) if instruction == name]


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def copied() -> list[tuple[str, str]]:
    """(from, to) of every COPY."""
    pairs: list[tuple[str, str]] = []
    for rest in given("COPY"):
        *sources, target = rest.split()
        pairs += [(source, target) for source in sources]
    return pairs


def reaches_docker(path: str) -> bool:
    """Whether `.dockerignore` lets a path in; the last line that matches decides, and a folder's line speaks for what is in it."""
    let_in = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        excepts, pattern = pattern.startswith("!"), pattern.removeprefix("!")
        parts = Path(path).parts
        names = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        if pattern.startswith("**/"):
            matches = any(fnmatch(part, pattern.removeprefix("**/")) for part in parts)
        else:
            matches = any(fnmatch(name, pattern) and name.count("/") >= pattern.count("/") for name in names)
        if matches:
            let_in = excepts
    return let_in


def test_every_instruction_is_one_of_dockers_and_the_first_says_from_what() -> None:
    found = instructions(DOCKERFILE.read_text())
    assert {name for name, _ in found} <= INSTRUCTIONS
    assert all(rest for _, rest in found)
    assert next(name for name, _ in found if name != "ARG") == "FROM"
    for name in ("ENTRYPOINT", "CMD"):
        assert re.fullmatch(r'\["[^"]+"(, "[^"]+")*\]', given(name)[0]), (
            "the form without a shell, so that signals arrive"
        )


def test_python_is_the_one_that_the_project_asks_for() -> None:
    version = re.fullmatch(r"python:(\d+\.\d+)-slim", given("FROM")[0])
    assert version is not None
    assert f">={version[1]}" == project()["project"]["requires-python"]
    assert version[1] == project()["tool"]["pyright"]["pythonVersion"]


def test_what_is_copied_is_there_and_is_let_in_and_nothing_else_is() -> None:
    for source, _ in copied():
        assert (ROOT / source).exists(), source
        assert reaches_docker(source), source
    assert reaches_docker("src/crypy/dashboard/page/app.js")
    assert reaches_docker("src/crypy/models/shipped/minutes/arrays.safetensors")
    for secret in (
        ".git/config",
        ".venv/bin/python",
        "crypy-data/vault",
        "tests/conftest.py",
        ".env",
        "src/crypy/__pycache__/x.pyc",
    ):
        assert not reaches_docker(secret), secret


def test_what_the_build_needs_is_copied() -> None:
    sources = {source for source, _ in copied()}
    about = project()
    needed = {about["project"]["readme"], *about["project"]["license-files"], "pyproject.toml"}
    needed |= {Path(package).parts[0] for package in about["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}
    assert needed <= sources


def test_extras_entry_point_and_settings_exist() -> None:
    extras = next(rest for rest in given("ARG") if rest.startswith("EXTRAS=")).partition("=")[2].split(",")
    assert set(extras) <= set(project()["project"]["optional-dependencies"])
    assert {"train", "gpu"} <= set(extras)
    assert re.findall(r'"([^"]+)"', given("ENTRYPOINT")[0])[0] in project()["project"]["scripts"]
    own = re.findall(r"\b(CRYPY_\w+)=", " ".join(given("ENV")))
    sources = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    assert own
    assert all(f'"{name}"' in sources for name in own)


def test_it_does_not_run_as_root_and_holds_no_secret() -> None:
    found = [name for name, _ in instructions(DOCKERFILE.read_text())]
    assert given("USER") == ["crypy"]
    assert found.index("USER") < found.index("ENTRYPOINT")
    assert "USER" not in found[found.index("ENTRYPOINT") :]
    named = " ".join(given("ARG") + given("ENV")).upper()
    assert not re.search(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", named)
    assert not given("ADD"), "ADD may fetch from anywhere"


def test_constraints_are_lawful_and_leave_old_cards_their_cudnn() -> None:
    requirements = pytest.importorskip("packaging.requirements")
    lines = [line for line in (ROOT / "docker/constraints.txt").read_text().splitlines() if not line.startswith("#")]
    limits = {one.name: one.specifier for one in map(requirements.Requirement, filter(None, lines))}
    assert limits["nvidia-cudnn-cu12"].contains("9.10.2.21")
    assert not limits["nvidia-cudnn-cu12"].contains("9.11.0.98")
    assert "--constraint docker/constraints.txt" in given("RUN")[0]
    assert any("jax[cuda12]" in one for one in project()["project"]["optional-dependencies"]["gpu"])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_it_copies_installs_in_a_fresh_environment_and_runs(tmp_path: Path) -> None:
    """`pip install .` of nothing but the copied files. What it depends on is taken from this environment: resolving it again takes minutes."""
    context = tmp_path / "context"
    for source, target in copied():
        place = context / target / (source if target in (".", "./") else "")
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            shutil.copy(ROOT / source, place)
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    install = next(rest for rest in given("RUN") if "pip install" in rest)
    command = install.replace('".[${EXTRAS}]"', ".").replace("pip install", "install --quiet --no-deps").split()
    subprocess.run([environment / "bin" / "pip", *command], cwd=context, check=True)
    site = next((environment / "lib").glob("python*")) / "site-packages"
    page = {path.name for path in (ROOT / "src/crypy/dashboard/page").iterdir()}
    assert {path.name for path in (site / "crypy/dashboard/page").iterdir()} == page
    told = subprocess.run(
        [environment / "bin" / "crypy", "forecast", "--help"], capture_output=True, text=True, check=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))},
    )  # fmt: skip
    assert "cannot trade" in told.stdout
    metadata = next(site.glob("crypy-*.dist-info/METADATA")).read_text()
    assert "Provides-Extra: gpu" in metadata
