// What the frames say, kept: the mails that are watched, the counts, how the service is. Knows no page.

/** The mails of one filter. `kept`: how many, those that changed last. */
export class State {
  constructor(kept = 500) {
    this.kept = kept;
    this.mails = new Map(); // id -> mail, with `changed`: RFC 3339 time of its last change that we know of
    this.totals = {};
    this.stats = null;
    this.more = false; // the store has more mails of this filter than it has shown
    this.pinned = new Set(); // ids of mails that are kept however long ago they changed
    this.reloads = 0; // snapshots that came because the feed could not resume
    this.resumable = false;
  }

  /** Take one frame in; gives the ids of the mails that it made known or changed. */
  apply(frame, filter = {}) {
    switch (frame.type) {
      case "welcome":
        if (this.resumable && !frame.resumed && frame.reason !== "none") this.reloads += 1;
        return [];
      case "snapshot":
        return this.replace(frame);
      case "events":
        return frame.events.map((event) => this.change(event, filter)).filter(Boolean);
      case "stats":
        this.stats = frame;
        this.totals = frame.totals;
        return [];
      default:
        return [];
    }
  }

  /** The mails, the latest change first. */
  latest() {
    return [...this.mails.values()].sort(byChange);
  }

  /** Keep these mails, and those that were kept so far no longer. */
  pin(mails) {
    this.pinned = new Set(mails.map(({ id }) => id));
    for (const mail of mails) {
      const known = this.mails.get(mail.id);
      if (!known || known.rev < mail.rev) this.mails.set(mail.id, dated(mail));
    }
  }

  replace({ mails, totals, more }) {
    this.resumable = true;
    this.totals = totals;
    this.more = more;
    this.mails = new Map(mails.map((mail) => [mail.id, dated(mail)]));
    return mails.map((mail) => mail.id);
  }

  change({ time, data: { mail } }, filter) {
    const known = this.mails.get(mail.id);
    if (known && known.rev >= mail.rev) return null;
    // Only its status can take a mail out of a filter: all else of it never changes.
    if (filter.status?.length && !filter.status.includes(mail.status)) {
      this.mails.delete(mail.id);
    } else {
      this.mails.set(mail.id, { ...mail, changed: time });
      this.forget();
    }
    return mail.id;
  }

  /** Forget the longest unchanged, several at once: sorting for each one would cost more than keeping them. */
  forget() {
    if (this.mails.size <= this.kept * 1.2) return;
    for (const { id } of this.latest().slice(this.kept)) if (!this.pinned.has(id)) this.mails.delete(id);
    this.more = true;
  }
}

/** A mail that comes without an event says itself when it last changed, as far as it knows. */
function dated(mail) {
  return { ...mail, changed: mail.sent_at ?? mail.created_at };
}

function byChange(a, b) {
  if (a.changed !== b.changed) return a.changed < b.changed ? 1 : -1;
  return a.id < b.id ? 1 : -1;
}
