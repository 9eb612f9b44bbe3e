// Numbers, times and ids as text. An id is always shown as text: what has no shape, or turns the
// direction of writing, as an escape.

const MINUS = "−";
const formats = new Map();

function fixed(digits) {
  let format = formats.get(digits);
  if (!format) {
    format = new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    formats.set(digits, format);
  }
  return format;
}

// Digits behind the point for numbers of about this size: five significant ones.
export function digitsFor(size) {
  const x = Math.abs(size);
  if (!(x > 0) || !isFinite(x)) return 2;
  return Math.min(Math.max(4 - Math.floor(Math.log10(x)), 0), 8);
}

export function number(x, digits) {
  if (x === null || x === undefined || !isFinite(x)) return "–";
  const size = Math.abs(x);
  if (size >= 1e12 || (size > 0 && size < 1e-6)) return x.toExponential(3).replace("-", MINUS);
  const text = fixed(digits ?? digitsFor(x)).format(x);
  return /[1-9]/.test(text) ? text.replace("-", MINUS) : text.replace("-", "");
}

export function signed(x, digits) {
  const text = number(x, digits);
  return x > 0 && /[1-9]/.test(text) ? `+${text}` : text;
}

export function whole(n) {
  return n === null || n === undefined ? "–" : fixed(0).format(n);
}

export function duration(seconds) {
  const s = Math.abs(seconds);
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.round(s / 3600)} h`;
  if (s < 63e6) return `${whole(Math.round(s / 86400))} days`;
  return `${whole(Math.round(s / 31557600))} years`;
}

export function ago(seconds) {
  if (seconds < 1.5) return "now";
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return duration(seconds);
}

export function moment(seconds) {
  const at = new Date(seconds * 1000);
  if (isNaN(at)) return `${seconds} s`;
  const text = at.toISOString();
  return text.slice(0, 10) + " " + text.slice(11, text.endsWith(".000Z") ? 19 : 23);
}

const HIDDEN = /[\p{C}\p{Zl}\p{Zp}\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0]/gu;

export function plain(id, most = 300) {
  const cut = id.length > most ? id.slice(0, most) + "…" : id;
  const text = cut.replace(HIDDEN, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
  return text.trim() === "" ? JSON.stringify(text) : text;
}

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// Sets the text of an element only where it differs: nothing is laid out again for nothing.
export function say(at, text) {
  if (at.textContent !== text) at.textContent = text;
}

// An alarm that is on, as an element.
export function alarmEntry(alarm) {
  const by = alarm.designed ? `, designed for ${alarm.designed}` : "";
  const since = alarm.since === null ? "" : `since ${moment(alarm.since)} UTC`;
  const made = element(
    "div", { class: "on" }, element("b", {}, plain(alarm.summary || `${alarm.rule}: ${alarm.transition}`, 400)),
    element("p", {}, `${alarm.severity} · rule ${alarm.rule}${by} · ${since} · ${alarm.alarm_id}`),
  );
  if (alarm.runbook) made.append(element("p", {}, `runbook: ${plain(alarm.runbook, 300)}`));
  return made;
}
