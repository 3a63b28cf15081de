// The top of the page: the connection, the peers, what is wrong, and the same in a sentence for screen readers.

import { byId, write } from "./dom.js";
import { split } from "./tiles.js";
import { troubles } from "./troubles.js";
import { number, span } from "./words.js";

const SPEAK_EVERY = 5000; // ms between two sentences
const STATES = { connecting: "Connecting", live: "Live", lost: "Reconnecting", refused: "Not connected" };

export class Health {
  constructor(feed, state) {
    this.feed = feed;
    this.state = state;
    this.spokenAt = 0;
  }

  draw() {
    const { feed, state: { stats } } = this;
    byId("connection").dataset.state = feed.state;
    const silence = feed.state === "live" ? ` ${span(Date.now() - feed.heardAt)}` : "";
    write(byId("connection-text"), STATES[feed.state] + silence);
    fill(byId("peers"), stats ? peers(stats) : []);
    const wrong = troubles(feed, stats);
    fill(byId("troubles"), wrong.map((text) => ["", text, ""]));
    byId("banner").hidden = wrong.length === 0;
    byId("again").hidden = feed.state !== "refused";
    byId("sending").hidden = feed.role !== "operator" || feed.state !== "live" || !stats;
    write(byId("sending"), stats?.paused ? "Resume sending" : "Pause sending");
    document.body.classList.toggle("stale", feed.state !== "live");
    this.speak(wrong);
  }

  speak(wrong) {
    if (Date.now() - this.spokenAt < SPEAK_EVERY) return;
    const { totals, stats } = this.state;
    const counts = Object.entries({ ...split(totals, stats), failed: totals.failed ?? 0 });
    const words = counts.map(([name, count]) => `${number(count)} ${name}`).join(", ");
    if (write(byId("summary"), [`${STATES[this.feed.state]}.`, `${words}.`, ...wrong].join(" "))) this.spokenAt = Date.now();
  }
}

function peers({ broker, smtp }) {
  const found = smtp.map(({ transport, state }) => mark("smtp", state === "ready", `${transport}: ${state}`));
  return broker.state === "off" ? found : [mark("broker", broker.state === "connected", broker.state), ...found];
}

function mark(name, isGood, title) {
  return [isGood ? "good" : "bad", `${name} ${isGood ? "✓" : "✕"}`, title];
}

/** Make the list say these `[class, text, title]`, and touch it only where it says something else. */
function fill(list, items) {
  const said = JSON.stringify(items);
  if (list.dataset.said === said) return;
  list.dataset.said = said;
  list.replaceChildren(
    ...items.map(([className, text, title]) =>
      Object.assign(document.createElement("li"), { className, textContent: text, title }),
    ),
  );
}
