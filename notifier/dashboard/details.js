// One mail in every detail, as words: its facts, its timeline, and its parts as text. Pure.

import { clock, condition, detail, flight, shown } from "./words.js";

/** @typedef {import("./frames.js").Mail} Mail */
/** @typedef {import("./frames.js").WholeMail} WholeMail */

/**
 * Return the names and values of what is known about a mail; what is unknown or empty is left out.
 * @param {Partial<Mail> & {id: string}} mail maybe nothing but its id
 * @param {number} now ms
 * @returns {[name: string, value: string][]}
 */
export function facts(mail, now) {
  const whole = isWhole(mail) ? mail : null;
  /** @type {[string, string | null | undefined][]} */
  const all = [
    ["Status", whole && shown(condition(whole, now)).word],
    ["Detail", whole && detail(whole, now)],
    ["To", mail.to],
    ["Kind", mail.kind],
    ["Booking", mail.booking],
    ["Flight", flight(mail.flight)],
    ["Created", clock(mail.created_at)],
    ["Scheduled for", clock(mail.send_at)],
    ["Expires", clock(mail.expires_at)],
    ["Sent", clock(mail.sent_at)],
    ["Message-ID", mail.message_id],
    ["Caused by message", mail.event],
    ["Mail ID", mail.id],
  ];
  return all.flatMap(([name, value]) => (value ? [[name, value]] : []));
}

/**
 * @param {Partial<Mail>} mail
 * @returns {mail is Mail}
 */
function isWhole(mail) {
  return mail.status !== undefined;
}

/**
 * Return the steps of a timeline: when, what, which attempt, and further lines.
 * @param {WholeMail["timeline"]} timeline
 */
export function steps(timeline) {
  return timeline.map(({ at, type, status, attempt, smtp, error, next_attempt_at }) => ({
    at,
    time: clock(at),
    what: type.replace("mail.", ""),
    attempt: attempt ? ` (attempt ${attempt})` : "",
    lines: [
      smtp && status !== "sending" ? `${smtp.code} ${smtp.text}` : "",
      error ?? "",
      next_attempt_at ? `next attempt: ${clock(next_attempt_at)}` : "",
    ].filter(Boolean),
  }));
}

/**
 * Return the parts of a mail that are shown as text, by the name of their tab.
 * @param {WholeMail} mail
 * @returns {[name: string, text: string][]}
 */
export function texts({ text, headers, calendars }) {
  /** @type {[string, string | null][]} */
  const all = [
    ["Text", text],
    ["Headers", headers.map(([name, value]) => `${name}: ${value}`).join("\n")],
    ["Calendar", calendars.length ? calendars.map((calendar) => calendar.text).join("\n") : null],
  ];
  return all.flatMap(([name, content]) => (content === null ? [] : [[name, content]]));
}
