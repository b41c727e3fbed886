"""The pages themselves: their links lead somewhere, their code runs, and they name nobody's machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from docs_kit import DOCS, PAGES, ROOT, anchors, blocks, links, named

RUN = [
    pytest.param(path, code, line, id=f"{named(path)}:{line}")
    for path in PAGES
    for kind, code, line in blocks(path.read_text("utf-8"))
    if kind == "python run"
]
# Blocks that need what not everybody installs: `python run if torch`.
RUN_IF = [
    pytest.param(path, code, line, kind.split()[-1], id=f"{named(path)}:{line}")
    for path in PAGES
    for kind, code, line in blocks(path.read_text("utf-8"))
    if kind.startswith("python run if ")
]
# Folders of one person's machine; what the program itself says of a home is written with ~.
_MACHINE = re.compile(r"(?<![\w.~])/(?:home|work|tmp|root|Users|var|mnt|opt)/|[A-Z]:\\\\")


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_relative_links_resolve(path: Path) -> None:
    for link in links(path.read_text("utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), f"{named(path)} links to {link}, which is not there"
        assert found.is_relative_to(ROOT), f"{named(path)} links out of the project: {link}"
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found.read_text("utf-8")), f"{named(path)}: {link} names no heading"


def test_every_page_is_found_from_the_index() -> None:
    reached = {DOCS / "README.md"}
    waiting = list(reached)
    while waiting:
        page = waiting.pop()
        for link in links(page.read_text("utf-8")):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target.exists() and target not in reached:
                reached.add(target)
                waiting.append(target)
    assert [named(path) for path in PAGES if path not in reached] == []


@pytest.mark.parametrize(("path", "code", "line"), RUN)
def test_python_blocks_run(path: Path, code: str, line: int) -> None:
    # Line breaks before the code, so that a traceback names the page's own line.
    exec(compile("\n" * (line - 1) + code, str(path), "exec", dont_inherit=True), {"__name__": "__docs__"})


@pytest.mark.parametrize(("path", "code", "line", "module"), RUN_IF)
def test_python_blocks_run_where_their_module_is_installed(path: Path, code: str, line: int, module: str) -> None:
    pytest.importorskip(
        module, reason=f"{module} is not installed: the page shows it, this environment does not run it"
    )
    test_python_blocks_run(path, code, line)


def test_there_is_code_to_run() -> None:
    assert len(RUN) >= 4


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_no_page_names_a_path_of_a_machine(path: Path) -> None:
    assert _MACHINE.findall(path.read_text("utf-8")) == []


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_fences_are_closed(path: Path) -> None:
    assert path.read_text("utf-8").count("\n```") % 2 == 0
