// The counts at the top: each is a button that narrows the list to what it counts.

import { write } from "./dom.js";
import { number, shown, span } from "./words.js";

const TILES = ["waiting", "scheduled", "sending", "sent", "retrying", "failed"];

export class Tiles {
  constructor(section, { onChoose }) {
    this.counts = new Map();
    for (const name of TILES) {
      const { icon, word } = shown(name);
      const tile = document.createElement("button");
      tile.type = "button";
      tile.className = "tile";
      tile.dataset.condition = name;
      tile.innerHTML = `<strong>0</strong> <span><span class="icon" aria-hidden="true">${icon}</span> ${word}</span>`;
      tile.addEventListener("click", () => onChoose(name));
      section.append(tile);
      this.counts.set(name, tile);
    }
    this.figures = document.createElement("dl");
    this.figures.innerHTML =
      "<div><dt>oldest due</dt><dd></dd></div><div><dt>in</dt><dd></dd></div><div><dt>out</dt><dd></dd></div>";
    section.append(this.figures);
  }

  /** `only`: the one condition that the list is narrowed to, or null. */
  show({ totals, stats }, only, now) {
    const count = { ...totals, ...split(totals, stats) };
    for (const [name, tile] of this.counts) {
      write(tile.querySelector("strong"), number(count[name] ?? 0));
      tile.setAttribute("aria-pressed", String(name === only));
    }
    const [oldest, received, sent] = this.figures.querySelectorAll("dd");
    write(oldest, stats?.oldest_due ? span(now - Date.parse(stats.oldest_due)) : "none");
    write(received, stats ? `${stats.rates.received.toFixed(1)}/s` : "–");
    write(sent, stats ? `${stats.rates.sent.toFixed(1)}/s` : "–");
  }
}

/** The pending mails by what they wait for; before the first stats all of them are taken as waiting. */
export function split(totals, stats) {
  const { due = totals.pending ?? 0, scheduled = 0, retrying = 0 } = stats?.pending ?? {};
  return { waiting: due, scheduled, retrying };
}
