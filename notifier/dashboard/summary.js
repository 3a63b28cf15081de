// The state of the connection, of the broker and of the SMTP accounts, and a summary for screen readers. Pure.

import { count, pending } from "./counts.js";
import { number } from "./words.js";

/** @typedef {import("./frames.js").Stats} Stats */
/** @typedef {{className: "good" | "bad", text: string, title: string}} Peer */

/** The words for each state of the connection. */
export const STATES = { connecting: "Connecting", live: "Live", lost: "Reconnecting", refused: "Not connected" };

/**
 * Return the state of the broker and of each SMTP account.
 * @param {Stats} stats
 * @returns {Peer[]}
 */
export function peers({ broker, smtp }) {
  const accounts = smtp.map(({ transport, state }) => peer(`SMTP ${state}`, state === "ready", transport));
  if (broker.state === "off") return accounts;
  return [peer(`RabbitMQ ${broker.state}`, broker.state === "connected"), ...accounts];
}

/**
 * @param {string} text
 * @param {boolean} isGood
 * @param {string} title
 * @returns {Peer}
 */
function peer(text, isGood, title = "") {
  return { className: isGood ? "good" : "bad", text: `${isGood ? "✓" : "✕"} ${text}`, title };
}

/**
 * Return the state of everything in a few sentences.
 * @param {keyof typeof STATES} connection
 * @param {import("./state.js").State} state
 * @param {string[]} wrong what is wrong, in sentences
 */
export function summary(connection, { totals, stats }, wrong) {
  const counts = { ...pending(totals, stats), failed: count("failed", totals, stats) };
  const words = Object.entries(counts).map(([name, mails]) => `${number(mails)} ${name}`);
  return [`${STATES[connection]}.`, `Mails: ${words.join(", ")}.`, ...wrong].join(" ");
}
