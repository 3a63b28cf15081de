// Lines over the last five minutes, as SVG and as a table.

import { clock, number } from "./words.js";

const SPAN = 300; // seconds
const WIDTH = 600;
const HEIGHT = 120;
const ROWS = 10; // of the table

/** One figure; `lines` names its series, in the order of the values that `add` takes. */
export class Chart {
  constructor(section, title, lines) {
    this.title = title;
    this.lines = lines;
    this.points = []; // [ms, ...values], the oldest first
    const figure = document.createElement("figure");
    figure.innerHTML = `<figcaption></figcaption>
      <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img">
        <line class="base" x1="0" x2="${WIDTH}" y1="${HEIGHT - 1}" y2="${HEIGHT - 1}"/>
        ${lines.map((_, index) => `<polyline class="line-${index}" points=""/>`).join("")}
      </svg>
      <p class="axis" aria-hidden="true"><span>5 min ago</span><span class="most"></span><span>now</span></p>
      <details><summary>As a table</summary><table><thead><tr><th scope="col">Time</th>${lines
        .map((name) => `<th scope="col">${name}</th>`)
        .join("")}</tr></thead><tbody></tbody></table></details>`;
    const caption = figure.querySelector("figcaption");
    caption.append(title);
    lines.forEach((name, index) => {
      const key = document.createElement("span");
      key.className = `key line-${index}`;
      key.append(name);
      caption.append(" ", key);
    });
    this.figure = figure;
    section.append(figure);
    figure.querySelector("details").addEventListener("toggle", () => this.tabulate());
  }

  add(at, ...values) {
    // A point in the future was reported before the clock of the service was set back.
    this.points = this.points.filter(([then]) => then < at && then >= at - SPAN * 1000);
    this.points.push([at, ...values]);
  }

  draw() {
    const last = this.points.at(-1);
    if (!last) return;
    const most = Math.max(1, ...this.points.flatMap(([, ...values]) => values));
    this.figure.querySelectorAll("polyline").forEach((line, index) => {
      line.setAttribute("points", this.points.map((point) => place(point, index, last[0], most)).join(" "));
    });
    this.figure.querySelector(".most").textContent = `most ${number(Math.round(most))}`;
    const now = this.lines.map((name, index) => `${name} ${number(round(last[index + 1]))}`).join(", ");
    this.figure.querySelector("svg").setAttribute("aria-label", `${this.title}: now ${now}; most ${number(round(most))}`);
    this.tabulate();
  }

  tabulate() {
    if (!this.figure.querySelector("details").open) return;
    const step = Math.max(1, Math.ceil(this.points.length / ROWS));
    const chosen = this.points.filter((_, index) => (this.points.length - 1 - index) % step === 0).reverse();
    this.figure.querySelector("tbody").replaceChildren(
      ...chosen.map(([at, ...values]) => {
        const row = document.createElement("tr");
        for (const text of [clock(at), ...values.map((value) => number(round(value)))]) row.insertCell().append(text);
        return row;
      }),
    );
  }
}

function place([at, ...values], index, now, most) {
  const x = WIDTH * (1 - (now - at) / (SPAN * 1000));
  const y = (HEIGHT - 2) * (1 - values[index] / most) + 1;
  return `${x.toFixed(1)},${y.toFixed(1)}`;
}

function round(value) {
  return Math.round(value * 10) / 10;
}
