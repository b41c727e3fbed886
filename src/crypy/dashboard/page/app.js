// The page: takes snapshots as they are pushed and writes into the cells what has changed.
//
// Rows are keyed by slug and never rebuilt, so nothing flickers and a selection survives. All times
// and countdowns follow the snapshot's own clock (it may run faster than the wall). Values come from
// outside: they are only ever written as text.

import { view, writeDirections } from "./directions.js";
import { draw, forecastPoints } from "./fan.js";
import { NONE, age, basisPoints, element, fixed1, fixed2, fixed3, fixed4, formats, localTime, percent1, price, signOf, signed1, signed2, span, utc, whole } from "./words.js";

const HISTORY_US = 3600e6, HISTORY_POINTS = 1200, SILENCE_MS = 3000;
const byId = (id) => document.getElementById(id);

// ---------------------------------------------------------------- columns

const mid = (row) => (row.best_bid !== null && row.best_ask !== null ? (row.best_bid + row.best_ask) / 2 : null);
const tokens = (value) => (value === 0 ? null : value);

/** What acting on the book would gain per share before fees: [gain, side], side "up" to buy Up at the ask. */
function edge(row) {
  if (row.probability === null) return null;
  const up = row.best_ask === null ? -Infinity : row.probability - row.best_ask;
  const down = row.best_bid === null ? -Infinity : row.best_bid - row.probability;
  return Math.max(up, down) === -Infinity ? null : up >= down ? [up, "up"] : [down, "down"];
}

function edgeText(row) {
  const found = edge(row);
  return found && (found[0] > 0 ? `${found[1] === "up" ? "▲" : "▼"} ${fixed1(found[0] * 100)}` : fixed1(found[0] * 100).replace("-", "−"));
}

const note = (row) => (row.stale ? `stale: ${row.stale}` : row.tradable || !row.open ? row.decision : `not traded: ${row.decision || "rule or fees unknown"}`);
const plain = (field, words, more = {}) => ({ value: (row) => row[field], text: (row) => row[field] !== null && words(row[field]), ...more });
const distribution = (field, label) => ({
  group: label,
  columns: [
    { name: "scale bp", help: "standard deviation of the log return over the horizon, in basis points", text: (row) => row[field] && basisPoints(row[field].scale) },
    { name: "skew", help: "Hansen's lambda, between −1 and 1", text: (row) => row[field] && fixed3(row[field].skew).replace("-", "−") },
    { name: "tail", help: "degrees of freedom, above 2: the smaller, the heavier the tails", text: (row) => row[field] && fixed1(row[field].tail) },
    { name: "horizon", help: "from now to the moment forecast", text: (row) => row[field] && span(row[field].horizon_s) },
  ],
});

