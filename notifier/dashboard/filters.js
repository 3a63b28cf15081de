// The filters that the reader has set. They are kept in the page's address; the service applies what it can, and the
// page the rest. Pure except for `Date.now`.

import { CONDITIONS, KINDS, condition } from "./words.js";

/** @typedef {import("./frames.js").Mail} Mail */
/** @typedef {import("./frames.js").Filter} Filter */
/** @typedef {import("./frames.js").Kind} Kind */

/**
 * @typedef {object} Wanted
 * @property {string[]} [show] names of conditions; without any, all mails are wanted
 * @property {string} [kind] "" for all kinds
 * @property {string} [since] a key of `SPANS`, or "" for mails of any age
 * @property {string} [q] the text to search for
 * @property {number} [from] ms: the beginning of the span `since`; by default it ends now
 */

/** @type {Record<string, number>} */
const SPANS = { "15m": 15, "1h": 60, "6h": 360, "24h": 1440 }; // minutes
const MAIL_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const BOOKING = /^\S{4,64}$/;

/** Invalid values are ignored, because anybody can edit an address. */
export class Filters {
  /** @param {Wanted} wanted */
  constructor({ show = [], kind = "", since = "", q = "", from } = {}, now = Date.now()) {
    this.show = new Set(show.filter((name) => Object.hasOwn(CONDITIONS, name)));
    /** @type {Kind | ""} */
    this.kind = KINDS.find((each) => each === kind) ?? "";
    this.since = Object.hasOwn(SPANS, since) ? since : "";
    // The beginning is fixed: if it moved with the time, each change would send the feed another filter.
    this.from = this.since ? from ?? now - (SPANS[since] ?? 0) * 60_000 : undefined;
    this.q = q;
  }

  /**
   * Read the query of an address.
   * @param {string} query
   */
  static read(query) {
    const given = new URLSearchParams(query);
    const { kind, since, q } = Object.fromEntries(given);
    return new Filters({ show: (given.get("show") ?? "").split(","), kind, since, q });
  }

  /** Return the query of an address, "" if all mails are wanted. */
  write() {
    const found = new URLSearchParams();
    if (this.show.size) found.set("show", [...this.show].join(","));
    for (const name of /** @type {const} */ (["kind", "since", "q"])) if (this[name]) found.set(name, this[name]);
    const query = String(found);
    return query ? `?${query}` : "";
  }

  get empty() {
    return this.write() === "";
  }

  /** Return the part that the service can answer. */
  forFeed() {
    /** @type {Filter} */
    const found = {};
    const wanted = Object.entries(CONDITIONS).filter(([name]) => this.show.has(name));
    if (wanted.length) found.status = [...new Set(wanted.map(([, { status }]) => status))];
    if (this.kind) found.kind = [this.kind];
    if (this.from !== undefined) found.since = new Date(this.from).toISOString();
    return found;
  }

  /**
   * Return whether a mail of the feed matches the other part: the exact condition, and the searched text.
   * @param {Mail} mail
   * @param {number} now ms
   */
  wants(mail, now) {
    if (this.show.size && !this.show.has(condition(mail, now))) return false;
    if (!this.q) return true;
    const { number, from, to } = mail.flight ?? {};
    const text = [mail.subject, mail.to, mail.kind, mail.booking, mail.id, mail.event, number, from, to].join("\n");
    return text.toLowerCase().includes(this.q.toLowerCase());
  }

  /**
   * Return a filter that finds the searched text anywhere in the store; null unless it can be the id of a mail or the
   * reference of a booking.
   * @returns {Filter | null}
   */
  lookup() {
    if (MAIL_ID.test(this.q)) return { mail: [this.q] };
    return BOOKING.test(this.q) ? { booking: [...new Set([this.q, this.q.toUpperCase()])] } : null;
  }
}
