"""The section of directions in a real browser: what it says, that it follows, that keys and screen readers get along with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from page_kit import Served

from crypy.domain.reports import DirectionReport, Snapshot
from crypy.testing.direction_reports import MadeUpDirections
from crypy.testing.reports import MadeUpReports

pytestmark = pytest.mark.browser


class Both(MadeUpReports):
    """Markets and directions."""

    def __init__(self) -> None:
        super().__init__()
        self.with_directions = True

    def snapshot(self) -> Snapshot:
        directions = MadeUpDirections().directions() if self.with_directions else ()
        return replace(super().snapshot(), directions=directions)


class Bare(MadeUpDirections):
    """A service that has just begun: nothing is known yet, and what the venue is called is not to be trusted."""

    def directions(self) -> tuple[DirectionReport, ...]:
        return (DirectionReport(symbol='<img src=x onerror="document.title=1">', timeframe="1m"),)


def report_of(served: Served[MadeUpDirections], symbol: str, timeframe: str) -> DirectionReport:
    return next(each for each in served.reports.directions() if (each.symbol, each.timeframe) == (symbol, timeframe))


def row_of(page: Any, symbol: str, timeframe: str) -> Any:
    card = page.get_by_role("article", name=symbol)
    return card.locator("tbody tr").filter(has=page.get_by_role("button", name=timeframe, exact=True))


def percent(value: float) -> str:
    return f"{value * 100:.1f} %"


def test_each_symbol_has_a_card_and_each_timeframe_a_row_with_what_was_forecast(
    served_directions: Served[MadeUpDirections], open_page: Any
) -> None:
    page = open_page(served_directions.url)
    assert page.locator("article.direction").count() == 2
    words = {"UP": "▲ up", "DOWN": "▼ down", "FLAT": "– flat"}
    for report in served_directions.reports.directions():
        row, forecast = row_of(page, report.symbol, report.timeframe), report.forecast
        assert forecast is not None
        assert row.locator(".next").inner_text() == words[forecast.direction]
        assert row.locator(".bars > .up").inner_text() == percent(forecast.p_up)
        assert row.locator(".bars > .down").inner_text() == percent(forecast.p_down)
        tie = percent(1 - forecast.p_up - forecast.p_down)
        told = f"up {percent(forecast.p_up)}, tie {tie}, down {percent(forecast.p_down)}"
        assert row.get_by_role("img", name=told, exact=True).count() == 1
        hits = [outcome.hit for outcome in report.outcomes]
        told = f"last 60: {hits.count(True)} right, {hits.count(False)} wrong, {hits.count(None)} undecided"
        assert row.get_by_role("img", name=told, exact=True).count() == 1
        assert [row.locator(f".strip .{name}").count() for name in ("hit", "miss", "none")] == [
            hits.count(True), hits.count(False), hits.count(None)
        ]  # fmt: skip
        share = round(100 * report.counts.hits / report.counts.decided)
        assert row.locator(".share").inner_text() == f"{share} % of {report.counts.decided:,}"
    assert page.complaints == []


def test_without_markets_their_table_is_hidden_and_without_directions_the_section_is(
    served_directions: Served[MadeUpDirections], served: Served[MadeUpReports], open_page: Any
) -> None:
    page = open_page(served_directions.url)
    assert page.is_visible("#directions")
    assert not page.is_visible("#markets")
    assert not page.is_visible("#filters")
    assert page.eval_on_selector_all("#counters dt", "names => names.map(name => name.textContent)") == [
        "forecasts",
        "errors",
    ]
    page = open_page(served.url)
    assert not page.is_visible("#directions")
    assert page.is_visible("#markets")


@pytest.mark.parametrize("width", [1_280, 1_680])
def test_markets_and_directions_share_a_page(open_page: Any, width: int) -> None:
    served = Served(Both())
    served.start()
    try:
        page = open_page(served.url)
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_selector("body.both")
        boxes = {name: page.locator(name).bounding_box() for name in ("#markets", "#directions")}
        markets, directions = boxes["#markets"], boxes["#directions"]
        beside = directions["x"] >= markets["x"] + markets["width"] - 1
        above = directions["y"] + directions["height"] <= markets["y"] + 1
        assert beside if width > 1_500 else above
        assert min(markets["height"], directions["height"]) > 200
        assert page.evaluate("document.documentElement.scrollWidth") == width
        served.reports.with_directions = False
        page.wait_for_selector("#directions", state="hidden")
        assert page.locator("article.direction").count() == 0
    finally:
        served.stop()


def test_the_timeframe_is_chosen_by_keys_and_lives_in_the_address(
    served_directions: Served[MadeUpDirections], open_page: Any
) -> None:
    page = open_page(served_directions.url)
    candles = page.get_by_role("article", name="BTCUSDT").locator(".chart svg")
    assert candles.get_attribute("aria-label").startswith("BTCUSDT 1m: 60 candles from ")
    button = page.get_by_role("article", name="ETHUSDT").get_by_role("button", name="5m", exact=True)
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('.chart svg').getAttribute('aria-label').startsWith('BTCUSDT 5m')")
    assert page.evaluate("location.hash") == "#timeframe=5m"
    assert button.get_attribute("aria-pressed") == "true"
    served_directions.reports.advance(5)
    made = report_of(served_directions, "ETHUSDT", "5m").forecast
    assert made is not None
    page.wait_for_function(
        "text => document.querySelectorAll('article.direction .bars > .up')[5].textContent === text",
        arg=percent(made.p_up),
    )
    assert page.evaluate("document.activeElement.textContent") == "5m"
    again = open_page(page.url)
    label = again.get_by_role("article", name="ETHUSDT").locator(".chart svg").get_attribute("aria-label")
    assert label.startswith("ETHUSDT 5m: 60 candles")


def test_candles_are_drawn_where_their_prices_are(served_directions: Served[MadeUpDirections], open_page: Any) -> None:
    """Bodies hang between open and close on the linear scale that high and low of all candles span."""
    page = open_page(served_directions.url)
    report = report_of(served_directions, "BTCUSDT", "1m")
    boxes = (
        page.get_by_role("article", name="BTCUSDT")
        .locator(".chart .body")
        .evaluate_all(
            "bodies => bodies.map(({ y, height, parentNode }) => [y.baseVal.value, height.baseVal.value, parentNode.classList.contains('up')])"
        )
    )
    assert len(boxes) == len(report.candles)
    highest = max(range(60), key=lambda i: max(report.candles[i].open, report.candles[i].close))
    lowest = min(range(60), key=lambda i: min(report.candles[i].open, report.candles[i].close))
    ends = [max(report.candles[highest].open, report.candles[highest].close),
            min(report.candles[lowest].open, report.candles[lowest].close)]  # fmt: skip
    top, bottom = boxes[highest][0], boxes[lowest][0] + boxes[lowest][1]
    per_price = (bottom - top) / (ends[0] - ends[1])
    for candle, (y, height, up) in zip(report.candles, boxes, strict=True):
        upper = max(candle.open, candle.close)
        assert y == pytest.approx(top + (ends[0] - upper) * per_price, abs=0.6)
        assert height == pytest.approx(max(1.0, abs(candle.open - candle.close) * per_price), abs=0.6)
        assert up == (candle.close >= candle.open)


def test_calibration_weights_and_scores_are_those_of_the_report(
    served_directions: Served[MadeUpDirections], open_page: Any
) -> None:
    page = open_page(served_directions.url)
    report = report_of(served_directions, "BTCUSDT", "1m")
    card = page.get_by_role("article", name="BTCUSDT")

    def error(bins: Any) -> str:
        return percent(sum(b.count * abs(b.mean_p - b.share_up) for b in bins) / sum(b.count for b in bins))

    plot = card.locator(".reliability")
    assert plot.get_attribute("aria-label") == (
        f"reliability: calibration error {error(report.bins)}, before calibration {error(report.raw_bins)}"
    )
    assert plot.locator(".calibrated").count() == plot.locator(".raw").count() == 10
    figures = dict(
        card.locator(".scores div").evaluate_all(
            "rows => rows.map(row => [...row.children].map(each => each.textContent))"
        )
    )
    assert report.log_loss is not None
    assert report.brier is not None
    assert figures["log loss"] == f"{report.log_loss:.5f}"
    assert figures["Brier"] == f"{report.brier:.5f}"
    assert figures["calibration error"] == error(report.bins)
    assert figures["answered in"] == "4.21 ms"
    members = card.locator(".members li").evaluate_all(
        "rows => rows.map(row => [row.querySelector('.who').textContent, row.querySelector('.weight').textContent, row.querySelector('i').style.width])"
    )
    assert members == [[each.name, percent(each.weight), f"{100 * each.weight:g}%"] for each in report.members]


def test_a_report_that_must_not_be_trusted_says_why(
    served_directions: Served[MadeUpDirections], open_page: Any
) -> None:
    served_directions.reports.note = "feed silent for 71 s"
    page = open_page(served_directions.url + "#timeframe=15m")
    assert page.locator("article.direction.stale .note").first.inner_text() == "feed silent for 71 s"
    badges = page.locator("article.direction .badge.bad:visible")
    assert [badges.nth(i).get_attribute("title") for i in range(badges.count())] == ["feed silent for 71 s"] * 2


def test_what_is_not_known_yet_is_shown_as_such_and_names_are_only_text(open_page: Any) -> None:
    served = Served(Bare())
    served.start()
    try:
        page = open_page(served.url)
        assert page.locator(".direction h2").inner_text().startswith("<img")
        assert page.locator(".direction img").count() == 0
        assert page.locator(".direction .next").inner_text() == "–"
        assert page.locator(".chart").inner_text() == "no candles yet"
        figures = page.locator(".scores dd").all_inner_texts()
        assert set(figures) == {"–"}
        assert page.title() == "crypy"
        assert page.complaints == []
    finally:
        served.stop()


@pytest.mark.parametrize("width", [420, 760, 1_280, 1_900])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_cards_fit_and_can_be_read_at_every_width(
    served_directions: Served[MadeUpDirections], open_page: Any, width: int, scheme: str
) -> None:
    """Nothing sticks out of its card, and the words of up and down stand 4.5 : 1 off the card (WCAG AA). With CRYPY_SHOT=folder set, leaves pictures there."""
    page = open_page(served_directions.url)
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_function(
        "document.querySelector('.chart svg').getBoundingClientRect().right <= document.querySelector('.chart').getBoundingClientRect().right + 1"
    )
    found = page.evaluate(
        """() => {
            const light = text => {
                const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map(Number).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const card = document.querySelector("article.direction"), room = card.getBoundingClientRect();
            const over = [...card.querySelectorAll("*")].filter(each => each.getBoundingClientRect().right > room.right + 0.5).map(each => each.className);
            const ground = light(getComputedStyle(card).backgroundColor);
            const ratios = ["up", "down"].flatMap(name => [...card.querySelectorAll(`.bars > .${name}`)].filter(each => each.offsetParent)).map(each => {
                const ink = light(getComputedStyle(each).color);
                return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
            });
            return { over, ratios, page: document.documentElement.scrollWidth };
        }"""
    )
    assert found["over"] == []
    assert found["page"] == width
    assert found["ratios"]
    assert min(found["ratios"]) >= 4.5
    if folder := os.environ.get("CRYPY_SHOT"):
        page.screenshot(path=str(Path(folder) / f"directions-{width}-{scheme}.png"))
