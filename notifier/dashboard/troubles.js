// What is wrong, in sentences: the cause, and the time of the next attempt. Pure.

import { clock } from "./words.js";

/** @typedef {import("./frames.js").Stats} Stats */

/**
 * Return a sentence for each thing that is wrong.
 * @param {{state: string, code: number, reason: string, retryAt: number}} feed a Feed
 * @param {Stats | null} stats the latest
 * @returns {string[]}
 */
export function troubles(feed, stats) {
  if (feed.state === "refused" && feed.code === 4401) return [];
  if (feed.state === "refused") return [`Not connected to the service: ${feed.reason}.`];
  if (feed.state === "lost") {
    const next = `Reconnecting at ${clock(feed.retryAt)}`;
    return [`Not connected to the service: ${feed.reason}. ${next}; the list shows the last known state.`];
  }
  return stats ? [...paused(stats), ...broker(stats), ...accounts(stats)] : [];
}

/** @param {Stats} stats */
function paused(stats) {
  return stats.paused ? ["Sending is paused by an operator. No mail is sent until an operator resumes it."] : [];
}

/** @param {Stats} stats */
function broker({ broker: { state, since } }) {
  if (state !== "connecting") return [];
  const unavailable = since ? `has been unavailable since ${clock(since)}` : "is unavailable";
  return [`RabbitMQ ${unavailable}. New messages wait there; mails that have been received already are still sent.`];
}

/** @param {Stats} stats */
function accounts({ smtp }) {
  const pausedOnes = smtp.filter(({ state }) => state === "paused");
  const effect = pausedOnes.length === smtp.length ? "No mail is sent until then." : "The other accounts still send.";
  return pausedOnes.map(({ transport, reason, until }) => {
    const next = until ? ` Next attempt at ${clock(until)}.` : "";
    return `SMTP account ${transport} is paused: ${reason}.${next} ${effect}`;
  });
}
