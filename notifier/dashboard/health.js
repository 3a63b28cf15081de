// The top of the page: the connection, the broker and the SMTP accounts, and what is wrong.

import { byId, element, write } from "./dom.js";
import { STATES, peers, summary } from "./summary.js";
import { troubles } from "./troubles.js";
import { span } from "./words.js";

const SPEAK_EVERY = 5000; // ms between two changes of the summary that screen readers speak

export class Health {
  /**
   * @param {import("./feed.js").Feed} feed
   * @param {import("./state.js").State} state
   */
  constructor(feed, state) {
    this.feed = feed;
    this.state = state;
    this.spokenAt = 0;
  }

  draw() {
    const { feed, state } = this;
    const { stats } = state;
    byId("connection").dataset.state = feed.state;
    const silence = feed.state === "live" ? `, updated ${span(Date.now() - feed.heardAt)} ago` : "";
    write(byId("connection-text"), STATES[feed.state] + silence);
    fill(byId("peers"), stats ? peers(stats) : []);
    const wrong = troubles(feed, stats);
    fill(
      byId("troubles"),
      wrong.map((text) => ({ text })),
    );
    byId("banner").hidden = wrong.length === 0;
    byId("again").hidden = feed.state !== "refused";
    byId("sending").hidden = feed.role !== "operator" || feed.state !== "live" || !stats;
    write(byId("sending"), stats?.paused ? "Resume sending" : "Pause sending");
    document.body.classList.toggle("stale", feed.state !== "live");
    if (Date.now() - this.spokenAt < SPEAK_EVERY) return;
    if (write(byId("summary"), summary(feed.state, state, wrong))) this.spokenAt = Date.now();
  }
}

/**
 * Rewrite a list if its items differ from those that it has.
 * @param {HTMLElement} list
 * @param {{className?: string, text: string, title?: string}[]} items
 */
function fill(list, items) {
  const written = JSON.stringify(items);
  if (list.dataset.written === written) return;
  list.dataset.written = written;
  list.replaceChildren(
    ...items.map(({ className, text, title = "" }) => Object.assign(element("li", className, text), { title })),
  );
}
