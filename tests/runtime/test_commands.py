"""Commands and knobs: one table, one clear sentence per mistake."""

from __future__ import annotations

from decimal import Decimal

import pytest

from crypy.domain.errors import ConfigError
from crypy.runtime.commands import Argument, Command, CommandTable, render
from crypy.runtime.knobs import Knob, amount, number, one_of, switch, whole


async def answer_later(text: str) -> str:
    return f"later {text}"


TABLE = CommandTable(
    [
        Command("ping", "answer pong", lambda: "pong"),
        Command(
            "add",
            "sum of two",
            lambda a, b=1: str(a + b),
            (Argument("a", "first", whole()), Argument("b", "second", whole(), required=False)),
        ),
        Command("say", "repeat", answer_later, (Argument("text", "what to say", rest=True),)),
    ]
)


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("ping", "pong"),
        ("  ping  ", "pong"),
        ("add 2 3", "5"),
        ("add 2", "3"),
        ('say "a  b" c', "later a  b c"),
    ],
)
async def test_a_line_is_parsed_and_answered(line: str, answer: str) -> None:
    assert await TABLE.execute(line) == answer


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("pong", "'pong' is not a command; did you mean ping?"),
        ("xyzzy", "'xyzzy' is not a command; `help` lists them all"),
        ("add", r"add needs A \(first\): add A \[B\]"),
        ("add 1 2 3", "add does not take '3'"),
        ("add one", "'one' is not a whole number"),
        ("say 'half", "quotes"),
        ("", "empty"),
    ],
)
async def test_a_mistake_is_one_sentence(line: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        await TABLE.execute(line)
    assert "\n" not in str(caught.value)


async def test_help_lists_every_command_with_its_arguments() -> None:
    text = render(await TABLE.execute("help"))
    for usage in ("help [VERB]", "ping", "add A [B]", "say TEXT"):
        assert usage in text
    assert "second" in render(await TABLE.execute("help add"))


def test_rows_are_shown_in_aligned_columns() -> None:
    assert render([{"a": "1", "b": "x"}, {"a": "100", "c": "y"}]) == "a    b  c\n1    x\n100     y"
    assert render({"state": "running", "n": "1"}) == "state  running\nn      1"
    assert render([]) == "none"


class Engine:
    edge = 0.02


def make_knob(engine: Engine) -> Knob[float]:
    return Knob(
        "min_edge", lambda: engine.edge, lambda v: setattr(engine, "edge", v), number(0, 0.5), "least edge", "per share"
    )


def test_a_knob_is_shown_with_its_unit_and_turned_within_its_bounds() -> None:
    engine = Engine()
    knob = make_knob(engine)
    assert knob.show() == "0.02 per share"
    knob.turn("0.1")
    assert engine.edge == 0.1
    for wrong, sentence in [
        ("0.6", "min_edge: 0.6 is above the most allowed, 0.5"),
        ("-1", "below"),
        ("nan", "finite"),
        ("x", "not a number"),
    ]:
        with pytest.raises(ConfigError, match=sentence):
            knob.turn(wrong)
    assert engine.edge == 0.1


def test_what_a_person_may_type_for_each_kind_of_value() -> None:
    assert amount()("1.10") == Decimal("1.10")
    assert switch("On") is True
    assert switch("off") is False
    assert one_of("a", "b")("b") == "b"
    for parse, wrong in [
        (amount(), "1e"),
        (amount(), "Infinity"),
        (switch, "maybe"),
        (one_of("a"), "b"),
        (whole(1), "0"),
    ]:
        with pytest.raises(ConfigError):
            parse(wrong)


def test_a_knob_without_a_setter_can_only_be_read() -> None:
    knob = Knob("paper", lambda: True, None, switch, "paper trading")
    assert knob.show() == "on"
    with pytest.raises(ConfigError, match="read but not set"):
        knob.turn("off")
