// What opens over the page: dead letters by cause, keys and words.

import { element, moment, plain, whole } from "./format.js";

const dialog = document.getElementById("dialog");
const body = document.getElementById("dialog-body");
document.getElementById("dialog-close").onclick = () => dialog.close();
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());

export function open(name, ...content) {
  document.getElementById("dialog-name").textContent = name;
  body.replaceChildren(...content);
  if (!dialog.open) dialog.showModal();
}

export function letters(count, causes, topic) {
  if (!count) {
    return open("Dead letters", element("p", {}, `None so far on topic ${topic}: every message was a reading.`));
  }
  const found = causes.flatMap((one) => [
    element("h3", {}, `${one.cause}: ${whole(one.n)}`),
    element("p", {}, `The newest, of ${one.place}, ${moment(one.at / 1000)} UTC: ${plain(one.detail, 500)}`),
    element("pre", {}, one.payload === null ? "null (a tombstone)" : plain(one.payload, 400) || "(empty)"),
  ]);
  const hint = element("p", {}, "ewma redrive sends letters back to the input once their cause is fixed.");
  open(`Dead letters: ${whole(count)}`, ...found, hint);
}

export function alarms(found, onOpen) {
  const entry = (alarm) => {
    const what = alarm.transition === "cleared" ? `cleared${alarm.by ? `, ${alarm.by}` : ""}` : alarm.transition;
    const at = alarm.time === null ? "" : `${moment(alarm.time)} UTC · `;
    const made = element("button", { type: "button", class: "alarm" }, plain(alarm.summary || alarm.series_id, 300), element("br"), element("small", {}, `${at}${what} · ${alarm.severity} · ${alarm.rule}`));
    made.onclick = () => (dialog.close(), onOpen(alarm.series_id));
    return made;
  };
  const rows = found.rules.map((one) => {
    const due = one.expected === null ? "none designed" : one.expected < 10 ? one.expected.toFixed(1) : whole(Math.round(one.expected));
    return element("tr", {}, element("th", { scope: "row" }, one.rule), element("td", { class: "num" }, whole(one.raised)), element("td", { class: "num" }, due));
  });
  const heads = ["rule", "raised", "expected by chance"].map((text, i) => element("th", { scope: "col", class: i ? "num wide" : "" }, text));
  const table = element("table", { class: "rules" }, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows));
  const none = element("p", {}, "None is on.");
  const past = found.recent.filter((one) => one.transition === "cleared").slice(0, 30);
  open(
    `Alarms: ${whole(found.active)} on`, ...(found.on.length ? found.on.map(entry) : [none]),
    ...(rows.length ? [element("h3", {}, "Raised, and expected by chance, of the readings shown here"), table] : []),
    ...(past.length ? [element("h3", {}, "Recently cleared"), ...past.map(entry)] : []),
  );
}

const KEYS = [
  ["/", "search"], ["j k", "next and previous row"], ["Enter", "open the row in the chart"],
  ["o", "add the row to the chart"], ["n p", "next and previous page"], ["a", "alarms"],
  ["l", "dead letters"], ["d", "dark or light"], ["Esc", "close"],
];
const WORDS = [
  ["z", "how many standard deviations the last reading was from the average before it; of an event's own z, if it has one"],
  ["settling", "the average has gathered less than 95 % of the weight that it will have"],
  ["silent", "nothing for ten of the series' own usual gaps, and at least five seconds"],
  ["forecast", "where the series is at the horizon by what came so far, and the bounds that a reading will be within in the given share of cases"],
  ["mase", "mean error of the forecasts over that of the last value taken for the next: above 1 the last value is better"],
  ["lag", "readings in the input that are not smoothed yet; ≤ where only the committed offsets tell"],
  ["event lag", "from the time of an event to when it was written"],
  ["stopped", "readings wait in the input, and nothing comes out"],
];

export function help() {
  const keys = element("dl", {});
  for (const [key, text] of KEYS) {
    keys.append(element("dt", {}, ...key.split(" ").flatMap((one) => [element("kbd", {}, one), " "])), element("dd", {}, text));
  }
  const words = element("dl", {});
  for (const [word, text] of WORDS) words.append(element("dt", {}, word), element("dd", {}, text));
  open("Keys and words", keys, element("h3", {}, "Words"), words);
}

export const close = () => dialog.open && (dialog.close(), true);