const GROUPS = [
  { group: "Market", columns: [
    { name: "coin", kind: "coin", text: (row) => row.coin },
    { name: "duration", kind: "market", text: (row) => row.duration },
  ] },
  { group: "Window", columns: [
    { name: "bets", help: "whether the venue takes orders", style: "text", text: (row) => (row.open ? "open" : "closed"), mark: (row) => (row.open ? "dot yes" : "dot") },
    { name: "interval", help: "where the window is", style: "text", text: (row, now) => (row.in_interval ? "running" : now < row.start_us ? "ahead" : "past"), mark: (row) => (row.in_interval ? "dot yes" : "dot") },
    { name: "start", text: (row, now) => localTime(row.start_us, now), title: (row) => utc(row.start_us) },
    { name: "end", text: (row, now) => localTime(row.end_us, now), title: (row) => utc(row.end_us) },
    { name: "left", kind: "left", help: "to the end of a running window, to the start of one ahead" },
  ] },
  { group: "Price and probability", columns: [
    { name: "reference", help: "the price at the window's start that decides", ...plain("reference_price", price) },
    { name: "source", style: "text", text: (row) => (row.reference_source === "none" ? null : row.reference_source), mark: (row) => (["venue", "settlement"].includes(row.reference_source) ? "source" : "source estimate"), title: (row) => (["venue", "settlement"].includes(row.reference_source) ? "the price that settles" : "stands in for the price that settles") },
    { name: "price", ...plain("price", price) },
    { name: "vs ref bp", help: "price against the reference, in basis points", text: (row) => row.price && row.reference_price && signed1(Math.log(row.price / row.reference_price) * 1e4), mark: (row) => (row.price && row.reference_price ? signOf(row.price - row.reference_price) : "") },
    { name: "P(up)", kind: "chance", flash: true, help: "our probability of Up; the upright mark is the book's mid", value: (row) => row.probability },
  ] },
  { group: "Book", columns: [
    { name: "bid", flash: true, help: "best bid for Up", ...plain("best_bid", fixed3) },
    { name: "ask", flash: true, help: "best ask for Up", ...plain("best_ask", fixed3) },
    { name: "edge ¢", help: "what buying ▲ Up at the ask, or ▼ Down against the bid, would gain per share by our probability, before fees", text: edgeText, mark: (row) => { const found = edge(row); return found && found[0] > 0 ? `${found[1]} strong` : ""; } },
  ] },
  { group: "Decision", columns: [{ name: "what and why", kind: "note", text: note, title: note, mark: () => "note" }] },
  { group: "Own orders and tokens", columns: [
    { name: "own bid", flash: true, ...plain("own_bid", fixed3, { mark: () => "strong" }) },
    { name: "own ask", flash: true, ...plain("own_ask", fixed3, { mark: () => "strong" }) },
    { name: "Up", help: "tokens held of Up", flash: true, value: (row) => row.tokens_up, text: (row) => tokens(row.tokens_up) && fixed2(row.tokens_up) },
    { name: "Down", help: "tokens held of Down", flash: true, value: (row) => row.tokens_down, text: (row) => tokens(row.tokens_down) && fixed2(row.tokens_down) },
    { name: "Up $", help: "what the Up tokens are worth", text: (row) => tokens(row.value_up) && fixed2(row.value_up) },
    { name: "Down $", help: "what the Down tokens are worth", text: (row) => tokens(row.value_down) && fixed2(row.value_down) },
  ] },
  { group: "Money and fees", columns: [
    { name: "net $", help: "net profit of this market", flash: true, value: (row) => row.net_profit, text: (row) => tokens(row.net_profit) && signed2(row.net_profit), mark: (row) => signOf(row.net_profit) },
    { name: "taker fee", ...plain("taker_fee", fixed4) },
    { name: "maker fee", ...plain("maker_fee", fixed4) },
    { name: "exponent", help: "the fee is shares × rate × (p (1 − p)) ^ exponent", ...plain("fee_exponent", fixed1) },
    { name: "maker reward", help: "share of the takers' fee that goes back to makers", ...plain("maker_reward", fixed3) },
  ] },
  distribution("dist", "To this window's end"),
  distribution("extra_dist", "To the next window's end"),
  { group: "Ages", columns: [
    { name: "price", ...plain("price_age_s", age) },
    { name: "forecast", ...plain("dist_age_s", age) },
    { name: "book", ...plain("book_age_s", age) },
  ] },
];
const COLUMNS = GROUPS.flatMap(({ columns }) => columns.map((column, index) => ({ ...column, first: index === 0 })));

function buildHead() {
  const groups = element("tr", { className: "groups" }), names = element("tr", { className: "columns" });
  GROUPS.forEach(({ group, columns }, index) => {
    groups.append(element("th", { colSpan: columns.length, scope: "colgroup", className: index ? "first" : "pin", textContent: group }));
  });
  COLUMNS.forEach((column) => {
    const th = element("th", { scope: "col", textContent: column.name, title: column.help ?? "", className: classes(column) });
    names.append(th);
  });
  byId("head").append(groups, names);
}

