// What an operator can do with a mail, by what it is doing.

import { condition } from "./words.js";

const ACTIONS = {
  retry: { name: "Retry now", command: (id) => ["mail.retry", { id }] },
  cancel: { name: "Cancel", command: (id) => ["mail.cancel", { id }] },
  sent: { name: "It was sent", command: (id) => ["mail.resolve", { id, as: "sent" }] },
  resend: { name: "Send again", command: (id) => ["mail.resolve", { id, as: "resend" }] },
};
const POSSIBLE = {
  waiting: ["cancel"],
  scheduled: ["cancel"],
  retrying: ["retry", "cancel"],
  failed: ["retry"],
  uncertain: ["sent", "resend"],
};

/** A button for each thing that can be done with a mail; `command` finds what a click on one of them orders. */
export function buttons(mail, now) {
  return (POSSIBLE[condition(mail, now)] ?? []).map((key) => {
    const { name } = ACTIONS[key];
    const button = document.createElement("button");
    button.type = "button";
    button.className = "action";
    button.dataset.action = key;
    button.dataset.id = mail.id;
    button.textContent = name;
    button.setAttribute("aria-label", `${name}: ${mail.subject}`);
    return button;
  });
}

/** The command's name and arguments that a button of ours stands for; null where none was clicked. */
export function command(target) {
  const button = target.closest("[data-action]");
  return button && { button, order: ACTIONS[button.dataset.action].command(button.dataset.id) };
}
