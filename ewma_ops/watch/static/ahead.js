// Where a series is going, on its chart and beside it: the forecast and its bounds ahead of the last
// reading, and behind it what had been forecast for the readings that came.

import { digitsFor, number, signed } from "./format.js";

const empty = (n) => new Array(n).fill(null);
export const ahead = (one) => one?.outlook?.ahead ?? null;
// Whether a chart of one series has lines of forecasts.
export const hasForecasts = (one) => Boolean(ahead(one) || one.past_forecast);
// Whether it is told at which level the line begins; else the forecast is a point at the horizon.
export const hasLine = (one) => ahead(one)?.x.length > 1;

// The columns of a chart, then those of its forecasts, all of them over what is ahead too.
export function columnsAhead(one, columns) {
  const found = ahead(one);
  const gap = empty(found?.x.length ?? 0), none = empty(one.x.length);
  const only = (side) => none.concat(found?.[side].length ? found[side] : gap);
  const [, ...others] = columns.map((column) => column.concat(gap));
  return [one.x.concat(found?.x ?? []), ...others, (one.past_forecast ?? none).concat(gap), only("upper"), only("lower"), only("forecast")];
}

export function seriesAhead(common, stroke) {
  const line = { ...common, auto: false, stroke };
  const bound = { ...line, stroke: "transparent", width: 0 };
  return [{ ...line, label: "past", width: 1.2, dash: [2, 3] }, { ...bound, label: "upper ahead" }, { ...bound, label: "lower ahead" }, { ...line, label: "forecast", width: 2, dash: [7, 5] }];
}

// The bounds of the axis of values: of what is drawn of readings, with room for their forecasts.
export function rangeAhead(charts, low, high) {
  const ends = charts.flatMap((one) => one.outlook?.axis ?? []).concat(low ?? [], high ?? []);
  return ends.length ? uPlot.rangeNum(Math.min(...ends), Math.max(...ends), 0.1, true) : [null, null];
}

// Under the lines: where the last reading was, and that what is on its right is to come.
export function shadeAhead(plot, one, ground, ink) {
  const found = ahead(one);
  if (!found) return;
  const { ctx, bbox } = plot, r = devicePixelRatio;
  const x = Math.round(plot.valToPos(found.from, "x", true)), room = bbox.left + bbox.width - x;
  ctx.save();
  Object.assign(ctx, { fillStyle: ground, strokeStyle: ink, lineWidth: r, font: `${11 * r}px system-ui, sans-serif`, textAlign: "left", textBaseline: "bottom" });
  ctx.fillRect(x, bbox.top, room, bbox.height);
  ctx.setLineDash([2 * r, 3 * r]);
  ctx.stroke(new Path2D(`M${x} ${bbox.top}v${bbox.height}`));
  ctx.fillStyle = ink;
  if (room > 60 * r) ctx.fillText("forecast", x + 6 * r, bbox.top + bbox.height - 4 * r);
  ctx.restore();
}

// Over the lines: the forecast itself, at the horizon, with its interval.
export function markHorizon(plot, one, ink) {
  const found = ahead(one);
  if (!found?.complete) return;
  const { ctx } = plot, s = 4 * devicePixelRatio, at = (y) => plot.valToPos(y, "y", true);
  const x = plot.valToPos(found.x.at(-1), "x", true);
  const ends = [found.lower, found.upper].flatMap((side) => side.slice(-1)).map(at);
  Object.assign(ctx, { fillStyle: ink, strokeStyle: ink, lineWidth: 1.5 * devicePixelRatio });
  if (ends.length === 2) ctx.stroke(new Path2D(`M${x} ${ends[0]}V${ends[1]}` + ends.map((y) => `M${x - s} ${y}h${2 * s}`).join("")));
  ctx.beginPath();
  ctx.arc(x, at(found.forecast.at(-1)), s, 0, 2 * Math.PI);
  ctx.fill();
}

const digitsOf = (one) => digitsFor(one.last[1] ?? one.last[0] ?? 0);
const between = (one, low, high) => ((low ?? null) === null ? "–" : `${number(low, digitsOf(one))} … ${number(high, digitsOf(one))}`);

// Numbers beside the chart: [term, text, kind].
export function factsAhead(one, about) {
  const found = one.outlook ?? {}, digits = digitsOf(one), facts = [];
  if ("forecast" in found) facts.push([`in ${about.horizon}`, number(found.forecast, digits), "forecast"]);
  if (about?.within) facts.push([about.within, between(one, found.forecast_lower, found.forecast_upper)]);
  if ("trend" in found) facts.push([`trend /${about.unit}`, signed(found.trend, digits)]);
  if ("mase" in found) facts.push(["mase", number(found.mase, 2), found.mase > 1 ? "poor" : ""]);
  return facts;
}

// Entries of the legend at a place of the chart; without one, of the forecast at the horizon.
export function legendAhead(one, about, index) {
  const found = one.outlook, n = one.x.length;
  const here = (side, whole) => (index === null ? found[whole] : ahead(one)?.[side][index - n]);
  const entries = [["forecast", "forecast", number(here("forecast", "forecast"), digitsOf(one))]];
  if (about.within) entries.push(["forecast-band", about.within, between(one, here("lower", "forecast_lower"), here("upper", "forecast_upper"))]);
  if (one.past_forecast) entries.push(["past", `forecast ${about.horizon} before`, number(one.past_forecast[index ?? n - 1], digitsOf(one))]);
  return entries;
}
