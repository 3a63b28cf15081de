// The buttons for what an operator can do with a mail.

import { NAMES, command, possible } from "./actions.js";
import { closest, element } from "./dom.js";

/** @typedef {import("./actions.js").Action} Action */

/**
 * Make a button for each action that is possible for a mail.
 * @param {import("./frames.js").Mail} mail
 * @param {number} now ms
 */
export function buttons(mail, now) {
  return possible(mail, now).map((action) => {
    const button = element("button", "action", NAMES[action]);
    button.type = "button";
    button.dataset.action = action;
    button.dataset.id = mail.id;
    button.setAttribute("aria-label", `${NAMES[action]}: ${mail.subject}`);
    return button;
  });
}

/**
 * Return the button that was clicked, the id of its mail and its command; null if no such button was clicked.
 * @param {Event} event
 */
export function clicked(event) {
  const button = closest(event, "[data-action]");
  if (!(button instanceof HTMLButtonElement)) return null;
  const { action, id = "" } = button.dataset;
  return { button, id, command: command(/** @type {Action} */ (action), id) };
}
