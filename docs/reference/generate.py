"""Write `cli.md` from the command line's own tables: `python docs/reference/generate.py`.

The texts are those of `--help`; only the layout is ours, so that another version of the command line library changes nothing
here. A test compares the page with what this would write.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("cli.md")

_INTRODUCTION = """\
# Commands

Made from `--help` by `docs/reference/generate.py`; do not edit. `crypy COMMAND --help` shows the same.

- Results go to stdout, everything said to a person to stderr. `--json` prints one JSON object on stdout.
- Exit codes: 0 done, 1 failed (or not whole: `data sync`, `data gaps`), 2 misuse, 130 stopped by Ctrl-C before there was a result.
- Times are ISO 8601 in UTC (`2025-01-01` or `2025-01-01T00:00:00Z`); spans are `90s`, `10m`, `2h`, `1d` or seconds.
- Where `--data-dir` is not given: `CRYPY_DATA_DIR`, else `crypy` in `XDG_DATA_HOME`, else `~/.local/share/crypy`.
- `--config` names a settings file; without it `crypy.toml` in the working folder is read where it exists. All of them: [settings](settings.md).
"""


def commands(command: Any, path: tuple[str, ...] = ("crypy",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that is not hidden with its path, groups before their members."""
    yield path, command
    for name, member in getattr(command, "commands", {}).items():
        if not member.hidden:
            yield from commands(member, (*path, name))


def parameters(command: Any) -> Iterator[Any]:
    """Arguments and options that are shown, `--help` apart."""
    return (each for each in command.params if not getattr(each, "hidden", False) and each.name != "help")


def page() -> str:
    """The whole page as it should be."""
    # Heavy and slow to import: only the one who makes the page needs it.
    from typer.main import get_command

    from crypy.cli.main import app

    return "\n".join([_INTRODUCTION, *(_section(path, command) for path, command in commands(get_command(app)))])


def _section(path: tuple[str, ...], command: Any) -> str:
    shown = list(parameters(command))
    words = [*path, *(each.name.upper() for each in shown if not _is_option(each))]
    words += ["COMMAND"] if getattr(command, "commands", None) else []
    words += ["[OPTIONS]"] if any(_is_option(each) for each in shown) else []
    lines = [f"## {' '.join(path)}", "", f"    {' '.join(words)}", "", *_help(command)]
    if shown:
        lines += ["| option | default | meaning |", "|---|---|---|", *(_row(each) for each in shown), ""]
    return "\n".join(lines)


def _help(command: Any) -> list[str]:
    """The help's paragraphs, each on one line."""
    paragraphs = (command.help or "").strip().split("\n\n")
    return [line for text in paragraphs if text.strip() for line in (" ".join(text.split()), "")]


def _row(parameter: Any) -> str:
    name = ", ".join(parameter.opts) if _is_option(parameter) else parameter.name.upper()
    return f"| `{name}` | {_default(parameter)} | {parameter.help or ''} |"


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if parameter.default in (None, "", False):
        return ""
    return f"`{parameter.default}`"


def _is_option(parameter: Any) -> bool:
    return parameter.opts[0].startswith("-")


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
