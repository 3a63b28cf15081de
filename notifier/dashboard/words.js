// How the page words things: conditions, times, numbers. Pure.

/** @typedef {import("./frames.js").Mail} Mail */

/**
 * What a mail is doing, as people see it: each status, with `pending` divided into three.
 * @type {Record<string, {icon: string, word: string, status: import("./frames.js").Status}>}
 */
export const CONDITIONS = {
  waiting: { icon: "◔", word: "Waiting", status: "pending" },
  scheduled: { icon: "◷", word: "Scheduled", status: "pending" },
  sending: { icon: "➤", word: "Sending", status: "sending" },
  sent: { icon: "✓", word: "Sent", status: "sent" },
  retrying: { icon: "⚠", word: "Retrying", status: "pending" },
  failed: { icon: "✕", word: "Failed", status: "failed" },
  cancelled: { icon: "⊘", word: "Cancelled", status: "cancelled" },
  expired: { icon: "◌", word: "Expired", status: "expired" },
  uncertain: { icon: "?", word: "Uncertain", status: "uncertain" },
};

/** @type {import("./frames.js").Kind[]} */
export const KINDS = [
  "booking.confirmation",
  "booking.change",
  "booking.cancellation",
  "flight.reminder",
  "notification",
];

/**
 * Return the name of the mail's condition: one of `CONDITIONS`, or the status itself if this page does not know it.
 * @param {Pick<Mail, "status" | "attempt" | "send_at">} mail
 * @param {number} now ms
 * @returns {string}
 */
export function condition(mail, now) {
  if (mail.status !== "pending") return mail.status;
  if (mail.attempt > 0) return "retrying";
  return Date.parse(mail.send_at) > now ? "scheduled" : "waiting";
}

/**
 * Return the icon and the word for a condition.
 * @param {string} name
 */
export function shown(name) {
  const known = Object.hasOwn(CONDITIONS, name) ? CONDITIONS[name] : undefined;
  return known ?? { icon: "·", word: name };
}

/**
 * Return a span of time in its largest unit: "12 s", "4 min", "3 h", "2 d".
 * @param {number} ms
 */
export function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 100) return `${s} s`;
  if (s < 100 * 60) return `${Math.round(s / 60)} min`;
  if (s < 48 * 3600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} d`;
}

/**
 * Return what else there is to say about a mail: when it will be sent, its next attempt, or why it ended as it did.
 * @param {Mail} mail
 * @param {number} now ms
 */
export function detail(mail, now) {
  const words = mail.smtp ? `${mail.smtp.code} ${mail.smtp.text}` : "";
  const why = [words, mail.error].filter(Boolean).join("; ");
  switch (condition(mail, now)) {
    case "scheduled":
      return `due in ${span(Date.parse(mail.send_at) - now)} (${clock(mail.send_at)})`;
    case "retrying": {
      const next = Date.parse(mail.next_attempt_at ?? "") - now;
      const when = next > 0 ? `retrying in ${span(next)}` : "retrying now";
      return `${counted(mail.attempt, "attempt")}, ${when}${why && `: ${why}`}`;
    }
    case "sent":
      return [mail.attempt > 1 ? `after ${mail.attempt} attempts` : "", mail.error].filter(Boolean).join("; ");
    default:
      return why;
  }
}

/**
 * Return a flight in a few words: "UA1545 SFO–ORD Dec 1, 05:15 AM", in the reader's time zone.
 * @param {import("./frames.js").Flight | null} [of]
 */
export function flight(of) {
  return of ? `${of.number} ${of.from}–${of.to} ${clock(of.departs_at)}` : "";
}

/**
 * Return a time in the reader's time zone and format; the date is left out if it is today's.
 * @param {string | number | null} [time] RFC 3339 or ms
 */
export function clock(time) {
  if (!time) return "";
  const at = new Date(time);
  const isToday = at.toDateString() === new Date().toDateString();
  return (isToday ? TIME : DAY).format(at);
}

/**
 * Return a number in the reader's format.
 * @param {number} n
 */
export function number(n) {
  return NUMBER.format(n);
}

/**
 * Return a number with a noun: "1 attempt", "2 attempts".
 * @param {number} n
 * @param {string} noun in the singular
 */
export function counted(n, noun) {
  return `${number(n)} ${noun}${n === 1 ? "" : "s"}`;
}

const NUMBER = new Intl.NumberFormat();
const TIME = new Intl.DateTimeFormat([], { timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat([], { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