function classes(column) {
  const pinned = { coin: "pin coinname", market: "pin second" }[column.kind];
  return pinned ?? [column.first ? "first" : "", column.style ?? "", column.kind === "note" ? "note" : ""].filter(Boolean).join(" ");
}

// ---------------------------------------------------------------- rows

const shown = new Map();
const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

function buildRow() {
  const cells = COLUMNS.map((column) => element(column.kind === "coin" ? "th" : "td", { className: classes(column) }));
  cells[0].scope = "row";
  const row = element("tr", {}, ...cells);
  return { row, cells, texts: COLUMNS.map(() => undefined), values: COLUMNS.map(() => null), marks: COLUMNS.map(() => "") };
}

function flash(cell, before, after) {
  if (calm.matches || document.hidden) return;
  const name = before === null || after === null ? "--flash" : after > before ? "--flash-up" : "--flash-down";
  const colour = getComputedStyle(document.documentElement).getPropertyValue(name);
  cell.animate([{ boxShadow: `inset 0 0 0 40px ${colour}` }, { boxShadow: "inset 0 0 0 40px transparent" }], { duration: 900, easing: "ease-out" });
}

function writeMarket(cell, data) {
  const safe = /^https?:\/\//.test(data.link);
  const name = safe ? element("a", { href: data.link, target: "_blank", rel: "noopener noreferrer", textContent: data.duration }) : data.duration;
  const badges = [];
  if (data.simulated) badges.push(element("span", { className: "badge", textContent: "sim", title: "simulated market" }));
  if (data.stale) badges.push(element("span", { className: "badge bad", textContent: "!", title: `stale: ${data.stale}`, ariaLabel: "stale" }));
  cell.title = data.slug;
  cell.replaceChildren(name, ...badges);
}

function writeBar(cell, text, share, notch) {
  if (!cell.firstElementChild) cell.replaceChildren(element("span"), element("span", { className: "bar", ariaHidden: "true" }, element("i"), element("b")));
  const [label, bar] = cell.children, [fill, mark] = bar.children;
  if (label.textContent !== text) label.textContent = text;
  fill.style.width = `${(100 * (share ?? 0)).toFixed(1)}%`;
  mark.style.left = `${(100 * (notch ?? 0)).toFixed(1)}%`;
  mark.hidden = notch === null;
  bar.hidden = share === null;
}

function leftOf(data, now) {
  if (now < data.start_us) return [`in ${span((data.start_us - now) / 1e6)}`, null];
  if (now >= data.end_us) return [NONE, null];
  return [span((data.end_us - now) / 1e6), (now - data.start_us) / (data.end_us - data.start_us)];
}

function writeCell(entry, index, data, now) {
  const column = COLUMNS[index], cell = entry.cells[index];
  if (column.kind === "market") {
    const key = `${data.link} ${data.duration} ${data.simulated} ${data.stale}`;
    if (entry.texts[index] !== key) writeMarket(cell, data);
    entry.texts[index] = key;
    return;
  }
  const value = column.value ? column.value(data) : null;
  if (column.kind === "left") {
    const [text, share] = leftOf(data, now);
    cell.classList.add("left");
    writeBar(cell, text, share, null);
  } else if (column.kind === "chance") {
    cell.classList.add("chance");
    cell.classList.toggle("none", value === null);
    cell.classList.toggle("strong", data.in_interval && value !== null);
    writeBar(cell, value === null ? NONE : percent1(value), value, value === null ? null : mid(data));
  } else {
    const text = column.text(data, now) || NONE;
    if (entry.texts[index] !== text) cell.textContent = text;
    mark(entry, index, text === NONE ? "none" : column.mark ? column.mark(data) : "");
    entry.texts[index] = text;
    if (column.title) cell.title = column.title(data) ?? "";
  }
  if (column.flash && entry.known && value !== entry.values[index]) flash(cell, entry.values[index], value);
  entry.values[index] = value;
}

