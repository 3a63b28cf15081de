// The controls above the list, which are kept in the page's address.

import { byId, element } from "./dom.js";
import { Filters } from "./filters.js";
import { CONDITIONS, KINDS } from "./words.js";

export class Controls {
  /**
   * @param {object} options
   * @param {(filters: Filters) => void} options.onNarrow called with the filters after each change
   * @param {() => number} options.now returns the service's time in ms
   */
  constructor({ onNarrow, now }) {
    this.filters = Filters.read(location.search);
    this.onNarrow = onNarrow;
    this.now = now;
    this.chips = byId("chips");
    this.kind = byId("kind", HTMLSelectElement);
    this.since = byId("since", HTMLSelectElement);
    this.search = byId("search", HTMLInputElement);
    for (const [name, { icon, word }] of Object.entries(CONDITIONS)) this.chips.append(chip(name, `${icon} ${word}`));
    for (const kind of KINDS) this.kind.append(new Option(kind, kind));
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    this.chips.addEventListener("change", () => this.narrow({ show: this.checked() }));
    this.kind.addEventListener("change", () => this.narrow({ kind: this.kind.value }));
    this.since.addEventListener("change", () => this.narrow({ since: this.since.value }));
    this.search.addEventListener("input", () => this.narrow({ q: this.search.value.trim() }));
    byId("all").addEventListener("click", () => this.narrow({ show: [], kind: "", since: "", q: "" }));
    this.write();
  }

  /** Return the one condition that the list is narrowed to, or null. */
  get only() {
    const [first, ...others] = this.filters.show;
    return first !== undefined && others.length === 0 ? first : null;
  }

  /**
   * Narrow the list to one condition; if it is narrowed to that one already, show all again.
   * @param {string} name
   */
  choose(name) {
    this.narrow({ show: this.only === name ? [] : [name] });
  }

  /** @param {import("./filters.js").Wanted} changes */
  narrow(changes) {
    const from = "since" in changes ? undefined : this.filters.from;
    this.filters = new Filters({ ...this.filters, show: [...this.filters.show], ...changes, from }, this.now());
    history.replaceState(null, "", location.pathname + this.filters.write() + location.hash);
    this.write();
    this.onNarrow(this.filters);
  }

  boxes() {
    return [...this.chips.querySelectorAll("input")];
  }

  checked() {
    return this.boxes().flatMap(({ checked, value }) => (checked ? [value] : []));
  }

  /** Write the filters into the controls. */
  write() {
    const { q, kind, since, show } = this.filters;
    if (this.search.value.trim() !== q) this.search.value = q;
    this.kind.value = kind;
    this.since.value = since;
    for (const box of this.boxes()) box.checked = show.has(box.value);
  }
}

/**
 * @param {string} name of a condition
 * @param {string} text
 */
function chip(name, text) {
  const label = element("label", "chip");
  label.dataset.condition = name;
  const box = Object.assign(element("input"), { type: "checkbox", value: name });
  label.append(box, element("span", "", text));
  return label;
}
