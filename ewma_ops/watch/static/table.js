// The table of series: rows are made once, and filled again.

import { ago, digitsFor, element, number, plain, say, signed, whole } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";

export class Table {
  constructor(body, onOpen) {
    this.body = body;
    this.onOpen = onOpen;
    this.rows = [];
    this.at = -1;
    this.data = null;
    this.offset = 0;
  }

  row(i) {
    while (this.rows.length <= i) this.rows.push(this.make(this.rows.length));
    return this.rows[i];
  }

  make(i) {
    const cell = (name) => element("td", { class: name });
    const name = element("span");
    const button = element("button", { type: "button" }, name);
    const line = document.createElementNS(SVG, "svg");
    line.setAttribute("class", "line");
    line.setAttribute("viewBox", "0 0 132 20");
    line.setAttribute("preserveAspectRatio", "none");
    line.setAttribute("aria-hidden", "true");
    const path = document.createElementNS(SVG, "polyline");
    line.append(path);
    const made = {
      name, path, id: "",
      value: cell("num value"), average: cell("num average"), z: cell("num z"),
      change: cell("num change"), trend: cell("num trend"), forecast: cell("num forecast"), spark: cell("spark"), ago: cell("ago"), state: cell("st"),
    };
    made.spark.append(line);
    const head = element("th", { scope: "row" }, button);
    made.element = element("tr", {}, head, made.value, made.average, made.z, made.change, made.trend, made.forecast, made.spark, made.ago, made.state);
    made.element.addEventListener("click", (event) => this.onOpen(made.id, event.shiftKey || event.ctrlKey || event.metaKey));
    return made;
  }

  show(data, open) {
    this.data = data;
    data.ids.forEach((id, i) => {
      const row = this.row(i);
      if (row.id !== id) {
        row.id = id;
        const text = plain(id);
        say(row.name, text);
        row.name.title = text.length > 20 ? text : "";
      }
      const digits = digitsFor(data.average[i] ?? data.value[i] ?? 0);
      say(row.value, number(data.value[i], digits));
      say(row.average, number(data.average[i], digits));
      const z = data.z[i];
      say(row.z, z === null ? "–" : signed(z, 1));
      row.z.classList.toggle("far", Math.abs(z) >= 3);
      say(row.change, data.change[i] === null ? "–" : signed(data.change[i], digits));
      if (data.trend) say(row.trend, trend(data.trend[i], digits));
      if (data.forecast) say(row.forecast, number(data.forecast[i], digits));
      row.path.setAttribute("points", points(data.spark[i]));
      const [kind, words] = data.state[i];
      say(row.state, words);
      row.state.dataset.kind = kind;
      row.state.title = `${words}; ${whole(data.readings[i])} readings`;
      row.element.classList.toggle("open", open.includes(id));
      if (!row.element.isConnected) this.body.append(row.element);
    });
    for (const row of this.rows.slice(data.ids.length)) row.element.remove();
    this.point(Math.min(this.at, data.ids.length - 1));
    this.tick();
  }

  // Once a second: how long ago each was seen, by the clock of the server.
  tick() {
    if (!this.data) return;
    const now = Date.now() / 1000 + this.offset;
    this.data.seen.forEach((seen, i) => say(this.rows[i].ago, ago(Math.max(now - seen, 0))));
  }

  point(i) {
    this.at = i;
    this.rows.forEach((row, k) => row.element.classList.toggle("at", k === i));
  }

  move(step) {
    const n = this.data?.ids.length ?? 0;
    if (!n) return;
    this.point(Math.min(Math.max(this.at + step, 0), n - 1));
    this.rows[this.at].element.scrollIntoView({ block: "nearest" });
  }

  openAt(add) {
    if (this.at >= 0 && this.rows[this.at]) this.onOpen(this.rows[this.at].id, add);
  }
}

// With an arrow; what is 0 in the digits of the average goes nowhere.
function trend(slope, digits) {
  if (slope === null) return "–";
  const text = signed(slope, digits);
  return `${/[1-9]/.test(text) ? (slope > 0 ? "↗" : "↘") : "→"} ${text}`;
}

function points(heights) {
  if (!heights.length) return "";
  const step = 130 / 23;
  const first = 131 - step * (heights.length - 1);
  return heights
    .map((h, i) => (h < 0 ? "" : `${(first + step * i).toFixed(1)},${(18.5 - h * 0.17).toFixed(1)}`))
    .join(" ");
}
