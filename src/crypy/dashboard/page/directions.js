// The section of directions: a card for each symbol, with its candles, what is forecast of each timeframe, and how good that was.
//
// Cards, rows and pictures are renewed only when what they show has changed, so that focus and selection survive the updates.

import { calibrationError, candleChart, chanceBar, hitStrip, reliabilityPlot } from "./charts.js";
import { NONE, element, fixed, localTime, percent1, price, signOf, signed, signed1, utc, whole } from "./words.js";

/** The timeframe whose candles and calibration are shown, "" for each symbol's shortest. */
export const view = { timeframe: "" };

const fixed5 = fixed(5), WORDS = { UP: "▲ up", DOWN: "▼ down", FLAT: "– flat" };
const cards = new Map();
const seconds = (timeframe) => parseFloat(timeframe) * ({ s: 1, m: 60, h: 3600, d: 86400 }[timeframe.slice(-1)] ?? 60);

/** Make a node's children anew if they show something else than what `key` says they show. */
function renew(node, key, make) {
  const text = JSON.stringify(key);
  if (node.shows === text) return;
  node.shows = text;
  node.replaceChildren(...make());
}

const say = (node, text, className = node.className, title = "") => {
  if (node.textContent !== text) node.textContent = text;
  if (node.className !== className) node.className = className;
  if (node.title !== title) node.title = title;
};

function buildCard(symbol) {
  const parts = {
    price: element("span", { className: "price" }), move: element("span", { className: "move" }), note: element("p", { className: "note" }),
    chart: element("div", { className: "chart" }), rows: element("tbody"), plot: element("div", { className: "plot" }),
    figures: element("dl", { className: "scores" }), members: element("ul", { className: "members" }), detail: element("h3"), lines: new Map(),
  };
  const heading = element("h2", { textContent: symbol, id: `direction-${symbol}` });
  const names = ["candle", "next", "up · tie · down", "hits, misses", "right"].map((name) => element("th", { scope: "col", textContent: name }));
  const table = element("table", {}, element("caption", { className: "unseen", textContent: `${symbol}: forecasts of the next candle by timeframe` }),
    element("thead", {}, element("tr", {}, ...names)), parts.rows);
  const body = element("div", { className: "detail" }, parts.plot, parts.figures, parts.members);
  parts.card = element("article", { className: "direction" }, element("header", {}, heading, parts.price, parts.move), parts.note, parts.chart, table, parts.detail, body);
  parts.card.setAttribute("aria-labelledby", heading.id);
  return parts;
}

function buildLine(timeframe, choose) {
  const button = element("button", { type: "button", className: "chip", textContent: timeframe, onclick: () => choose(timeframe) });
  const badge = element("span", { className: "badge bad", textContent: "!", ariaLabel: "stale", hidden: true });
  const cells = ["next", "bars", "marks", "share"].map((className) => element("td", { className }));
  return { row: element("tr", {}, element("th", { scope: "row" }, button, badge), ...cells), button, badge, cells };
}

function writeLine(line, report, chosen) {
  const [next, bars, marks, share] = line.cells, { forecast, counts } = report;
  const pressed = String(report.timeframe === chosen);
  if (line.button.getAttribute("aria-pressed") !== pressed) line.button.setAttribute("aria-pressed", pressed);
  line.row.classList.toggle("stale", Boolean(report.note));
  line.badge.hidden = !report.note;
  if (line.badge.title !== report.note) line.badge.title = report.note;
  if (forecast) {
    const from = forecast.candle_us + seconds(report.timeframe) * 1e6;
    say(next, WORDS[forecast.direction], `next ${{ UP: "up", DOWN: "down" }[forecast.direction] ?? ""}`, `of the candle from ${utc(from)}`);
    const { p_up: up, p_down: down } = forecast;
    renew(bars, [up, down, forecast.raw_p_up], () => [element("span", { className: "up", textContent: percent1(up) }), chanceBar(forecast, 84), element("span", { className: "down", textContent: percent1(down) })]);
  } else {
    say(next, NONE, "next none", report.note || "no forecast yet");
    renew(bars, null, () => [element("span", { className: "none", textContent: NONE })]);
  }
  renew(marks, report.outcomes, () => [hitStrip(report.outcomes, 126)]);
  const told = counts.decided ? `${Math.round(100 * counts.hits / counts.decided)} %` : NONE;
  renew(share, [told, counts.decided], () => [told, element("span", { className: "of", textContent: ` of ${whole(counts.decided)}` })]);
  const title = `${whole(counts.hits)} right of ${whole(counts.decided)} decided that moved; ${whole(counts.flat)} of ${whole(counts.n)} abstained`;
  if (share.title !== title) share.title = title;
}

