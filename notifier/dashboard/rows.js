// The list: one table row a mail, made once, kept by id, moved and refilled as the mail changes.

import { buttons } from "./actions.js";
import { element, write } from "./dom.js";
import { condition, detail, shown, span } from "./words.js";

const CELLS = ["status", "changed", "kind", "to", "subject", "detail", "actions"];

/** `onOpen(id)` hears which row the reader wants to see more of. */
export class Rows {
  constructor(body, { onOpen }) {
    this.body = body;
    this.rows = new Map(); // id -> {node, cells, mail, operator}
    body.addEventListener("click", ({ target }) => {
      if (!target.closest("[data-action]")) onOpen(target.closest("tr").dataset.id);
    });
  }

  /**
   * Show these mails in this order. While `held` nothing moves, comes or goes: rows change in place.
   * Gives the number of mails that are held back.
   */
  show(mails, { now, operator, held }) {
    const wanted = new Map(mails.map((mail) => [mail.id, mail]));
    if (!held) this.arrange(mails, wanted);
    for (const [id, row] of this.rows) if (wanted.has(id)) fill(row, wanted.get(id), now, operator);
    return mails.filter(({ id }) => !this.rows.has(id)).length;
  }

  arrange(mails, wanted) {
    const focused = this.holdsFocus ? document.activeElement : null;
    for (const [id, { node }] of this.rows) if (!wanted.has(id)) { node.remove(); this.rows.delete(id); }
    let next = this.body.firstElementChild;
    for (const { id } of mails) {
      if (!this.rows.has(id)) this.rows.set(id, make(id));
      const { node } = this.rows.get(id);
      if (node === next) next = next.nextElementSibling;
      else this.body.insertBefore(node, next);
    }
    // Whatever is moved loses the focus.
    if (focused?.isConnected) focused.focus({ preventScroll: true });
  }

  /** Let time pass for what is on the page. */
  tick(now) {
    for (const row of this.rows.values()) {
      fill(row, row.mail, now, row.operator);
      time(row, now);
    }
  }

  /** Go `step` rows down (or up) from where the focus is. */
  move(step) {
    const at = this.holdsFocus ? document.activeElement.closest("tr") : null;
    const to = at ? (step > 0 ? at.nextElementSibling : at.previousElementSibling) : this.body.firstElementChild;
    to?.querySelector(".open").focus();
  }

  focus(id) {
    this.rows.get(id)?.node.querySelector(".open").focus();
  }

  get size() {
    return this.rows.size;
  }

  get holdsFocus() {
    return this.body.contains(document.activeElement);
  }
}

function make(id) {
  const node = document.createElement("tr");
  node.dataset.id = id;
  node.role = "row"; // said again, since rows and cells are drawn as a grid
  const cells = {};
  for (const name of CELLS) {
    cells[name] = node.insertCell();
    cells[name].className = name;
    cells[name].role = "cell";
  }
  const icon = element("span", "icon");
  icon.setAttribute("aria-hidden", "true");
  cells.status.append(icon, " ", element("span", "word"));
  const open = element("button", "open");
  open.type = "button";
  cells.subject.append(open);
  return { node, cells, mail: null, operator: false };
}

function fill(row, mail, now, operator) {
  const is = condition(mail, now);
  const { node, cells } = row;
  if (row.mail?.rev === mail.rev && node.dataset.condition === is && row.operator === operator) return;
  const { icon, word } = shown(is);
  Object.assign(row, { mail, operator });
  node.dataset.condition = is;
  cells.status.querySelector(".icon").textContent = icon;
  cells.status.querySelector(".word").textContent = word;
  cells.kind.textContent = mail.kind;
  cells.to.textContent = mail.to;
  cells.subject.querySelector(".open").textContent = mail.subject;
  cells.actions.replaceChildren(...(operator ? buttons(mail, now) : []));
  time(row, now);
}

function time({ cells, mail }, now) {
  write(cells.changed, `${span(now - Date.parse(mail.changed))} ago`);
  write(cells.detail, detail(mail, now));
}
