// Mails and frames of the feed, as the service sends them.

export const NOW = Date.parse("2026-12-01T12:00:00.000Z");

/** Return the RFC 3339 time that many seconds after `NOW`. */
export function at(seconds) {
  return new Date(NOW + seconds * 1000).toISOString();
}

/** Return a mail that is due now. */
export function mail(changes = {}) {
  return {
    id: "m1",
    rev: 1,
    kind: "booking.confirmation",
    status: "pending",
    to: "a•••@example.com",
    subject: "Your booking RXJ34P",
    booking: "RXJ34P",
    flight: { number: "AI101", from: "DEL", to: "BLR", departs_at: at(86_400) },
    attempt: 0,
    created_at: at(-60),
    send_at: at(0),
    expires_at: null,
    next_attempt_at: null,
    sent_at: null,
    message_id: "<m1@example.com>",
    event: "e1",
    smtp: null,
    error: null,
    ...changes,
  };
}

export function snapshot(mails, changes = {}) {
  return { type: "snapshot", cursor: "c1", totals: { pending: mails.length }, mails, more: false, ...changes };
}

/** Return an `events` frame with one event for each mail, which happened `seconds` after `NOW`. */
export function events(mails, seconds = 0, cursor = "c2") {
  const changes = mails.map((each) => ({ time: at(seconds), data: { prev: null, mail: each } }));
  return { type: "events", cursor, events: changes };
}

export function welcome(changes = {}) {
  const fresh = { resumed: false, reason: "none", replay: 0 };
  return { type: "welcome", role: "operator", heartbeat: 20, now: at(0), ...fresh, ...changes };
}

export function account(changes = {}) {
  return { transport: "smtp.example.com:587", state: "ready", reason: null, until: null, quota_left: null, ...changes };
}

export function stats(changes = {}) {
  return {
    type: "stats",
    at: at(0),
    totals: { pending: 6, sending: 1, sent: 20, failed: 2, cancelled: 0, expired: 0, uncertain: 0 },
    pending: { due: 1, scheduled: 2, retrying: 3 },
    rates: { received: 1, sent: 2, failed: 0 },
    queue: { messages: 0, consumers: 1 },
    broker: { state: "connected", since: at(-3600) },
    smtp: [account()],
    paused: false,
    oldest_due: null,
    ...changes,
  };
}
