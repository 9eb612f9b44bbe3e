// The page: what is looked at is kept in the address, what is seen comes as frames.

import { Chart } from "./chart.js";
import { ago, duration, element, number, plain, say, whole } from "./format.js";
import { ask, enter, Stream } from "./net.js";
import * as panels from "./panels.js";
import { Table } from "./table.js";
import { WhatIf } from "./whatif.js";

const $ = (id) => document.getElementById(id);
const START = { q: "", sort: "name", desc: false, only: [], first: 0, open: [], measure: 0, span: 0, between: null };
const state = { ...START };
let about = { measures: [{ name: "", average: "ewma", band: "", z: true }], letters: "", output: "" };
let head = null;
let causes = [];
let alarms = null;
let table = null;
let charts = null;

// The address.

function toHash() {
  const made = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) {
    if (key === "open") value.forEach((id) => made.append("open", id));
    else if (JSON.stringify(value) !== JSON.stringify(START[key])) {
      made.set(key, typeof value === "boolean" ? "1" : Array.isArray(value) ? value.join(",") : String(value));
    }
  }
  return made.toString();
}

function fromHash() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const count = (key) => Math.max(Math.trunc(Number(asked.get(key))) || 0, 0);
  const between = (asked.get("between") ?? "").split(",").map(Number);
  Object.assign(state, START, {
    q: asked.get("q") ?? "",
    sort: asked.get("sort") ?? "name",
    desc: asked.get("desc") === "1",
    only: (asked.get("only") ?? "").split(",").filter(Boolean),
    first: count("first"),
    open: [...new Set(asked.getAll("open"))].slice(0, 6),
    measure: count("measure"),
    span: Math.max(Number(asked.get("span")) || 0, 0),
    between: asked.get("between") && between.length === 2 && between.every(isFinite) ? between : null,
  });
}

function change(some) {
  Object.assign(state, some);
  history.replaceState(null, "", `#${toHash()}`);
  fillTools();
  stream.send();
}

// Parts of the page.

function open(id, add) {
  const others = add ? state.open.filter((one) => one !== id) : [];
  const was = state.open.length > 0;
  const isClosing = add && state.open.includes(id);
  change({ open: isClosing ? others : [...others, id].slice(-6), between: null });
  showSplit();
  if (!was && innerWidth < 1180) $("right").scrollIntoView({ behavior: "smooth", block: "start" });
}

const rows = new Table($("rows"), open);
const chart = new Chart(
  { chart: $("chart"), name: $("chart-name"), state: $("chart-state"), now: $("now"), spans: $("spans"), legend: $("legend"), extra: $("extra"), summary: $("summary") },
  {
    onSpan: (span) => change({ span, between: null }),
    onZoom: (between) => change({ between }),
    whatIf: new WhatIf($("what"), () => charts?.length && chart.draw()),
    measure: () => about.measures[Math.min(state.measure, about.measures.length - 1)],
  },
);

function perPage() {
  if (innerWidth <= 640) return state.open.length ? 8 : 20;
  return Math.min(Math.max(Math.floor((innerHeight - 215 - $("why").offsetHeight) / 31), 8), 60);
}

let hold = false;
const view = () => ({ ...state, hold, rows: perPage(), width: state.open.length ? chart.width : 900 });
const stream = new Stream(view, onFrame, onLost);

function fillTools() {
  if (document.activeElement !== $("q")) $("q").value = state.q;
  $("sort").value = state.sort;
  $("measure").value = String(state.measure);
  say($("desc"), state.desc ? "↓" : "↑");
  for (const one of document.querySelectorAll(".only")) one.setAttribute("aria-pressed", String(state.only.includes(one.dataset.only)));
  const asked = new URLSearchParams({ q: state.q, sort: state.sort, desc: state.desc ? "1" : "0", only: state.only.join(","), measure: state.measure });
  $("csv").href = `/series.csv?${asked}`;
  if (state.open.length) $("readings-csv").href = `/readings.csv?${new URLSearchParams({ id: state.open[0], measure: state.measure })}`;
  const measure = about.measures[Math.min(state.measure, about.measures.length - 1)];
  say($("average-name"), measure.average || "average");
  const { trend, unit, horizon } = measure.outlook ?? {};
  document.querySelector("table").className = `${trend ? "with-trend" : ""} ${horizon ? "with-forecast" : ""}`;
  say($("trend-name"), `trend /${unit}`);
  say($("forecast-name"), `in ${horizon}`);
}