function mark(entry, index, names) {
  if (entry.marks[index] === names) return;
  const base = classes(COLUMNS[index]);
  entry.cells[index].className = `${base} ${names}`.trim();
  entry.marks[index] = names;
}

function writeRow(entry, data, now, newCoin) {
  COLUMNS.forEach((_, index) => writeCell(entry, index, data, now));
  entry.known = true;
  const names = [data.stale && "stale", data.in_interval ? "now" : "away", newCoin && "newcoin"].filter(Boolean).join(" ");
  if (entry.row.className !== names) entry.row.className = names;
}

function writeRows(snapshot, visible) {
  const body = byId("rows");
  const wanted = new Set(visible.map((data) => data.slug));
  for (const [slug, entry] of shown) {
    if (!wanted.has(slug)) {
      entry.row.remove();
      shown.delete(slug);
    }
  }
  visible.forEach((data, index) => {
    if (!shown.has(data.slug)) shown.set(data.slug, buildRow());
    const entry = shown.get(data.slug);
    writeRow(entry, data, snapshot.made_us, index > 0 && visible[index - 1].coin !== data.coin);
    if (body.children[index] !== entry.row) body.insertBefore(entry.row, body.children[index] ?? null);
  });
  const empty = byId("empty");
  empty.hidden = visible.length > 0;
  empty.textContent = snapshot.rows.length ? "no market passes these filters" : "no markets yet: they appear as soon as the venue lists them";
}

// ---------------------------------------------------------------- filters: OR inside a group, AND across

const FILTERS = [
  { key: "coin", label: "Coin", of: (row) => row.coin },
  { key: "duration", label: "Duration", of: (row) => row.duration },
  { key: "bets", label: "Bets", of: (row) => (row.open ? "open" : "closed"), choices: ["open", "closed"] },
  { key: "interval", label: "Interval", of: (row) => (row.in_interval ? "running" : "not running"), choices: ["running", "not running"] },
];
const chosen = Object.fromEntries(FILTERS.map(({ key }) => [key, new Set()]));
const LENGTHS = ["5m", "15m", "1h", "4h", "1d"];

function readHash() {
  const parameters = new URLSearchParams(location.hash.slice(1));
  for (const { key } of FILTERS) chosen[key] = new Set((parameters.get(key) ?? "").split(",").filter(Boolean));
  view.timeframe = parameters.get("timeframe") ?? "";
}

function writeHash() {
  const parts = FILTERS.filter(({ key }) => chosen[key].size).map(({ key }) => `${key}=${[...chosen[key]].map(encodeURIComponent).join(",")}`);
  if (view.timeframe) parts.push(`timeframe=${encodeURIComponent(view.timeframe)}`);
  history.replaceState(null, "", parts.length ? `#${parts.join("&")}` : location.pathname);
}

function choose(timeframe) {
  view.timeframe = timeframe;
  writeHash();
  render();
}

const passes = (row) => FILTERS.every(({ key, of }) => !chosen[key].size || chosen[key].has(of(row)));

function toggle(key, choice) {
  if (!chosen[key].delete(choice)) chosen[key].add(choice);
  writeHash();
  render();
}

function writeFilters(rows) {
  const groups = byId("groups");
  for (const filter of FILTERS) {
    const { key, label, of } = filter;
    const choices = filter.choices ?? [...new Set([...rows.map(of), ...chosen[key]])].sort((a, b) => LENGTHS.indexOf(a) - LENGTHS.indexOf(b));
    let group = groups.querySelector(`[data-key="${key}"]`);
    if (group?.dataset.choices !== choices.join()) {
      const chips = choices.map((choice) => element("button", { type: "button", className: "chip", textContent: choice, onclick: () => toggle(key, choice) }));
      const made = element("fieldset", { className: "group" }, element("legend", { textContent: label }), ...chips);
      Object.assign(made.dataset, { key, choices: choices.join() });
      group ? group.replaceWith(made) : groups.append(made);
      group = made;
    }
    group.hidden = !choices.length;
    group.querySelectorAll("button").forEach((chip) => chip.setAttribute("aria-pressed", String(chosen[key].has(chip.textContent))));
  }
}

