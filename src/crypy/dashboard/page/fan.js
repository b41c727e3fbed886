// The little picture of a coin: where its price came from, and the fan of where it may go.
//
// The fan shows the 5, 25, 75 and 95 % quantiles of the forecast return (Hansen's skewed Student t
// with mean zero), variance interpolated linearly in the horizon between those the rows carry.

const LEVELS = [0.05, 0.25, 0.75, 0.95];
const FAN_SHARE = 0.36;
const quantileCache = new Map();

/** Log of the gamma function, Lanczos approximation (g = 7). */
function logGamma(x) {
  const c = [0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313,
    -176.61502916214059, 12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7];
  let sum = c[0];
  for (let i = 1; i < 9; i += 1) sum += c[i] / (x - 1 + i);
  const t = x + 6.5;
  return 0.9189385332046727 + (x - 0.5) * Math.log(t) - t + Math.log(sum);
}

/** Quantiles of the standardised distribution (mean 0, variance 1); Hansen (1994), eq. 10 to 13, summed on a grid. */
export function quantiles(skew, tail) {
  const key = `${skew.toFixed(2)} ${tail.toFixed(1)}`;
  if (quantileCache.has(key)) return quantileCache.get(key);
  const c = Math.exp(logGamma((tail + 1) / 2) - logGamma(tail / 2)) / Math.sqrt(Math.PI * (tail - 2));
  const a = 4 * skew * c * (tail - 2) / (tail - 1);
  const b = Math.sqrt(1 + 3 * skew * skew - a * a);
  const density = (z) => {
    const y = (b * z + a) / (1 + Math.sign(b * z + a) * skew);
    return b * c * (1 + y * y / (tail - 2)) ** (-(tail + 1) / 2);
  };
  const step = 0.01, found = [];
  for (let z = -12, mass = 0; z < 12 && found.length < LEVELS.length; z += step) {
    mass += density(z + step / 2) * step;
    while (found.length < LEVELS.length && mass >= LEVELS[found.length]) found.push(z + step);
  }
  while (found.length < LEVELS.length) found.push(12);
  if (quantileCache.size > 500) quantileCache.clear();
  quantileCache.set(key, found);
  return found;
}

/** The forecasts of a coin by horizon, from the rows of the windows that run now: [{h, variance, skew, tail}]. */
export function forecastPoints(rows) {
  const points = new Map();
  for (const row of rows) {
    for (const dist of [row.dist, row.extra_dist]) {
      if (dist && dist.horizon_s > 0 && dist.tail > 2) {
        points.set(dist.horizon_s, { h: dist.horizon_s, variance: dist.scale ** 2, skew: dist.skew, tail: dist.tail });
      }
    }
  }
  return [...points.values()].sort((one, other) => one.h - other.h);
}

/** Scale and shape at a horizon, `null` beyond the longest one forecast. */
function at(points, h) {
  let before = { h: 0, variance: 0, skew: points[0].skew, tail: points[0].tail };
  for (const point of points) {
    if (h <= point.h) {
      const share = (h - before.h) / (point.h - before.h);
      return { scale: Math.sqrt(before.variance + share * (point.variance - before.variance)), skew: point.skew, tail: point.tail };
    }
    before = point;
  }
  return null;
}

/** The band at evenly spaced horizons up to `span` seconds: [{h, prices: [q05, q25, q75, q95]}]. */
function band(points, price, span) {
  const steps = 14, result = [{ h: 0, prices: [price, price, price, price] }];
  for (let i = 1; points.length && i <= steps; i += 1) {
    // More points near now, where the fan opens fastest.
    const h = span * (i / steps) ** 2;
    const dist = at(points, h);
    if (!dist) break;
    result.push({ h, prices: quantiles(dist.skew, dist.tail).map((z) => price * Math.exp(z * dist.scale)) });
  }
  return result;
}

/** Draw history [[us, price]] and fan on a canvas, in the colours of the page. */
export function draw(canvas, history, points, nowUs) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
  if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  if (!history.length) return;
  const [, price] = history[history.length - 1];
  const split = width * (1 - FAN_SHARE);
  const past = Math.max(60, (nowUs - history[0][0]) / 1e6);
  const fan = band(points, price, past * FAN_SHARE / (1 - FAN_SHARE));
  const values = history.map(([, p]) => p).concat(fan.flatMap((step) => step.prices));
  const low = Math.min(...values), high = Math.max(...values);
  const y = (value) => (high > low ? 4 + (height - 8) * (high - value) / (high - low) : height / 2);
  const x = (us) => split * (1 - (nowUs - us) / 1e6 / past);
  const xFan = (h) => split + (width - split) * h / (past * FAN_SHARE / (1 - FAN_SHARE));
  const colour = (name) => getComputedStyle(canvas).getPropertyValue(name);
  if (fan.length > 1) {
    for (const [bottom, top, name] of [[0, 3, "--fan-outer"], [1, 2, "--fan-inner"]]) {
      pen.beginPath();
      fan.forEach((step) => pen.lineTo(xFan(step.h), y(step.prices[top])));
      [...fan].reverse().forEach((step) => pen.lineTo(xFan(step.h), y(step.prices[bottom])));
      pen.closePath();
      pen.fillStyle = colour(name);
      pen.fill();
    }
  }
  pen.strokeStyle = colour("--line-strong");
  pen.setLineDash([2, 3]);
  pen.beginPath();
  pen.moveTo(split, y(price));
  pen.lineTo(width, y(price));
  pen.stroke();
  pen.setLineDash([]);
  pen.strokeStyle = colour("--text");
  pen.lineWidth = 1.25;
  pen.lineJoin = "round";
  pen.beginPath();
  history.forEach(([us, p]) => pen.lineTo(x(us), y(p)));
  pen.lineTo(split, y(price));
  pen.stroke();
  pen.fillStyle = colour("--accent");
  pen.beginPath();
  pen.arc(split, y(price), 2.5, 0, 7);
  pen.fill();
}
