// What if: another decay and another limit, on the readings that the chart has; and how much each
// of them weighs in the average. All of it is computed here, nothing is asked of the flow.

import { element, number, say } from "./format.js";

// The corrected average of readings, and how many standard errors each reading was from what was
// expected before it: spread and centre are exponentially weighted, as in the flow.
export function smooth(values, beta) {
  const average = new Array(values.length).fill(null);
  const score = new Array(values.length).fill(null);
  let weight = 0, mean = 0, squares = 0, concentration = 0;
  values.forEach((x, i) => {
    if (x === null) {
      average[i] = weight > 0 ? mean : null;
      return;
    }
    const p = 1 / (beta * weight + 1);
    const d = x - mean;
    const n = concentration > 0 ? 1 / concentration : 0;
    const unbiased = n > 1 ? (squares * n) / (n - 1) : 0;
    if (unbiased > 0 && n >= 5) score[i] = d / Math.sqrt(unbiased * (1 + concentration));
    weight = beta * weight + 1;
    concentration = (1 - p) * (1 - p) * concentration + p * p;
    squares = (1 - p) * (squares + p * d * d);
    mean = weight === 1 ? x : mean + p * d;
    average[i] = mean;
  });
  return { average, score };
}

// Places where a score went beyond a limit, counted once until it is back below half of it.
export function raises(score, limit) {
  const found = [];
  let on = false;
  score.forEach((z, i) => {
    if (z === null) return;
    if (!on && Math.abs(z) > limit) {
      on = true;
      found.push(i);
    } else if (on && Math.abs(z) < limit / 2) on = false;
  });
  return found;
}

// Shares of the newest readings in a corrected average of n readings.
export function weights(beta, n, most = 12) {
  const all = 1 - beta ** n;
  return Array.from({ length: Math.min(n, most) }, (_, k) => ((1 - beta) * beta ** k) / all);
}

export class WhatIf {
  constructor(at, onChange) {
    this.beta = 0.9;
    this.limit = 3;
    this.on = false;
    this.onChange = onChange;
    this.words = element("p", { role: "status" });
    this.bars = element("p", { class: "weights" });
    this.button = element("button", { type: "button", "aria-expanded": "false" }, "what if …");
    this.box = element("div", { hidden: "" });
    this.box.append(
      this.slider("beta", 0.5, 0.995, 0.005, 3), this.slider("limit", 1.5, 8, 0.1, 1), this.words, this.bars,
    );
    this.button.onclick = () => {
      this.on = !this.on;
      this.box.hidden = !this.on;
      this.button.setAttribute("aria-expanded", String(this.on));
      onChange();
    };
    at.append(this.button, this.box);
  }

  slider(name, min, max, step, digits) {
    const input = element("input", { type: "range", min, max, step, value: this[name], id: `what-${name}` });
    const shown = element("output", { for: input.id }, this[name].toFixed(digits));
    input.oninput = () => {
      this[name] = Number(input.value);
      shown.textContent = this[name].toFixed(digits);
      this.onChange();
    };
    return element("label", { class: "slide" }, element("span", {}, name), input, shown);
  }

  // A line for the chart, and what it would have meant; null while it is closed.
  line(chart) {
    if (!this.on || !chart) return null;
    const thinned = chart.readings > chart.x.length ? " of the readings drawn, which are not all" : "";
    const { average, score } = smooth(chart.value, this.beta);
    const found = raises(score, this.limit);
    const known = score.filter((z) => z !== null).length;
    const rate = found.length ? `, one in ${Math.round(known / found.length)} readings` : "";
    say(this.words, `Spikes beyond ${this.limit.toFixed(1)} standard errors: ${found.length}${rate}${thinned}.`);
    const shares = weights(this.beta, chart.value.length);
    const count = (1 + this.beta) / (1 - this.beta);
    const listed = shares.slice(0, 5).map((one) => `${number(100 * one, 1)} %`).join(", ");
    say(this.bars, `Weights of the newest readings: ${listed}, …; about ${number(count, 0)} readings count.`);
    return { name: `beta ${this.beta.toFixed(3)}`, colour: "--c2", values: average };
  }
}
