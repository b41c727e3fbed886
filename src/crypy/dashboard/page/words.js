// Words for values, and elements to put them in: what all parts of the page write with.

export const NONE = "–";

export const fixed = (digits) => (value) => value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
export const [fixed1, fixed2, fixed3, fixed4] = [1, 2, 3, 4].map(fixed);
export const signed = (words) => (value) => (value > 0 ? "+" : value < 0 ? "−" : "") + words(Math.abs(value));
export const [signed1, signed2] = [signed(fixed1), signed(fixed2)];
export const price = (value) => (value >= 100 ? fixed2 : value >= 1 ? fixed4 : fixed(6))(value);
export const percent1 = (value) => `${fixed1(value * 100)} %`;
export const basisPoints = (value) => fixed1(value * 1e4);
export const whole = (value) => value.toLocaleString("en-US");

export function span(seconds) {
  const s = Math.max(0, Math.floor(seconds)), two = (n) => String(n).padStart(2, "0");
  if (s >= 86400) return `${Math.floor(s / 86400)}d ${two(Math.floor(s / 3600) % 24)}h`;
  if (s >= 3600) return `${Math.floor(s / 3600)}h ${two(Math.floor(s / 60) % 60)}m`;
  return `${Math.floor(s / 60)}:${two(s % 60)}`;
}

export const age = (seconds) => (seconds < 100 ? `${fixed1(seconds)} s` : span(seconds));
export const formats = {
  minute: new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }),
  day: new Intl.DateTimeFormat(undefined, { weekday: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" }),
  second: new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" }),
};
export const utc = (us) => `${new Date(us / 1000).toISOString().slice(0, 19).replace("T", " ")} UTC`;

export function localTime(us, nowUs) {
  const then = new Date(us / 1000), now = new Date(nowUs / 1000);
  return (then.toDateString() === now.toDateString() ? formats.minute : formats.day).format(then);
}

/** The class of a number's colour. */
export const signOf = (value) => (value > 0 ? "up" : value < 0 ? "down" : "");

/** An element with properties and children; a string becomes text, never markup. */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
