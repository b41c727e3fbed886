"""The report of an evaluation: one page that needs nothing else, says what the numbers say, and trusts no name."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from crypy.distributions.skew_t import ZeroMeanSkewStudentT
from crypy.domain.errors import DataError
from crypy.models.hindcast import Hindcast
from crypy.training.evaluation import Difference, Evaluation, ReliabilityBin, WindowScore
from crypy.training.report import write_report
from crypy.training.report.panels import span_text
from crypy.training.report.style import as_svg, drawing
from crypy.training.report.tables import verdict
from crypy.training.scoring import evaluate, judged_range

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

START_S = 1_735_689_600  # 2025-01-01
EVIL = '<script>alert("$1")</script> & $x_1$'


def cast(symbol_seed: int, days: int, sharpness: float) -> Hindcast:
    """Forecasts every hour of a law that is known; `sharpness` 1 has the true scale at each moment, 0 only its mean."""
    rng = np.random.default_rng(symbol_seed)
    origins_s = START_S + 3_600 * np.arange(24 * days)
    horizons_s = np.array([3_600.0, 14_400.0])
    true = 0.01 * np.exp(0.6 * np.sin(np.arange(len(origins_s)) / 30)[:, None]) * np.sqrt(horizons_s / 3_600)
    returns = true * ZeroMeanSkewStudentT(1.0, -0.05, 5.0).sample(rng, true.size).reshape(true.shape)
    said = true**sharpness * true.mean(axis=0) ** (1 - sharpness)
    return Hindcast(origins_s, horizons_s, returns, said, np.full(true.shape, -0.05), np.full(true.shape, 5.0))


def questions(symbol: str) -> tuple[WindowScore, ...]:
    bins = tuple(
        ReliabilityBin(
            n=50,
            forecast=share,
            up=min(1.0, share + 0.02),
            low=max(0.0, share - 0.05),
            high=None if share > 0.8 else share + 0.1,
        )
        for share in (0.05, 0.35, 0.65, 0.95)
    )
    against = Difference(n=200, gain=0.01, se=0.01, low=-0.01, high=0.03, hac_se=0.01, hac_lag=3, dm=1.0, p_value=0.3)
    return tuple(
        WindowScore(
            symbol=symbol, duration="1h", rule=rule, elapsed_s=elapsed_s, n=200, up=0.5, log_loss=0.6, brier=0.2,
            reliability=bins, vs={"baseline": {"log_loss": against, "brier": against}},
        )
        for elapsed_s in (360, 1_800)
        for rule in ("settlement", "point")
    )  # fmt: skip


def evaluation(days: int = 40, symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT"), name: str = EVIL) -> Evaluation:
    models = {
        model: {symbol: cast(seed, days, sharpness) for seed, symbol in enumerate(symbols)}
        for model, sharpness in ((name, 1.0), ("baseline", 0.5))
    }
    found = evaluate(models, ["baseline"], judged_range(START_S, START_S + days * 86_400, 3_600))
    first = msgspec.structs.replace(
        found.models[0], windows=tuple(one for symbol in symbols for one in questions(symbol))
    )
    return msgspec.structs.replace(found, models=(first, *found.models[1:]))


class Page(HTMLParser):
    """Tags with their attributes, and the texts between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def judged() -> Evaluation:
    return evaluation()


@pytest.fixture(scope="module")
def written(judged: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    assert write_report(judged, folder) == folder / "report.html"
    return folder


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    return Page((written / "report.html").read_text("utf-8"))


@pytest.mark.slow
def test_every_picture_stands_on_the_page_and_beside_it(written: Path, page: Page) -> None:
    names = {path.stem for path in written.glob("*.png")}
    assert names == {
        "gains", "over-time", "pit", "coverage", "tails", "calibration", "by-hour", "by-regime", "reliability", "fans",
    }  # fmt: skip
    sections = {attributes["id"] for tag, attributes in page.tags if tag == "section"}
    assert names | {"scores", "models", "windows"} == sections
    links = {attributes["href"] for tag, attributes in page.tags if tag == "a"}
    assert links == {f"#{name}" for name in sections}
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in written.glob("*.png"))


@pytest.mark.slow
def test_the_page_needs_neither_network_nor_script(written: Path, page: Page) -> None:
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object", "embed")]
    sources = [attributes["src"] or "" for tag, attributes in page.tags if tag == "img"]
    assert sources
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert "url(" not in (written / "report.html").read_text("utf-8")


@pytest.mark.slow
def test_names_from_outside_are_text_and_never_markup(written: Path, page: Page) -> None:
    text = (written / "report.html").read_text("utf-8")
    assert "<script" not in text
    assert any(EVIL in each for each in page.texts)
    assert any(EVIL in (attributes.get("alt") or "") for tag, attributes in page.tags if tag == "img")


