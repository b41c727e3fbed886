"""One table of commands for the terminal, and later for the command line and REST.

A command is a verb, its arguments, a sentence of help and a handler. The handler answers with
values (a text, one row, or several rows); `render` makes lines for a person of them, `--json` and REST pass them on as they are.
Mistakes of whoever types are `ConfigError`s with one sentence.
"""

from __future__ import annotations

import difflib
import inspect
import shlex
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from crypy.domain.errors import ConfigError

Row = Mapping[str, str]
Answer = str | Row | Sequence[Row]


@dataclass(frozen=True, slots=True)
class Argument:
    """One word behind a verb. `parse` raises `ConfigError`; an optional one that is absent is not passed on.

    `rest` takes the whole rest of the line as it was split, joined by single blanks.
    """

    name: str
    help: str
    parse: Callable[[str], object] = str
    required: bool = True
    rest: bool = False

    @property
    def usage(self) -> str:
        return self.name.upper() if self.required else f"[{self.name.upper()}]"


@dataclass(frozen=True, slots=True)
class Command:
    """A verb and what it does. `handler` takes the parsed arguments in order; it may be async."""

    verb: str
    help: str
    handler: Callable[..., Answer | Awaitable[Answer]]
    arguments: tuple[Argument, ...] = ()

    @property
    def usage(self) -> str:
        return " ".join((self.verb, *(argument.usage for argument in self.arguments)))


class CommandTable:
    """Commands by verb, with `help` before them all; the first of a verb wins, so special ones go before general ones.

    >>> table = CommandTable([Command("ping", "answer pong", lambda: "pong")])
    >>> table.parse("ping")
    ('ping', [])
    """

    def __init__(self, commands: Iterable[Command]) -> None:
        self._commands: dict[str, Command] = {}
        verb = Argument("verb", "the command to explain", required=False)
        for command in (Command("help", "list the commands, or explain one", self.help, (verb,)), *commands):
            self._commands.setdefault(command.verb, command)

    @property
    def commands(self) -> tuple[Command, ...]:
        return tuple(self._commands.values())

    def parse(self, line: str) -> tuple[str, list[object]]:
        """Verb and parsed arguments of a line. Raises `ConfigError`: unknown verb, too few or too many words, bad quotes."""
        try:
            words = shlex.split(line)
        except ValueError:
            raise ConfigError(f"the quotes in {line!r} do not match") from None
        if not words:
            raise ConfigError("an empty line holds no command; `help` lists them all")
        command = self._find(words[0])
        return command.verb, _parse_arguments(command, words[1:])

    async def execute(self, line: str) -> Answer:
        """Parse and run a line. Raises `ConfigError` for what was typed wrongly and whatever the handler raises."""
        verb, arguments = self.parse(line)
        answer = self._commands[verb].handler(*arguments)
        if inspect.isawaitable(answer):
            return await answer
        return answer

    def help(self, verb: str | None = None) -> Answer:
        """All commands, one row each; or one with its arguments."""
        if verb is None:
            return [{"command": command.usage, "": command.help} for command in self._commands.values()]
        command = self._find(verb)
        rows = [{"command": command.usage, "": command.help}]
        return rows + [{"command": f"  {each.usage}", "": each.help} for each in command.arguments]

    def _find(self, verb: str) -> Command:
        if verb in self._commands:
            return self._commands[verb]
        close = difflib.get_close_matches(verb, self._commands, n=1)
        hint = f"did you mean {close[0]}?" if close else "`help` lists them all"
        raise ConfigError(f"{verb!r} is not a command; {hint}")


def _parse_arguments(command: Command, words: list[str]) -> list[object]:
    parsed: list[object] = []
    left = list(words)
    for argument in command.arguments:
        if not left:
            if argument.required:
                raise ConfigError(f"{command.verb} needs {argument.name.upper()} ({argument.help}): {command.usage}")
            break
        word = " ".join(left) if argument.rest else left[0]
        left = [] if argument.rest else left[1:]
        parsed.append(argument.parse(word))
    if left:
        raise ConfigError(f"{command.verb} does not take {' '.join(left)!r}: {command.usage}")
    return parsed


def render(answer: Answer) -> str:
    """Lines for a person: a text as it is, a row as `name  value` lines, rows as a table with aligned columns."""
    if isinstance(answer, str):
        return answer
    if isinstance(answer, Mapping):
        return _align([[key, value] for key, value in answer.items()])
    rows = list(answer)
    if not rows:
        return "none"
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return _align([columns, *([row.get(column, "") for column in columns] for row in rows)])


def _align(table: list[list[str]]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in table)
    return "\n".join(line.rstrip() for line in lines)