function showSplit() {
  const isOpen = state.open.length > 0;
  document.querySelector("main").classList.toggle("split", isOpen);
  $("right").hidden = !isOpen;
}

function onLost() {
  tell("disconnected", "ewma watch does not answer: is it running? This page goes on by itself when it is back.");
}

function tell(word, why) {
  $("state").dataset.word = word;
  say($("word"), word);
  say($("why"), why);
  if ($("why").hidden === Boolean(why)) {
    $("why").hidden = !why;
    stream.send(); // there is room for more rows now, or for fewer
  }
  $("why").className = ["no broker", "disconnected", "stopped"].includes(word) ? "bad" : "";
  document.title = word === "live" ? `ewma · ${about.config ?? ""}` : `${word} · ewma`;
}

function onFrame(frame) {
  rows.offset = frame.now - Date.now() / 1000;
  if (frame.head) showHead((head = frame.head));
  else if ($("state").dataset.word === "disconnected" && head) tell(head.state, head.why);
  if (frame.alarms !== undefined) showAlarms((alarms = frame.alarms));
  if (frame.causes) causes = frame.causes;
  if (frame.table) showTable((table = frame.table));
  if (frame.charts) {
    const told = frame.charts.map(joined);
    if (told.includes(null)) return stream.again();
    charts = told;
    $("what").hidden = charts.length !== 1 || !charts[0].known;
    if (charts.length) chart.show(charts, state);
  }
}

// A chart as it is now: what is told of it may be only what follows on the points that are here.
function joined(told) {
  if (told.after === undefined) return told;
  const has = charts?.find((one) => one.id === told.id);
  if (has?.number !== told.after) return null;
  for (const name of ["x", "value", "average", "lower", "upper", "past_forecast"].filter((name) => told[name])) {
    told[name] = has[name].slice(told.drop, told.drop + told.keep).concat(told[name]);
  }
  return told;
}

function showHead() {
  tell(head.state, head.why);
  say($("rate"), `${whole(Math.round(head.rate))}/s`);
  say($("lag-name"), head.exact || head.lag === null ? "lag" : "uncommitted");
  say($("lag"), head.lag === null ? "–" : `${head.exact ? "" : "≤ "}${whole(head.lag)}`);
  const late = head.event_lag;
  say($("event-lag"), late === null ? "–" : late < -1 ? `${duration(late)} ahead` : duration(Math.max(late, 0)));
  say($("series"), whole(head.series));
  $("snapshot-field").hidden = head.snapshot === null;
  $("restarts-field").hidden = !head.restarts;
  if (head.snapshot !== null) say($("snapshot"), ago(Math.max(Date.now() / 1000 + rows.offset - head.snapshot, 0)));
  say($("restarts"), whole(head.restarts));
  say($("letters").lastElementChild, whole(head.letters));
  $("letters").classList.toggle("some", head.letters > 0);
  showEmpty();
}

function showAlarms() {
  $("alarms").hidden = !alarms;
  if (!alarms) return;
  say($("alarms").lastElementChild, whole(alarms.active));
  $("alarms").classList.toggle("some", alarms.active > 0);
}

function showTable() {
  rows.show(table, state.open);
  const last = table.first + table.ids.length;
  const some = table.matched < table.series ? ` that match, of ${whole(table.series)}` : "";
  say($("range"), table.matched ? `${whole(table.first + 1)}–${whole(last)} of ${whole(table.matched)}${some}` : "");
  $("previous").disabled = table.first === 0;
  $("next").disabled = last >= table.matched;
  $("pager").hidden = table.matched === 0;
  if (table.first > 0 && !table.ids.length) change({ first: 0 });
  showEmpty();
}

function showEmpty() {
  if (!table || !head) return;
  const empty = $("empty");
  empty.hidden = table.ids.length > 0;
  document.querySelector("table").hidden = table.ids.length === 0;
  if (!empty.hidden) {
    const [title, text] = table.series
      ? ["No series matches", "Clear the search and the filters to see all of them."]
      : head.state === "no broker"
        ? ["No broker", head.why]
        : ["No events yet", `${head.why.includes("does not exist") ? "" : `Topic ${about.output} has none${about.history ? ` of the last ${duration(about.history)}` : ""}. `}They appear here as soon as the flow writes one.`];
    empty.replaceChildren(element("b", {}, title), text);
  }
}