// ---------------------------------------------------------------- header

const prices = new Map();

function remember(symbol, us, value) {
  if (value === null) return;
  const history = prices.get(symbol) ?? prices.set(symbol, []).get(symbol);
  if (history.length && us <= history[history.length - 1][0]) return;
  // One point a second of the wall is enough to draw; the newest one follows every update.
  if (history.length > 1 && performance.now() - history.wall < 1000) history.pop();
  else history.wall = performance.now();
  history.push([us, value]);
  while (history.length > HISTORY_POINTS || us - history[0][0] > HISTORY_US) history.shift();
}

function writeFigures(id, figures) {
  const list = byId(id);
  if (list.children.length !== figures.length) {
    list.replaceChildren(...figures.map(() => element("div", {}, element("dt"), element("dd"))));
  }
  figures.forEach(([name, text, className = ""], index) => {
    const [dt, dd] = list.children[index].children;
    if (dt.textContent !== name) dt.textContent = name;
    if (dd.textContent !== text) dd.textContent = text;
    if (dd.className !== className) dd.className = className;
  });
}

function writeHeader(snapshot) {
  const { account, counters } = snapshot;
  const clock = byId("clock"), speed = byId("speed"), mode = byId("mode");
  clock.textContent = formats.second.format(new Date(snapshot.made_us / 1000));
  clock.title = utc(snapshot.made_us);
  clock.dateTime = new Date(snapshot.made_us / 1000).toISOString();
  speed.hidden = snapshot.clock_speed === 1;
  speed.textContent = `× ${snapshot.clock_speed}`;
  speed.title = "the clock runs this many times as fast as the wall's";
  byId("simulated").hidden = !(snapshot.clock_speed !== 1 || snapshot.rows.some((row) => row.simulated));
  mode.hidden = !account;
  if (account) {
    mode.textContent = account.mode === "live" ? "live money" : "paper";
    mode.className = `tag ${account.mode}`;
    mode.title = account.name;
    const total = account.cash + account.positions_value;
    writeFigures("account", [["equity $", fixed2(total)], ["cash", fixed2(account.cash)], ["in tokens", fixed2(account.positions_value)],
      ["realised", signed2(account.realised), signOf(account.realised)], ["fees", fixed2(account.fees)]]);
  }
  // A process that only forecasts directions has no markets, orders or fills to count.
  const counted = Object.entries(counters).filter(([name]) => account || snapshot.rows.length || !snapshot.directions.length || ["forecasts", "errors"].includes(name));
  writeFigures("counters", counted.map(([name, count]) => [name, whole(count), name === "errors" && count ? "down" : ""]));
  const faults = byId("faults"), key = snapshot.faults.join("\n");
  faults.hidden = !key;
  if (faults.dataset.key !== key) faults.replaceChildren(...snapshot.faults.map((fault) => element("li", { textContent: fault })));
  faults.dataset.key = key;
}

function buildCoin(symbol) {
  const part = (tag, className) => element(tag, { className });
  const [value, move, canvas, left, right] = [part("span", "price"), part("span", "move"), part("canvas", ""), part("span", ""), part("span", "")];
  canvas.setAttribute("role", "img");
  const card = element("article", { className: "coin" }, element("header", {}, element("h2", { textContent: symbol }), value, move), canvas, element("footer", {}, left, right));
  return { card, value, move, canvas, left, right };
}

const coins = new Map();

