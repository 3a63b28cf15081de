// Lines over the last five minutes, as SVG and as a table.

import { element, find, write } from "./dom.js";
import { HEIGHT, Series, WIDTH } from "./series.js";
import { clock, number } from "./words.js";

/** One figure with one or more lines. */
export class Chart {
  /**
   * @param {Element} section where the figure is appended
   * @param {string} title
   * @param {string[]} lines their names, in the order of the values that `add` takes
   */
  constructor(section, title, lines) {
    this.title = title;
    this.lines = lines;
    this.series = new Series();
    const figure = document.createElement("figure");
    figure.innerHTML = `<figcaption></figcaption>
      <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img">
        <line class="base" x1="0" x2="${WIDTH}" y1="${HEIGHT - 1}" y2="${HEIGHT - 1}"/>
        ${lines.map((_, index) => `<polyline class="line-${index}" points=""/>`).join("")}
      </svg>
      <p class="axis" aria-hidden="true"><span>5 min ago</span><span class="peak"></span><span>now</span></p>
      <details><summary>Show as a table</summary><table><thead><tr><th scope="col">Time</th>${lines
        .map((name) => `<th scope="col">${name}</th>`)
        .join("")}</tr></thead><tbody></tbody></table></details>`;
    const caption = find(figure, "figcaption");
    caption.append(title);
    lines.forEach((name, index) => caption.append(" ", element("span", `key line-${index}`, name)));
    this.figure = figure;
    this.details = find(figure, "details", HTMLDetailsElement);
    section.append(figure);
    this.details.addEventListener("toggle", () => this.tabulate());
  }

  /**
   * Add a point and draw.
   * @param {number} at ms
   * @param {...number} values
   */
  add(at, ...values) {
    this.series.add(at, ...values);
    const peak = number(round(this.series.peak));
    this.figure.querySelectorAll("polyline").forEach((line, index) => {
      line.setAttribute("points", this.series.polyline(index));
    });
    write(find(this.figure, ".peak"), `peak ${number(Math.round(this.series.peak))}`);
    const now = this.lines.map((name, index) => `${name} ${number(round(values[index] ?? 0))}`).join(", ");
    find(this.figure, "svg", SVGElement).setAttribute("aria-label", `${this.title}. Now: ${now}. Peak: ${peak}.`);
    this.tabulate();
  }

  tabulate() {
    if (!this.details.open) return;
    const rows = this.series.sample().map(({ at, values }) => {
      const row = document.createElement("tr");
      for (const text of [clock(at), ...values.map((value) => number(round(value)))]) row.insertCell().append(text);
      return row;
    });
    find(this.details, "tbody").replaceChildren(...rows);
  }
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 10) / 10;
}
