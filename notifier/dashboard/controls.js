// The controls above the list, and their place in the page's address.

import { byId } from "./dom.js";
import { Filters } from "./filters.js";
import { CONDITIONS, KINDS } from "./words.js";

/** `onNarrow(filters)` hears every change of what the reader wants to see; `now()` is the service's time (ms). */
export class Controls {
  constructor({ onNarrow, now }) {
    this.filters = Filters.read(location.search);
    this.onNarrow = onNarrow;
    this.now = now;
    for (const [name, { icon, word }] of Object.entries(CONDITIONS)) byId("chips").append(chip(name, icon, word));
    for (const kind of KINDS) byId("kind").append(new Option(kind, kind));
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    byId("chips").addEventListener("change", () => this.narrow({ show: this.checked() }));
    byId("kind").addEventListener("change", ({ target }) => this.narrow({ kind: target.value }));
    byId("since").addEventListener("change", ({ target }) => this.narrow({ since: target.value }));
    byId("search").addEventListener("input", ({ target }) => this.narrow({ q: target.value.trim() }));
    byId("all").addEventListener("click", () => this.narrow({ show: [], kind: "", since: "", q: "" }));
    this.show();
  }

  /** The one condition that the list is narrowed to, or null. */
  get only() {
    return this.filters.show.size === 1 ? [...this.filters.show][0] : null;
  }

  /** Narrow to one condition, or take that back. */
  choose(name) {
    this.narrow({ show: this.only === name ? [] : [name] });
  }

  narrow(changes) {
    const from = "since" in changes ? undefined : this.filters.from;
    this.filters = new Filters({ ...this.filters, show: [...this.filters.show], ...changes, from }, this.now());
    history.replaceState(null, "", location.pathname + this.filters.write() + location.hash);
    this.show();
    this.onNarrow(this.filters);
  }

  checked() {
    return [...byId("chips").querySelectorAll("input:checked")].map(({ value }) => value);
  }

  show() {
    const { q, kind, since, show } = this.filters;
    if (byId("search").value.trim() !== q) byId("search").value = q;
    byId("kind").value = kind;
    byId("since").value = since;
    for (const box of byId("chips").querySelectorAll("input")) box.checked = show.has(box.value);
  }
}

function chip(name, icon, word) {
  const label = document.createElement("label");
  label.className = "chip";
  label.dataset.condition = name;
  const text = document.createElement("span");
  text.textContent = `${icon} ${word}`;
  label.append(Object.assign(document.createElement("input"), { type: "checkbox", value: name }), text);
  return label;
}