function writeCoins(snapshot) {
  for (const row of snapshot.symbols) {
    remember(row.symbol, snapshot.made_us, row.price);
    if (!coins.has(row.symbol)) {
      coins.set(row.symbol, buildCoin(row.symbol));
      byId("coins").append(coins.get(row.symbol).card);
    }
    const parts = coins.get(row.symbol), history = prices.get(row.symbol) ?? [];
    parts.value.textContent = row.price === null ? NONE : price(row.price);
    const moved = history.length > 1 ? Math.log(history[history.length - 1][1] / history[0][1]) * 1e4 : 0;
    parts.move.textContent = history.length > 1 ? `${signed1(moved)} bp in ${span((snapshot.made_us - history[0][0]) / 1e6)}` : "";
    parts.move.className = `move ${signOf(moved)}`;
    parts.card.classList.toggle("stale", Boolean(row.note));
    parts.left.textContent = row.note || `volatility ${row.volatility_1h === null ? NONE : `${basisPoints(row.volatility_1h)} bp/h`}`;
    parts.left.className = row.note ? "note" : "";
    parts.left.title = parts.left.textContent;
    parts.right.textContent = `${whole(row.trades)} trades${row.price_age_s === null ? "" : ` · ${age(row.price_age_s)} old`}`;
    parts.right.title = `history: ${span(row.history_s)}${row.last_id === null ? "" : `; last id ${row.last_id}`}`;
    const own = snapshot.rows.filter((each) => each.in_interval && row.symbol.startsWith(each.coin));
    draw(parts.canvas, history, forecastPoints(own), snapshot.made_us);
    parts.canvas.ariaLabel = `${row.symbol}: recent prices and the fan of the forecast, 50 % and 90 % of outcomes`;
  }
}

// ---------------------------------------------------------------- the link to the server

let latest = null, lastAt = 0, planned = false;

function render() {
  if (!latest) return;
  const visible = latest.rows.filter(passes);
  writeHeader(latest);
  writeCoins(latest);
  writeDirections(byId("directions"), latest, choose);
  const alone = latest.directions.length > 0 && !latest.rows.length;
  byId("markets").hidden = byId("filters").hidden = alone;
  byId("coins").hidden = alone && !latest.symbols.length;
  document.body.classList.toggle("both", latest.directions.length > 0 && !alone);
  writeFilters(latest.rows);
  writeRows(latest, visible);
  const narrowed = FILTERS.some(({ key }) => chosen[key].size);
  const count = `${visible.length} of ${latest.rows.length} markets`;
  if (byId("count").textContent !== count) byId("count").textContent = count;
  byId("clear").hidden = !narrowed;
}

function plan() {
  if (planned) return;
  planned = true;
  requestAnimationFrame(() => { planned = false; render(); });
}

function setLink(state, text) {
  document.body.dataset.link = state;
  if (byId("link").textContent !== text) byId("link").textContent = text;
}

function lost(why) {
  const since = latest ? `, shown is ${formats.second.format(new Date(latest.made_us / 1000))}` : "";
  setLink("lost", why + since);
}

function connect() {
  const source = new EventSource("/events");
  source.addEventListener("history", (event) => {
    for (const [us, values] of JSON.parse(event.data)) {
      for (const [symbol, value] of Object.entries(values)) {
        const history = prices.get(symbol) ?? prices.set(symbol, []).get(symbol);
        if (value !== null && us > (history[history.length - 1]?.[0] ?? 0)) history.push([us, value]);
      }
    }
  });
  source.addEventListener("snapshot", (event) => {
    latest = JSON.parse(event.data);
    lastAt = performance.now();
    setLink("live", "live");
    plan();
  });
  source.addEventListener("fault", (event) => { lastAt = performance.now(); lost(JSON.parse(event.data)); });
  source.onerror = () => {
    lost("connection lost");
    if (source.readyState === EventSource.CLOSED) {
      source.close();
      setTimeout(connect, 2000);
    }
  };
}

setInterval(() => {
  if (lastAt && document.body.dataset.link === "live" && performance.now() - lastAt > SILENCE_MS) lost("no update for 3 s");
}, 500);
byId("clear").onclick = () => { FILTERS.forEach(({ key }) => chosen[key].clear()); writeHash(); render(); };
window.addEventListener("hashchange", () => { readHash(); render(); });
window.addEventListener("resize", plan);
readHash();
buildHead();
connect();
