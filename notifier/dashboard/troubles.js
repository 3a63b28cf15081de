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
  if (feed.state === "refused") return [`The feed was closed: ${feed.reason}.`];
  if (feed.state === "lost") return [`The feed is lost (${feed.reason}). Next try at ${clock(feed.retryAt)}.`];
  return stats ? [...paused(stats), ...broker(stats), ...transports(stats)] : [];
}

/** @param {Stats} stats */
function paused(stats) {
  return stats.paused ? ["Sending is paused by an operator; mail waits until it is resumed."] : [];
}

/** @param {Stats} stats */
function broker({ broker: { state, since } }) {
  if (state !== "connecting") return [];
  return [`The broker has not answered since ${clock(since)}; messages wait there, and mail that is here goes on.`];
}

/** @param {Stats} stats */
function transports({ smtp }) {
  const resting = smtp.filter(({ state }) => state === "paused");
  const effect = resting.length === smtp.length ? "no mail goes until then" : "the others send meanwhile";
  return resting.map(({ transport, reason, until }) => {
    const when = until ? ` Next try at ${clock(until)};` : "";
    return `${transport} rests: ${reason}.${when} ${effect}.`;
  });
}
