// Small pictures of directions, as SVG: candles, hits and misses, chances, reliability.
//
// Nothing is told by colour alone: rising candles are hollow and falling ones filled, hits stand above their line and misses
// hang below it, and each picture says in words (`aria-label`) what it shows.

import { localTime, percent1, price, signed2, utc, whole } from "./words.js";

const NAMESPACE = "http://www.w3.org/2000/svg";

function shape(tag, attributes, text = "") {
  const made = document.createElementNS(NAMESPACE, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  if (text) made.textContent = text;
  return made;
}

/** A shape that tells more when it is pointed at. */
function told(node, text) {
  node.append(shape("title", {}, text));
  return node;
}

function picture(width, height, label, className) {
  return shape("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label, class: className });
}

const near = (value) => Math.round(value * 10) / 10;

/** Candles [start_us, open, high, low, close, volume, confirmed], oldest first, with their volumes below; one that may still change is pale. */
export function candleChart(candles, width, height, name, nowUs) {
  const [first, last] = [candles[0], candles[candles.length - 1]];
  const high = Math.max(...candles.map((candle) => candle[2])), low = Math.min(...candles.map((candle) => candle[3]));
  const most = Math.max(...candles.map((candle) => candle[5]));
  const label = `${name}: ${candles.length} candles from ${localTime(first[0], nowUs)}, close ${price(last[4])}, between ${price(low)} and ${price(high)}`;
  const svg = picture(width, height, label, "candles");
  const margin = 76, top = 7, volumeTop = height - 30, bottom = height - 13, step = (width - margin) / candles.length;
  const body = Math.max(1, Math.min(9, step * 0.62));
  const y = (value) => (high > low ? top + (volumeTop - 6 - top) * (high - value) / (high - low) : (top + volumeTop) / 2);
  candles.forEach(([start, open, h, l, close, volume, confirmed], index) => {
    const x = near((index + 0.5) * step), up = close >= open;
    const group = shape("g", { class: `${up ? "up" : "down"}${confirmed ? "" : " open"}` });
    const [upper, lower] = [y(Math.max(open, close)), y(Math.min(open, close))];
    const tall = most > 0 ? (bottom - volumeTop) * volume / most : 0;
    group.append(
      shape("path", { d: `M${x} ${near(y(h))}V${near(upper)}M${x} ${near(lower)}V${near(y(l))}` }),
      shape("rect", { class: "body", x: near(x - body / 2), y: near(upper), width: near(body), height: near(Math.max(1, lower - upper)) }),
      shape("rect", { class: "volume", x: near(x - body / 2), y: near(bottom - tall), width: near(body), height: near(tall) }),
    );
    svg.append(told(group, `${utc(start)}  open ${price(open)}  high ${price(h)}  low ${price(l)}  close ${price(close)}${confirmed ? "" : "  (not closed yet)"}`));
  });
  const right = width - margin + 6, close = y(last[4]);
  svg.append(shape("path", { class: "now", d: `M0 ${near(close)}H${right - 2}` }));
  const words = [[high, top + 4], [low, volumeTop - 2]].filter(([, at]) => Math.abs(at - close - 4) > 12);
  words.forEach(([value, at]) => svg.append(shape("text", { x: right, y: near(at) }, price(value))));
  svg.append(shape("text", { class: "last", x: right, y: near(close + 4) }, price(last[4])));
  svg.append(shape("text", { x: 0, y: height - 1 }, localTime(first[0], nowUs)));
  svg.append(shape("text", { x: width - margin, y: height - 1, "text-anchor": "end" }, localTime(last[0], nowUs)));
  return svg;
}

/** p_up from the left, p_down from the right, the chance of a tie between them; the upright marks are the middle and, dotted, p_up before calibration. */
export function chanceBar(forecast, width) {
  const { p_up: up, p_down: down, raw_p_up: raw } = forecast;
  const tie = Math.max(0, 1 - up - down), height = 14;
  const svg = picture(width, height, `up ${percent1(up)}, tie ${percent1(tie)}, down ${percent1(down)}`, "chances");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.append(
    shape("rect", { class: "tie", x: 0, y: 2, width, height: 10, rx: 2 }),
    shape("rect", { class: "up", x: 0, y: 2, width: near(width * up), height: 10, rx: 2 }),
    shape("rect", { class: "down", x: near(width * (1 - down)), y: 2, width: near(width * down), height: 10, rx: 2 }),
    shape("path", { class: "half", d: `M${width / 2} 0V${height}` }),
    shape("path", { class: "raw", d: `M${near(width * raw)} 0V${height}` }),
  );
  return told(svg, `up ${percent1(up)}, tie ${percent1(tie)}, down ${percent1(down)}; before calibration up ${percent1(raw)}, down ${percent1(forecast.raw_p_down)}`);
}

/** Outcomes [candle_us, forecast, fact, hit], oldest first: hits above the line, misses below it, dots where nothing was decided. */
export function hitStrip(outcomes, width) {
  const height = 18, step = width / Math.max(outcomes.length, 1), thick = Math.max(1, Math.min(4, step * 0.7));
  const count = (hit) => outcomes.filter((outcome) => outcome[3] === hit).length;
  const svg = picture(width, height, `last ${outcomes.length}: ${count(true)} right, ${count(false)} wrong, ${count(null)} undecided`, "strip");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.append(shape("path", { class: "line", d: `M0 9H${width}` }));
  outcomes.forEach(([start, forecast, fact, hit], index) => {
    const box = hit === null ? ["none", 8, 2] : hit ? ["hit", 1, 7] : ["miss", 10, 7];
    const mark = shape("rect", { class: box[0], x: near((index + 0.5) * step - thick / 2), y: box[1], width: near(thick), height: box[2] });
    svg.append(told(mark, `after ${utc(start)}: forecast ${forecast}, fact ${fact}, ${hit === null ? "undecided" : hit ? "right" : "wrong"}`));
  });
  return svg;
}

/** Expected calibration error: mean distance of forecast and frequency, weighted by count; `null` without forecasts. */
export function calibrationError(bins) {
  const total = bins.reduce((sum, { count }) => sum + count, 0);
  return total ? bins.reduce((sum, { mean_p, share_up, count }) => sum + count * Math.abs(mean_p - share_up), 0) / total : null;
}

/** Share that went up against the chance forecast: calibrated as filled dots, raw as rings; their area grows with the count. */
export function reliabilityPlot(bins, rawBins, size) {
  const all = [...bins, ...rawBins];
  const far = Math.max(0.02, ...all.flatMap(({ mean_p, share_up }) => [Math.abs(mean_p - 0.5), Math.abs(share_up - 0.5)]));
  const reach = Math.min(0.5, Math.ceil(far * 20) / 20), most = Math.max(1, ...all.map(({ count }) => count));
  const said = (some) => (some.length ? percent1(calibrationError(some)) : "unknown");
  const svg = picture(size, size, `reliability: calibration error ${said(bins)}, before calibration ${said(rawBins)}`, "reliability");
  const edge = 15, inner = size - edge - 4;
  const x = (p) => near(edge + inner * (p - 0.5 + reach) / (2 * reach)), y = (p) => near(4 + inner * (0.5 + reach - p) / (2 * reach));
  const [least, greatest] = [0.5 - reach, 0.5 + reach];
  svg.append(
    shape("rect", { class: "frame", x: edge, y: 4, width: inner, height: inner }),
    shape("path", { class: "ideal", d: `M${x(least)} ${y(least)}L${x(greatest)} ${y(greatest)}` }),
    shape("path", { class: "half", d: `M${x(0.5)} 4V${4 + inner}M${edge} ${y(0.5)}H${edge + inner}` }),
    shape("text", { x: edge, y: size - 3 }, whole(Math.round(least * 100))),
    shape("text", { x: edge + inner, y: size - 3, "text-anchor": "end" }, `${Math.round(greatest * 100)} %`),
    shape("text", { x: 0, y: y(0.5) + 3 }, "50"),
  );
  for (const [some, className] of [[rawBins, "raw"], [bins, "calibrated"]]) {
    for (const { mean_p, share_up, count } of some) {
      const dot = shape("circle", { class: className, cx: x(mean_p), cy: y(share_up), r: near(1.5 + 3.5 * Math.sqrt(count / most)) });
      svg.append(told(dot, `${className}: forecast ${percent1(mean_p)}, went up ${percent1(share_up)} of ${whole(count)} (${signed2((share_up - mean_p) * 100)} points)`));
    }
  }
  return svg;
}
