// What the reader wants to see: kept in the page's address, asked of the feed, and narrowed here. Pure but for `Date.now`.

import { CONDITIONS, KINDS, condition } from "./words.js";

const SPANS = { "15m": 15, "1h": 60, "6h": 360, "24h": 1440 }; // minutes

/**
 * `show`: conditions, none for all; `kind`; `since`: a key of SPANS; `q`: searched text. `from` (ms) is where the span of
 * `since` begins: without it that is chosen now. It must not move on: the feed would be asked for another filter each time.
 */
export class Filters {
  constructor({ show = [], kind = "", since = "", q = "", from } = {}, now = Date.now()) {
    this.show = new Set(show.filter((name) => Object.hasOwn(CONDITIONS, name)));
    this.kind = KINDS.includes(kind) ? kind : "";
    this.since = Object.hasOwn(SPANS, since) ? since : "";
    this.from = this.since ? from ?? now - SPANS[this.since] * 60_000 : undefined;
    this.q = q;
  }

  static read(query) {
    const given = new URLSearchParams(query);
    const { kind, since, q } = Object.fromEntries(given);
    return new Filters({ show: (given.get("show") ?? "").split(","), kind, since, q });
  }

  write() {
    const found = new URLSearchParams();
    if (this.show.size) found.set("show", [...this.show].join(","));
    for (const name of ["kind", "since", "q"]) if (this[name]) found.set(name, this[name]);
    return found.size ? `?${found}` : "";
  }

  get empty() {
    return this.write() === "";
  }

  /** The part that the service can answer. */
  forFeed() {
    const found = {};
    if (this.show.size) found.status = [...new Set([...this.show].map((name) => CONDITIONS[name].status))];
    if (this.kind) found.kind = [this.kind];
    if (this.since) found.since = new Date(this.from).toISOString();
    return found;
  }

  /** The rest: which of the mails that the feed shows are wanted at `now` (ms). */
  wants(mail, now) {
    if (this.show.size && !this.show.has(condition(mail, now))) return false;
    if (!this.q) return true;
    const { number, from, to } = mail.flight ?? {};
    const text = [mail.subject, mail.to, mail.kind, mail.booking, mail.id, mail.event, number, from, to].join("\n");
    return text.toLowerCase().includes(this.q.toLowerCase());
  }

  /** A filter that finds what is searched wherever it is in the store, where it can be the name of something. */
  lookup() {
    if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(this.q)) return { mail: [this.q] };
    return /^\S{4,64}$/.test(this.q) ? { booking: [...new Set([this.q, this.q.toUpperCase()])] } : null;
  }
}
