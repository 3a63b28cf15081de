// How the page says things: conditions, times, numbers. Pure.

/** What a mail is doing, as people see it: three kinds of `pending`, and every other status. */
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

export const KINDS = ["booking.confirmation", "booking.change", "booking.cancellation", "flight.reminder", "notification"];

/** Which of `CONDITIONS` holds for a mail at `now` (ms). A status that is newer than this page shows as it is. */
export function condition(mail, now) {
  if (mail.status !== "pending") return mail.status;
  if (mail.attempt > 0) return "retrying";
  return Date.parse(mail.send_at) > now ? "scheduled" : "waiting";
}

export function shown(name) {
  return CONDITIONS[name] ?? { icon: "·", word: name, status: name };
}

/** A span of time in its largest unit: "12 s", "4 min", "3 h", "2 d". */
export function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 100) return `${s} s`;
  if (s < 100 * 60) return `${Math.round(s / 60)} min`;
  if (s < 48 * 3600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} d`;
}

/** What more there is to say of a mail: its next try, when it goes, why it ended as it did. */
export function detail(mail, now) {
  const words = mail.smtp ? `${mail.smtp.code} ${mail.smtp.text}` : "";
  const why = [words, mail.error].filter(Boolean).join("; ");
  switch (condition(mail, now)) {
    case "scheduled":
      return `goes ${clock(mail.send_at)}, in ${span(Date.parse(mail.send_at) - now)}`;
    case "retrying": {
      const next = Date.parse(mail.next_attempt_at) - now;
      const when = next > 0 ? `next in ${span(next)}` : "next now";
      return `${mail.attempt} ${mail.attempt === 1 ? "try" : "tries"}, ${when}${why && `: ${why}`}`;
    }
    case "sent":
      return mail.attempt > 1 ? `at try ${mail.attempt}${mail.error ? `; ${mail.error}` : ""}` : mail.error ?? "";
    default:
      return why;
  }
}

/** A flight in a few words: "UA1545 SFO to ORD, Dec 1, 05:15 AM"; the time is the reader's own. */
export function flight(of) {
  return of ? `${of.number} ${of.from}–${of.to} ${clock(of.departs_at)}` : "";
}

/** A moment in the reader's own time and way of writing it; the date only where it is another day. */
export function clock(time) {
  if (!time) return "";
  const at = new Date(time);
  const isToday = at.toDateString() === new Date().toDateString();
  return (isToday ? TIME : DAY).format(at);
}

export function number(n) {
  return NUMBER.format(n);
}

const NUMBER = new Intl.NumberFormat();
const TIME = new Intl.DateTimeFormat([], { timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat([], { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