// What one can do.

// Rows that are sorted by what changes stay where they are under a pointer.
for (const [name, is] of [["pointerenter", true], ["pointerleave", false]]) {
  $("rows").addEventListener(name, (event) => {
    if (event.pointerType !== "mouse" || hold === is) return;
    hold = is;
    if (state.sort !== "name") stream.send();
  });
}

let typing = null;
$("q").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => change({ q: $("q").value, first: 0 }), 120);
});
$("tools").addEventListener("submit", (event) => event.preventDefault());
$("sort").onchange = () => change({ sort: $("sort").value, desc: $("sort").value !== "name", first: 0 });
$("measure").onchange = () => change({ measure: Number($("measure").value), between: null });
$("desc").onclick = () => change({ desc: !state.desc, first: 0 });
for (const one of document.querySelectorAll(".only")) {
  one.onclick = () => {
    const name = one.dataset.only;
    change({ only: state.only.includes(name) ? state.only.filter((x) => x !== name) : [...state.only, name], first: 0 });
  };
}
const turn = (step) => {
  const first = Math.max(state.first + step * perPage(), 0);
  if (step < 0 || (table && first < table.matched)) change({ first });
};
$("previous").onclick = () => turn(-1);
$("next").onclick = () => turn(1);
$("letters").onclick = () => head && panels.letters(head.letters, causes, about.letters);
$("alarms").onclick = () => alarms && panels.alarms(alarms, (id) => open(id, false));
$("help").onclick = panels.help;
$("close").onclick = closeChart;
$("copy").onclick = async () => {
  try {
    await navigator.clipboard.writeText(location.href);
    say($("copy"), "copied");
  } catch {
    say($("copy"), "it is in the address bar");
  }
  setTimeout(() => say($("copy"), "copy link"), 1500);
};
function closeChart() {
  change({ open: [], between: null });
  showSplit();
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  chart.restyle();
}
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const storedTheme = () => {
  try { return localStorage.getItem("theme"); } catch { return null; }
};
function turnTheme() {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  try { localStorage.setItem("theme", theme); } catch { /* it is kept for this page */ }
  setTheme(theme);
}
$("theme").onclick = turnTheme;
prefersDark.addEventListener("change", () => storedTheme() ?? setTheme(prefersDark.matches ? "dark" : "light"));

const KEYS = {
  "/": () => ($("q").focus(), $("q").select()), j: () => rows.move(1), k: () => rows.move(-1), ArrowDown: () => rows.move(1), ArrowUp: () => rows.move(-1),
  Enter: () => rows.openAt(false), o: () => rows.openAt(true), n: () => turn(1), p: () => turn(-1), PageDown: () => turn(1), PageUp: () => turn(-1),
  d: turnTheme, l: () => $("letters").click(), a: () => $("alarms").hidden || $("alarms").click(), "?": panels.help,
  Escape: () => panels.close() || (state.open.length && closeChart()),
};
document.addEventListener("keydown", (event) => {
  const inField = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (inField) {
    if (event.key === "Escape" || (event.key === "Enter" && event.target === $("q"))) event.target.blur();
    return;
  }
  if (event.key === "Enter" && /^(BUTTON|A)$/.test(event.target.tagName)) return;
  const act = KEYS[event.key];
  if (act && !(document.querySelector("dialog[open]") && event.key !== "Escape")) {
    event.preventDefault();
    act();
  }
});
addEventListener("hashchange", () => {
  fromHash();
  fillTools();
  showSplit();
  stream.send();
});
let resizing = null;
addEventListener("resize", () => {
  clearTimeout(resizing);
  resizing = setTimeout(() => stream.send(), 150);
});
setInterval(() => rows.tick(), 1000);

async function start() {
  setTheme(storedTheme() ?? (prefersDark.matches ? "dark" : "light"));
  await enter();
  const answer = await ask("/about").catch(() => null);
  if (answer?.status === 401) {
    tell("no entry", "This page needs its token: open the address with #token=… that ewma watch printed.");
    return;
  }
  if (answer?.ok) about = await answer.json();
  say($("config"), about.config ?? "");
  $("measure-field").hidden = about.measures.length < 2;
  $("measure").replaceChildren(...about.measures.map((one, i) => element("option", { value: String(i) }, plain(one.name || one.average, 60))));
  fromHash();
  fillTools();
  showSplit();
  stream.open();
}
start();
