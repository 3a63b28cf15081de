// The counts at the top. Each is a button that narrows the list to the mails that it counts.

import { count } from "./counts.js";
import { find, write } from "./dom.js";
import { number, shown, span } from "./words.js";

const TILES = ["waiting", "scheduled", "sending", "sent", "retrying", "failed"];

export class Tiles {
  /**
   * @param {HTMLElement} section
   * @param {{onChoose: (condition: string) => void}} options `onChoose` is called when a tile is clicked
   */
  constructor(section, { onChoose }) {
    /** @type {Map<string, HTMLButtonElement>} by condition */
    this.tiles = new Map();
    for (const name of TILES) {
      const { icon, word } = shown(name);
      const tile = document.createElement("button");
      tile.type = "button";
      tile.className = "tile";
      tile.dataset.condition = name;
      tile.innerHTML = `<strong>0</strong> <span><span class="icon" aria-hidden="true">${icon}</span> ${word}</span>`;
      tile.addEventListener("click", () => onChoose(name));
      section.append(tile);
      this.tiles.set(name, tile);
    }
    const rates = document.createElement("dl");
    rates.innerHTML = `<div><dt>Oldest due</dt><dd class="oldest"></dd></div>
      <div><dt>Received</dt><dd class="received"></dd></div>
      <div><dt>Sent</dt><dd class="sent"></dd></div>`;
    section.append(rates);
    this.oldest = find(rates, ".oldest");
    this.received = find(rates, ".received");
    this.sent = find(rates, ".sent");
  }

  /**
   * @param {import("./state.js").State} state
   * @param {string | null} only the one condition that the list is narrowed to
   * @param {number} now ms
   */
  draw({ totals, stats }, only, now) {
    for (const [name, tile] of this.tiles) {
      write(find(tile, "strong"), number(count(name, totals, stats)));
      tile.setAttribute("aria-pressed", String(name === only));
    }
    write(this.oldest, stats?.oldest_due ? span(now - Date.parse(stats.oldest_due)) : "none");
    write(this.received, stats ? `${stats.rates.received.toFixed(1)}/s` : "–");
    write(this.sent, stats ? `${stats.rates.sent.toFixed(1)}/s` : "–");
  }
}
