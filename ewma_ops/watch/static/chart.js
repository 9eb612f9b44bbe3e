// One series in a chart, or several over each other: readings, average, band, settling, alarms.

import { ahead, columnsAhead, factsAhead, hasForecasts, hasLine, legendAhead, markHorizon, rangeAhead, seriesAhead, shadeAhead } from "./ahead.js";
import { alarmEntry, digitsFor, element, moment, number, plain, say, signed, whole } from "./format.js";

const SPANS = [
  [60, "1 min"], [300, "5 min"], [3600, "1 h"], [21600, "6 h"], [86400, "1 day"], [604800, "7 days"],
  [2592000, "30 days"], [31557600, "1 year"], [157788000, "5 years"],
];
const X_TEXTS = [
  [31536000, "{YYYY}", null, null, null, null, null, null, 1],
  [2419200, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [86400, "{D} {MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
  [1, "{HH}:{mm}:{ss}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
  [0.001, ":{ss}.{fff}", "\n{D} {MMM} {YYYY} {HH}:{mm}", null, "\n{D} {MMM} {HH}:{mm}", null, "\n{HH}:{mm}", null, 1],
];
const COLOURS = ["--average", "--c2", "--c3", "--c4", "--c5", "--c6"];

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.…]$/.test(text) ? "" : ".");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class Chart {
  constructor(at, { onSpan, onZoom, measure, whatIf }) {
    this.whatIf = whatIf;
    this.at = at;
    this.onSpan = onSpan;
    this.onZoom = onZoom;
    this.measure = measure;
    this.plot = null;
    this.shape = "";
    this.charts = [];
    this.extra = [];
    new ResizeObserver(() => this.resize()).observe(at.chart);
  }

  get width() {
    return Math.max(Math.round(this.at.chart.parentElement.clientWidth - 16), 200);
  }

  height() {
    const phone = innerWidth <= 640;
    return phone ? 260 : Math.max(300, Math.min(innerHeight - 420, 460));
  }

  resize() {
    if (this.plot && this.width !== this.plot.width) this.plot.setSize({ width: this.width, height: this.height() });
  }

  // Colours are those of the theme; a plot keeps its own.
  restyle() {
    this.shape = "";
    if (this.charts.length) this.draw();
  }

  show(charts, view) {
    this.charts = charts;
    this.view = view;
    const none = !this.known().length;
    this.at.chart.hidden = this.at.spans.hidden = none;
    this.words();
    this.draw();
  }

  known() {
    return this.charts.filter((one) => one.known && one.x.length);
  }

  draw() {
    const known = this.known();
    const single = known.length === 1;
    const line = single ? this.whatIf?.line(known[0]) : null;
    this.extra = line ? [line] : [];
    const data = single ? this.single(known[0]) : this.several(known);
    const shape = JSON.stringify([known.map((one) => [one.id, single ? hasForecasts(one) : hasLine(one)]), this.extra.length]);
    if (shape !== this.shape || !this.plot) {
      this.plot?.destroy();
      this.plot = null;
      this.shape = shape;
      if (!known.length) return;
      this.plot = new uPlot(this.options(known, single), data, this.at.chart);
      return;
    }
    // What was zoomed into stays as it is; else it moves on.
    this.plot.setData(data, true);
  }

  single(one) {
    const made = [one.x, one.upper, one.lower, one.value, one.average, ...this.extra.map((more) => more.values)];
    return hasForecasts(one) ? columnsAhead(one, made) : made;
  }

  several(known) {
    if (!known.length) return [[]];
    const lines = known.filter(hasLine).map((one) => [ahead(one).x, ahead(one).forecast]);
    return uPlot.join([...known.map((one) => [one.x, one.average.map((y, i) => y ?? one.value[i])]), ...lines]);
  }

  options(known, single) {
    const soft = colour("--soft"), line = colour("--line");
    const axis = { stroke: soft, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "12px system-ui, sans-serif" };
    const values = (_, ticks) => {
      const step = ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) : 1;
      let digits = Math.min(Math.max(-Math.floor(Math.log10(step) + 1e-9), 0), 8);
      const scaled = step * 10 ** digits;
      if (Math.abs(scaled - Math.round(scaled)) > 1e-6) digits += 1; // steps of 2.5
      return ticks.map((tick) => number(tick, digits));
    };
    const size = (plot, ticks) => 26 + 7 * Math.max(3, ...(ticks ?? [""]).map((tick) => String(tick).length));
    const line2 = { points: { show: false }, spanGaps: single ? false : true };
    const series = single
      ? [
          {},
          { ...line2, label: "upper", stroke: "transparent", width: 0 },
          { ...line2, label: "lower", stroke: "transparent", width: 0 },
          { ...line2, label: "value", stroke: colour("--raw"), width: 1, points: { show: (_, __, first, last) => last - first <= 200, size: 4, fill: colour("--raw") } },
          { ...line2, label: "average", stroke: colour("--average"), width: 2.5 },
          ...this.extra.map((more) => ({ ...line2, label: more.name, stroke: colour(more.colour), width: 2, dash: [6, 4] })),
          ...(hasForecasts(known[0]) ? seriesAhead(line2, colour("--forecast")) : []),
        ]
      : [
          {},
          ...known.map((one, i) => ({ ...line2, label: one.id, stroke: colour(COLOURS[i]), width: 2 })),
          ...known.flatMap((one, i) => (hasLine(one) ? [{ ...line2, auto: false, label: one.id, stroke: colour(COLOURS[i]), width: 2, dash: [7, 5] }] : [])),
        ];
    const n = series.length;
    const bands = single ? [{ series: [1, 2], fill: colour("--band") }] : [];
    if (single && hasForecasts(known[0])) bands.push({ series: [n - 3, n - 2], fill: colour("--forecast-band") });
    return {
      width: this.width,
      height: this.height(),
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
      padding: [10, 12, 0, 0],
      cursor: { drag: { x: true, y: false }, points: { size: 7 } },
      legend: { show: false },
      scales: {
        x: { time: true, range: (_, min, max) => [min, single ? this.end(min, max) : max] },
        y: { range: (_, min, max) => rangeAhead(this.known(), min, max) },
      },
      series,
      bands,
      axes: [{ ...axis, values: X_TEXTS }, { ...axis, values, size }],
      hooks: {
        drawClear: [(plot) => single && this.shade(plot)],
        draw: [(plot) => single && this.marks(plot)],
        setCursor: [(plot) => this.legend(plot.cursor.idx)],
        setSelect: [
          (plot) => {
            const { left, width } = plot.select;
            if (width < 4) return;
            this.onZoom([plot.posToVal(left, "x"), plot.posToVal(left + width, "x")]);
          },
        ],
      },
    };
  }

  // The right edge: an alarm that began after the last reading, as of a silent series, is seen too.
  end(min, max) {
    const begins = (this.known()[0]?.alarms ?? []).filter((one) => one.end === null).map((one) => one.begin);
    const last = Math.max(...begins, max);
    if (this.view.between !== null) return max;
    return last > max ? last + 0.04 * (last - min) : ahead(this.known()[0])?.complete ? max + 0.02 * (max - min) : max;
  }

  // Marks what is ahead, and hatches the time in which the average had not gathered its weight yet.
  shade(plot) {
    const one = this.known()[0];
    if (one) shadeAhead(plot, one, colour("--ahead"), colour("--soft"));
    if (!one || one.settled_from === null || one.settled_from === undefined) return;
    const { ctx, bbox } = plot;
    const from = Math.max(plot.valToPos(one.x[0], "x", true), bbox.left);
    const to = Math.min(plot.valToPos(one.settled_from, "x", true), bbox.left + bbox.width);
    if (to <= from) return;
    ctx.save();
    ctx.fillStyle = colour("--settling");
    ctx.fillRect(from, bbox.top, to - from, bbox.height);
    ctx.beginPath();
    ctx.rect(from, bbox.top, to - from, bbox.height);
    ctx.clip();
    ctx.strokeStyle = colour("--settling");
    ctx.lineWidth = 2;
    ctx.setLineDash([]);
    let hatch = "";
    for (let x = from - bbox.height; x < to; x += 14) hatch += `M${x} ${bbox.top + bbox.height}l${bbox.height} ${-bbox.height}`;
    ctx.stroke(new Path2D(hatch));
    ctx.restore();
  }

  // Alarms: a span from when one was raised to when it was cleared, and a mark on top of it.
  // Readings that came late or were corrected: a diamond around each.
  marks(plot) {
    const one = this.known()[0];
    if (!one) return;
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.setLineDash([]);
    markHorizon(plot, one, colour("--forecast"));
    const now = ahead(one)?.from ?? -Infinity;
    for (const alarm of one.alarms ?? []) {
      const from = plot.valToPos(alarm.begin, "x", true);
      // One that is on goes on to the last reading, if what is ahead is drawn too.
      const end = alarm.end ?? (now >= alarm.begin ? now : null);
      const to = end === null ? bbox.left + bbox.width : plot.valToPos(end, "x", true);
      ctx.globalAlpha = 0.16;
      ctx.fillStyle = colour("--bad");
      ctx.fillRect(from, bbox.top, Math.max(to - from, 2), bbox.height);
      ctx.globalAlpha = 1;
      // Up for too high, down for too low, a diamond for neither.
      const s = 6 * devicePixelRatio, y = bbox.top + 2, low = y + s * 1.6;
      const shape = { 1: [[-s, low], [s, low], [0, y]], "-1": [[-s, y], [s, y], [0, low]] }[alarm.sign] ?? [[-s, y + s], [0, y], [s, y + s], [0, y + 2 * s]];
      ctx.fill(new Path2D(`M${shape.map(([dx, at]) => `${from + dx} ${at}`).join("L")}Z`));
    }
    ctx.strokeStyle = colour("--warn");
    ctx.lineWidth = 1.5 * devicePixelRatio;
    const s = 5 * devicePixelRatio;
    const diamonds = (one.late_at ?? []).map(([at, value]) => `M${plot.valToPos(at, "x", true)} ${plot.valToPos(value, "y", true) - s}l${s} ${s}l${-s} ${s}l${-s} ${-s}Z`);
    ctx.stroke(new Path2D(diamonds.join("")));
    ctx.restore();
  }

  words() {
    const { name, state, now, summary } = this.at;
    const [one] = this.charts;
    if (!one) return;
    say(name, this.charts.map((each) => plain(each.id, 200)).join("  ·  "));
    this.spans();
    this.legend(null);
    if (!one.known) {
      say(state, "");
      now.replaceChildren();
      say(summary, "No event of this series has come yet; it is shown as soon as one does.");
      return;
    }
    say(state, this.charts.length === 1 ? one.state[1] : "");
    const digits = digitsFor(one.last[1] ?? one.last[0] ?? 0);
    const average = this.measure().average || "average";
    const facts = this.charts.length > 1 ? [] : [
      ["value", number(one.last[0], digits)],
      [average, number(one.last[1], digits), "average"],
      ["z", one.last[2] === null ? "–" : signed(one.last[2], 1)],
      ...(one.std === null ? [] : [["std", number(one.std, digits)]]),
      ...(one.settled === null ? [] : [["settled", `${(100 * one.settled).toFixed(0)} %`]]),
      ...factsAhead(one, this.measure().outlook),
      ["readings", whole(one.total)],
    ];
    facts.forEach(([term, text, kind], i) => {
      const at = now.children[i] ?? now.appendChild(element("div", {}, element("dt"), element("dd")));
      at.className = kind ?? "";
      say(at.children[0], term);
      say(at.children[1], text);
    });
    while (now.children.length > facts.length) now.lastChild.remove();
    this.tellAlarms();
    const n = one.x.length;
    const span = n ? `, event times ${moment(one.x[0])} to ${moment(one.x[n - 1])} UTC` : "";
    const notes = this.charts.map((each) => each.note).filter(Boolean);
    const told = [...new Set(notes)].join("; ");
    const text = n ? `${whole(one.readings)} reading${one.readings === 1 ? "" : "s"}${span}.` + (told ? ` ${sentence(told)}` : "") : sentence(told || "no readings in this span");
    const several = `${this.charts.length} series, their averages${this.charts.some(hasLine) ? "; dashed, their forecasts" : ""}.`;
    say(summary, this.charts.length > 1 ? several + (told ? ` ${sentence(told)}` : "") : [text, one.outlook?.sentence].filter(Boolean).join(" "));
  }

  // The alarms that are on, in words: what was expected, and how often it would be by chance.
  tellAlarms() {
    const on = this.charts.flatMap((one) => one.on ?? []);
    const key = JSON.stringify(on);
    if (this.at.extra.dataset.key === key) return;
    this.at.extra.dataset.key = key;
    this.at.extra.replaceChildren(...on.map(alarmEntry));
  }

  spans() {
    const { spans } = this.at;
    const all = Math.max(0, ...this.charts.map((one) => one.whole ?? 0));
    const shown = [...SPANS.filter(([s]) => s < all * 0.8).slice(-4), [0, "all"]];
    const zoomed = this.view.between !== null;
    const key = JSON.stringify([shown, this.view.span, zoomed]);
    if (spans.dataset.key === key) return;
    spans.dataset.key = key;
    spans.replaceChildren(
      ...shown.map(([s, text]) => {
        const made = element("button", { type: "button", "aria-pressed": String(!zoomed && s === this.view.span) }, text);
        made.onclick = () => this.onSpan(s);
        return made;
      }),
    );
    if (zoomed) {
      const made = element("button", { type: "button", "aria-pressed": "true" }, "zoomed ✕");
      made.onclick = () => this.onSpan(this.view.span);
      spans.append(made);
    }
  }

  legend(index) {
    const known = this.known();
    const measure = this.measure();
    const entries = [];
    if (known.length === 1) {
      const [one] = known;
      const at = index ?? one.x.length - 1;
      const digits = digitsFor(one.average[at] ?? one.value[at] ?? 0);
      entries.push(["raw", "value", number(one.value[at], digits)]);
      entries.push(["average", measure.average || "average", number(one.average[at], digits)]);
      for (const more of this.extra) entries.push([more.colour.slice(2), more.name, number(more.values[at], digits)]);
      if (measure.band) entries.push(["band", measure.band, (one.lower[at] ?? null) === null ? "–" : `${number(one.lower[at], digits)} … ${number(one.upper[at], digits)}`]);
      if (hasForecasts(one)) entries.push(...legendAhead(one, measure.outlook, index ?? null));
      if (one.alarms?.length) {
        const on = one.alarms.filter((each) => each.end === null).length;
        entries.push(["alarm", "alarms", on ? `${one.alarms.length}, ${on} on now` : String(one.alarms.length)]);
      }
      if (one.late) entries.push(["late", "late or corrected", whole(one.late)]);
      if (one.settled_from !== null) entries.push(["settling", "settling", ""]);
      if (index !== null && index !== undefined) entries.push(["", "at", moment(one.x[at] ?? ahead(one).x[at - one.x.length])]);
    } else {
      known.forEach((one, i) => {
        const last = one.average[one.average.length - 1] ?? one.value[one.value.length - 1];
        entries.push([i ? `c${i + 1}` : "average", plain(one.id, 60), number(last)]);
      });
    }
    const list = this.at.legend;
    entries.forEach(([kind, term, text], i) => {
      const at = list.children[i] ?? list.appendChild(element("li", {}, element("span", { "aria-hidden": "true" }), element("span"), element("b")));
      at.children[0].className = kind ? `key ${kind}` : "";
      say(at.children[1], term);
      say(at.children[2], text);
    });
    while (list.children.length > entries.length) list.lastChild.remove();
  }
}
