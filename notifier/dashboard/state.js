// The state of the page's data after the frames so far: the mails that are watched, the counts, the latest stats. Pure.

/** @typedef {import("./frames.js").Mail} Mail */
/** @typedef {import("./frames.js").Filter} Filter */
/** @typedef {Mail & {changed: string}} KnownMail a mail, with the RFC 3339 time of its latest change that is known */

/** The mails of one filter. */
export class State {
  /** @param {number} kept how many mails to keep: those that changed last */
  constructor(kept = 500) {
    this.kept = kept;
    /** @type {Map<string, KnownMail>} by id */
    this.mails = new Map();
    /** @type {Partial<import("./frames.js").Totals>} */
    this.totals = {};
    /** @type {import("./frames.js").Stats | null} */
    this.stats = null;
    /** Whether the store has more mails of this filter than are kept here. */
    this.more = false;
    /** @type {Set<string>} ids of mails that are kept however long ago they changed */
    this.pinned = new Set();
    /** How many snapshots came because the feed could not resume. */
    this.reloads = 0;
    /** Whether a first snapshot has come. */
    this.resumable = false;
  }

  /**
   * Apply one frame. Return the ids of the mails that are new or have changed.
   * @param {import("./frames.js").ServerFrame} frame
   * @param {Filter} filter the filter that the feed has now
   * @returns {string[]}
   */
  apply(frame, filter = {}) {
    switch (frame.type) {
      case "welcome":
        if (this.resumable && !frame.resumed && frame.reason !== "none") this.reloads += 1;
        return [];
      case "snapshot":
        return this.replace(frame);
      case "events":
        return frame.events.flatMap((event) => (this.change(event, filter) ? [event.data.mail.id] : []));
      case "stats":
        this.stats = frame;
        this.totals = frame.totals;
        return [];
      default:
        return [];
    }
  }

  /** Return the mails, the latest change first. */
  latest() {
    return [...this.mails.values()].sort(byChange);
  }

  /**
   * Keep these mails however long ago they changed, instead of those that were pinned before.
   * @param {Mail[]} mails
   */
  pin(mails) {
    this.pinned = new Set(mails.map(({ id }) => id));
    for (const mail of mails) {
      const known = this.mails.get(mail.id);
      if (!known || known.rev < mail.rev) this.mails.set(mail.id, dated(mail));
    }
  }

  /** @param {import("./frames.js").Snapshot} snapshot */
  replace({ mails, totals, more }) {
    this.resumable = true;
    this.totals = totals;
    this.more = more;
    this.mails = new Map(mails.map((mail) => [mail.id, dated(mail)]));
    return mails.map((mail) => mail.id);
  }

  /**
   * Apply one event. Return whether it was newer than what is known.
   * @param {import("./frames.js").MailEvent} event
   * @param {Filter} filter
   */
  change({ time, data: { mail } }, filter) {
    const known = this.mails.get(mail.id);
    if (known && known.rev >= mail.rev) return false;
    // Only its status can take a mail out of a filter, because nothing else of it ever changes.
    if (filter.status?.length && !filter.status.includes(mail.status)) {
      this.mails.delete(mail.id);
    } else {
      this.mails.set(mail.id, { ...mail, changed: time });
      this.forget();
    }
    return true;
  }

  /** Forget the mails that changed longest ago, several at once, because sorting for each one would cost too much. */
  forget() {
    if (this.mails.size <= this.kept * 1.2) return;
    for (const { id } of this.latest().slice(this.kept)) if (!this.pinned.has(id)) this.mails.delete(id);
    this.more = true;
  }
}

/**
 * Date a mail that came without an event by the latest change that the mail itself names.
 * @param {Mail} mail
 * @returns {KnownMail}
 */
function dated(mail) {
  return { ...mail, changed: mail.sent_at ?? mail.created_at };
}

/**
 * @param {KnownMail} a
 * @param {KnownMail} b
 */
function byChange(a, b) {
  if (a.changed !== b.changed) return a.changed < b.changed ? 1 : -1;
  return a.id < b.id ? 1 : -1;
}