function scores(report) {
  const { forecast, log_loss: loss, log_loss_gain: gain, brier } = report;
  const percent = (bins) => (bins.length ? percent1(calibrationError(bins)) : NONE);
  return [
    ["log loss", loss === null ? NONE : fixed5(loss), "nats, ties left out; 0.69315 is a coin's"],
    ["gain over a coin", gain === null ? NONE : signed(fixed5)(gain), "log loss of always saying a half, less ours: above zero is better", gain === null ? "" : signOf(gain)],
    ["Brier", brier === null ? NONE : fixed5(brier), "squared error of the chance of up; 0.25 is a coin's"],
    ["calibration error", percent(report.bins), "mean distance of forecast and frequency, weighted by count"],
    ["before calibration", percent(report.raw_bins), "the same of the raw chances"],
    ["answered in", forecast ? (forecast.latency_us < 1e6 ? `${fixed(2)(forecast.latency_us / 1e3)} ms` : `${fixed(1)(forecast.latency_us / 1e6)} s`) : NONE, "from the candle's arrival to the forecast"],
    ["missing candles", forecast ? whole(forecast.missing) : NONE, "among those just before the forecast"],
    ["evidence", report.evidence === null ? NONE : whole(Math.round(report.evidence)), "situations behind the pattern memory's answer"],
  ];
}

function buildMember({ name, weight, p_up: up }) {
  const bar = element("span", { className: "bar", ariaHidden: "true" }, element("i"));
  bar.firstChild.style.width = `${(100 * weight).toFixed(1)}%`;
  const chance = up === null ? NONE : percent1(up);
  return element("li", { title: `${name}: weight ${percent1(weight)}, chance of up ${chance}` }, element("span", { className: "who", textContent: name }),
    element("span", { className: "weight", textContent: percent1(weight) }), bar, element("span", { className: "says", textContent: `▲ ${chance}` }));
}

function writeDetail(parts, report, nowUs) {
  const { candles, forecast } = report, last = candles[candles.length - 1];
  const moved = candles.length > 1 ? Math.log(last[4] / candles[0][4]) * 1e4 : 0;
  say(parts.price, last ? price(last[4]) : NONE);
  say(parts.move, candles.length > 1 ? `${signed1(moved)} bp over ${candles.length - 1} candles` : "", `move ${signOf(moved)}`);
  say(parts.note, report.note);
  parts.note.hidden = !report.note;
  parts.card.classList.toggle("stale", Boolean(report.note));
  const width = Math.max(240, parts.chart.clientWidth || 420);
  renew(parts.chart, [report.timeframe, width, candles], () => (candles.length ? [candleChart(candles, width, 168, `${report.symbol} ${report.timeframe}`, nowUs)] : [element("p", { className: "none", textContent: "no candles yet" })]));
  const made = forecast ? `, last made ${localTime(forecast.made_us, nowUs)}` : "";
  say(parts.detail, `${report.timeframe} candles${made}`, "", forecast ? utc(forecast.made_us) : "");
  renew(parts.plot, [report.bins, report.raw_bins], () => [reliabilityPlot(report.bins, report.raw_bins, 118),
    element("p", { className: "key", ariaHidden: "true" }, element("span", { className: "calibrated", textContent: "calibrated" }), element("span", { className: "raw", textContent: "raw" }))]);
  const figures = scores(report);
  renew(parts.figures, figures, () => figures.map(([name, text, title, className = ""]) => element("div", { title }, element("dt", { textContent: name }), element("dd", { textContent: text, className }))));
  renew(parts.members, report.members, () => report.members.map(buildMember));
}

/** Write the directions of a snapshot; `choose(timeframe)` is called when somebody chooses one. Hidden while there are none. */
export function writeDirections(section, snapshot, choose) {
  const bySymbol = grouped(snapshot.directions);
  section.hidden = !bySymbol.size;
  for (const [symbol, parts] of cards) {
    if (bySymbol.has(symbol)) continue;
    parts.card.remove();
    cards.delete(symbol);
  }
  for (const [symbol, reports] of bySymbol) {
    if (!cards.has(symbol)) {
      cards.set(symbol, buildCard(symbol));
      section.append(cards.get(symbol).card);
    }
    writeCard(cards.get(symbol), reports, choose, snapshot.made_us);
  }
}

function grouped(reports) {
  const found = new Map();
  for (const report of reports) found.set(report.symbol, [...(found.get(report.symbol) ?? []), report]);
  return found;
}

function writeCard(parts, reports, choose, nowUs) {
  const ordered = [...reports].sort((one, other) => seconds(one.timeframe) - seconds(other.timeframe));
  const chosen = ordered.find(({ timeframe }) => timeframe === view.timeframe) ?? ordered[0];
  const wanted = new Set(ordered.map(({ timeframe }) => timeframe));
  for (const [timeframe, line] of parts.lines) {
    if (wanted.has(timeframe)) continue;
    line.row.remove();
    parts.lines.delete(timeframe);
  }
  ordered.forEach((report, index) => {
    if (!parts.lines.has(report.timeframe)) parts.lines.set(report.timeframe, buildLine(report.timeframe, choose));
    const line = parts.lines.get(report.timeframe);
    writeLine(line, report, chosen.timeframe);
    if (parts.rows.children[index] !== line.row) parts.rows.insertBefore(line.row, parts.rows.children[index] ?? null);
  });
  writeDetail(parts, chosen, nowUs);
}
