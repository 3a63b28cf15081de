// The list: one table row for each mail, kept by its id, and moved and rewritten as the mail changes.

import { buttons } from "./buttons.js";
import { closest, element, find, write } from "./dom.js";
import { condition, detail, shown, span } from "./words.js";

/** @typedef {import("./state.js").KnownMail} KnownMail */
/**
 * @typedef {object} Row
 * @property {HTMLTableRowElement} node
 * @property {HTMLElement} icon
 * @property {HTMLElement} word
 * @property {HTMLElement} changed
 * @property {HTMLElement} kind
 * @property {HTMLElement} to
 * @property {HTMLElement} open the button with the subject, which opens the mail
 * @property {HTMLElement} detail
 * @property {HTMLElement} actions
 * @property {KnownMail} mail what the row shows
 * @property {boolean} isOperator whether it has buttons for actions
 */

export class Rows {
  /**
   * @param {HTMLElement} body of the table
   * @param {{onOpen: (id: string) => void}} options `onOpen` is called when the reader opens a mail
   */
  constructor(body, { onOpen }) {
    this.body = body;
    /** @type {Map<string, Row>} by id */
    this.rows = new Map();
    body.addEventListener("click", (event) => {
      const id = closest(event, "tr")?.dataset.id;
      if (id && !closest(event, "[data-action]")) onOpen(id);
    });
  }

  /**
   * Show these mails in this order. While the list is held, rows change in place but none moves, comes or goes. Return
   * the number of mails that are held back.
   * @param {KnownMail[]} mails
   * @param {{now: number, isOperator: boolean, isHeld: boolean}} options
   */
  show(mails, { now, isOperator, isHeld }) {
    if (!isHeld) this.arrange(mails);
    let heldBack = 0;
    for (const mail of mails) {
      const row = this.rows.get(mail.id);
      if (row) update(row, mail, now, isOperator);
      else heldBack += 1;
    }
    return heldBack;
  }

  /** @param {KnownMail[]} mails */
  arrange(mails) {
    const focused = this.holdsFocus ? document.activeElement : null;
    const wanted = new Set(mails.map(({ id }) => id));
    for (const [id, { node }] of this.rows) {
      if (wanted.has(id)) continue;
      node.remove();
      this.rows.delete(id);
    }
    let next = this.body.firstElementChild;
    for (const mail of mails) {
      const row = this.rows.get(mail.id) ?? make(mail);
      this.rows.set(mail.id, row);
      if (row.node === next) next = next.nextElementSibling;
      else this.body.insertBefore(row.node, next);
    }
    // An element that is moved loses the focus.
    if (focused instanceof HTMLElement && focused.isConnected) focused.focus({ preventScroll: true });
  }

  /**
   * Update what depends on the time.
   * @param {number} now ms
   */
  tick(now) {
    for (const row of this.rows.values()) {
      update(row, row.mail, now, row.isOperator);
      updateTimes(row, now);
    }
  }

  /**
   * Move the focus down by one row, or up.
   * @param {1 | -1} step
   */
  move(step) {
    const at = this.holdsFocus ? document.activeElement?.closest("tr") : null;
    const to = at ? (step > 0 ? at.nextElementSibling : at.previousElementSibling) : this.body.firstElementChild;
    if (to) find(to, ".open").focus();
  }

  /** @param {string} id */
  focus(id) {
    this.rows.get(id)?.open.focus();
  }

  get size() {
    return this.rows.size;
  }

  get holdsFocus() {
    return this.body.contains(document.activeElement);
  }
}

/**
 * Make a row, which `update` fills.
 * @param {KnownMail} mail
 * @returns {Row}
 */
function make(mail) {
  const node = document.createElement("tr");
  node.dataset.id = mail.id;
  node.setAttribute("role", "row"); // explicit, because rows and cells are laid out as a grid
  const cell = (/** @type {string} */ name) => {
    const made = node.insertCell();
    made.className = name;
    made.setAttribute("role", "cell");
    return made;
  };
  const icon = element("span", "icon");
  icon.setAttribute("aria-hidden", "true");
  const word = element("span", "word");
  const open = element("button", "open");
  open.type = "button";
  cell("status").append(icon, " ", word);
  const [changed, kind, to] = [cell("changed"), cell("kind"), cell("to")];
  cell("subject").append(open);
  const [more, actions] = [cell("detail"), cell("actions")];
  return { node, icon, word, changed, kind, to, open, detail: more, actions, mail, isOperator: false };
}

/**
 * Fill a row if it does not show this already.
 * @param {Row} row
 * @param {KnownMail} mail
 * @param {number} now ms
 * @param {boolean} isOperator
 */
function update(row, mail, now, isOperator) {
  const is = condition(mail, now);
  const { node } = row;
  if (row.mail.rev === mail.rev && node.dataset.condition === is && row.isOperator === isOperator) return;
  const { icon, word } = shown(is);
  Object.assign(row, { mail, isOperator });
  node.dataset.condition = is;
  row.icon.textContent = icon;
  row.word.textContent = word;
  row.kind.textContent = mail.kind;
  row.to.textContent = mail.to;
  row.open.textContent = mail.subject;
  row.actions.replaceChildren(...(isOperator ? buttons(mail, now) : []));
  updateTimes(row, now);
}

/**
 * @param {Row} row
 * @param {number} now ms
 */
function updateTimes({ changed, detail: more, mail }, now) {
  write(changed, `${span(now - Date.parse(mail.changed))} ago`);
  write(more, detail(mail, now));
}