@pytest.mark.slow
def test_every_picture_says_in_words_what_it_shows(page: Page, judged: Evaluation) -> None:
    alts = [attributes.get("alt") or "" for tag, attributes in page.tags if tag == "img"]
    assert all(len(alt) > 40 and re.search(r"\d", alt) for alt in alts)
    worst = max(judged.models[0].scores, key=lambda score: score.pit_ks)
    assert any(f"by {worst.pit_ks:.3f}" in alt for alt in alts)


@pytest.mark.slow
def test_the_table_has_the_numbers_of_the_evaluation_and_a_verdict_in_words(page: Page, judged: Evaluation) -> None:
    text = " ".join(page.texts)
    for score in judged.models[0].scores:
        found = score.vs["baseline"]["nll"]
        assert found.low is not None
        assert found.high is not None
        assert f"{found.gain:+.4f}" in text
        assert f"[{found.low:+.4f}, {found.high:+.4f}]" in text
    assert "▲ better" in text
    assert "Against baseline, log score in 4 cells: 4 better." in text
    classes = {attributes.get("class") for tag, attributes in page.tags if tag == "td"}
    assert {"n better", "n unclear"} <= classes


@pytest.mark.slow
def test_equal_evaluations_give_equal_bytes(written: Path, judged: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    write_report(judged, tmp_path)
    assert (tmp_path / "note.txt").read_text() == "mine"
    for path in written.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.slow
def test_the_numbers_behind_it_are_those_of_the_evaluation(written: Path, judged: Evaluation) -> None:
    assert msgspec.json.decode((written / "result.json").read_bytes()) == msgspec.json.decode(
        msgspec.json.encode(judged.as_json())
    )


@pytest.mark.slow
def test_a_short_range_and_a_model_alone_are_reported_with_what_is_known(tmp_path: Path) -> None:
    short = evaluation(days=5, symbols=("BTCUSDT",), name="model")
    assert short.models[0].scores[0].vs["baseline"]["nll"].low is None
    page = Page(write_report(short, tmp_path / "short").read_text("utf-8"))
    assert any("too few days" in text for text in page.texts)
    alone = msgspec.structs.replace(short, models=short.models[1:])
    page = Page(write_report(alone, tmp_path / "alone").read_text("utf-8"))
    assert any("nothing to compare" in text for text in page.texts)
    assert not (tmp_path / "alone" / "gains.png").exists()
    assert (tmp_path / "alone" / "pit.png").exists()


def test_nothing_to_report_on_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    empty = Evaluation(reference="baseline", models=())
    with pytest.raises(DataError, match="nothing to report"):
        write_report(empty, tmp_path / "report")
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.001, 0.01, "better"),
        (-0.01, -0.001, "worse"),
        (-0.01, 0.01, "unclear"),
        (0.0, 0.01, "unclear"),
        (None, None, "unknown"),
    ],
)
def test_better_is_only_what_leaves_zero_out(low: float | None, high: float | None, said: str) -> None:
    found = Difference(n=9, gain=0.0, se=None, low=low, high=high, hac_se=None, hac_lag=1, dm=None, p_value=None)
    assert verdict(found) == said


def test_spans_are_written_as_people_write_them() -> None:
    shown = {300: "5m", 3_600: "1h", 86_400: "1d", 12_960: "3h36m", 1: "1s", 90_061: "1d1h1m1s", 0: "0s"}
    assert {seconds: span_text(seconds) for seconds in shown} == shown


def test_the_ink_of_a_picture_follows_the_theme() -> None:
    from matplotlib.figure import Figure

    with drawing():
        figure = Figure()
        figure.subplots().set_title("a < b & c")
        svg = as_svg(figure).decode()
    assert "#1a1b1c" not in re.sub(r"<style>svg.*?</style>", "", svg)
    assert "var(--ink)" in svg
    assert "prefers-color-scheme:dark" in svg
    assert "<dc:date>" not in svg


def test_without_matplotlib_the_extra_is_named() -> None:
    program = (
        "import sys\nsys.modules['matplotlib'] = None\nfrom crypy.domain.errors import ConfigError\n"
        "from crypy.training.report import require_drawing\n"
        "try:\n    require_drawing()\nexcept ConfigError as error:\n    print(error)"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout == "a report needs matplotlib; install it with `pip install 'crypy[train]'`\n"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_all_of_it_in_both_themes(browser: Any, written: Path, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme, offline=True, viewport={"width": 390, "height": 800})
    tab = context.new_page()
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("dialog", lambda dialog: complaints.append(dialog.message))
    tab.goto((written / "report.html").as_uri())
    widths = tab.evaluate(
        "Promise.all([...document.images].map(image => image.decode().then(() => image.naturalWidth)))"
    )
    assert len(widths) == 10
    assert min(widths) > 500
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(23, 25, 27)")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390, "the page itself does not scroll sideways"
    assert not complaints
    context.close()
