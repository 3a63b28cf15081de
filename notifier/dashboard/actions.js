// What an operator can do with a mail. Pure.

import { condition } from "./words.js";

/** @typedef {import("./frames.js").Mail} Mail */
/** @typedef {import("./frames.js").Commands} Commands */
/** @typedef {"retry" | "cancel" | "sent" | "resend"} Action */
/**
 * A command with its arguments.
 * @typedef {{[Name in keyof Commands]: [name: Name, args: Commands[Name]["args"]]}[keyof Commands]} Command
 */

/** @type {Record<Action, string>} the texts of the buttons */
export const NAMES = { retry: "Retry now", cancel: "Cancel", sent: "Mark as sent", resend: "Send again" };

/** @type {Record<string, Action[]>} by condition */
const POSSIBLE = {
  waiting: ["cancel"],
  scheduled: ["cancel"],
  retrying: ["retry", "cancel"],
  failed: ["retry"],
  uncertain: ["sent", "resend"],
};

/**
 * Return the actions that are possible for a mail, in the order in which they are offered.
 * @param {Mail} mail
 * @param {number} now ms
 */
export function possible(mail, now) {
  const name = condition(mail, now);
  return (Object.hasOwn(POSSIBLE, name) && POSSIBLE[name]) || [];
}

/**
 * Return the command that an action stands for.
 * @param {Action} action
 * @param {string} id of the mail
 * @returns {Command}
 */
export function command(action, id) {
  switch (action) {
    case "retry":
      return ["mail.retry", { id }];
    case "cancel":
      return ["mail.cancel", { id }];
    default:
      return ["mail.resolve", { id, as: action }];
  }
}
