// The drawer with one mail: its facts, its history and its content.

import { buttons } from "./buttons.js";
import { facts, steps, texts } from "./details.js";
import { closest, element, find } from "./dom.js";
import { CommandError } from "./feed.js";

/** @typedef {import("./frames.js").Mail} Mail */
/** @typedef {import("./frames.js").WholeMail} WholeMail */
/** @typedef {Partial<Mail> & {id: string}} PartOfMail */

export class Drawer {
  /**
   * @param {HTMLElement} aside
   * @param {object} options
   * @param {(id: string) => Promise<WholeMail>} options.load
   * @param {(id: string) => void} options.onClose called after the drawer was closed
   */
  constructor(aside, { load, onClose }) {
    this.aside = aside;
    this.load = load;
    this.onClose = onClose;
    /** @type {string | null} */
    this.id = null;
    this.tab = "HTML";
    aside.addEventListener("click", (event) => {
      if (closest(event, ".close")) this.close();
      const tab = closest(event, "[role=tab]");
      if (tab) this.choose(tab.textContent);
    });
    aside.addEventListener("keydown", (event) => this.walk(event));
  }

  get isOpen() {
    return this.id !== null;
  }

  /**
   * Show a mail: first what is known of it, then all of it, when it has been loaded.
   * @param {string} id
   * @param {Mail} [known]
   */
  async show(id, known) {
    const isNew = this.id !== id;
    this.id = id;
    this.aside.hidden = false;
    if (isNew) {
      this.fill(known ?? { id }, null);
      this.focus();
    }
    try {
      const whole = await this.load(id);
      if (this.id === id) this.fill(whole, whole);
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      const isForbidden = error.code === "forbidden";
      const why = isForbidden ? "Only operators can see the content and the history of a mail." : error.message;
      if (this.id === id) this.fill(known ?? { id }, null, why);
    }
  }

  close() {
    if (this.id === null) return;
    const { id } = this;
    this.id = null;
    this.aside.hidden = true;
    this.aside.replaceChildren();
    this.onClose(id);
  }

  /**
   * @param {PartOfMail} mail
   * @param {WholeMail | null} whole null while it is loaded, or if it cannot be
   * @param {string} why it cannot be loaded
   */
  fill(mail, whole, why = "") {
    const hadFocus = this.aside.contains(document.activeElement);
    this.aside.replaceChildren(head(mail), factList(mail));
    if (whole) {
      const panels = panelsOf(whole);
      const actions = element("div", "doable");
      actions.append(...buttons(whole, Date.now()));
      this.aside.append(actions, timeline(whole), tabs(panels));
      const [first] = panels.keys();
      this.choose(panels.has(this.tab) ? this.tab : first ?? null);
    } else {
      this.aside.append(element("p", "why", why));
    }
    if (hadFocus) this.focus();
  }

  focus() {
    find(this.aside, ".close").focus();
  }

  /**
   * Show one panel. The others are hidden, not removed: a frame that is inserted again loads its page again.
   * @param {string | null} name
   */
  choose(name) {
    if (name) this.tab = name;
    for (const tab of this.tabs()) {
      const isChosen = tab.textContent === name;
      tab.setAttribute("aria-selected", String(isChosen));
      tab.tabIndex = isChosen ? 0 : -1;
      find(this.aside, `#panel-${tab.textContent}`).hidden = !isChosen;
    }
  }

  /**
   * Move from tab to tab with the arrow keys, as in every tab list.
   * @param {KeyboardEvent} event
   */
  walk({ key }) {
    const step = key === "ArrowRight" ? 1 : key === "ArrowLeft" ? -1 : 0;
    const all = this.tabs();
    const at = all.findIndex((tab) => tab === document.activeElement);
    const next = all[(at + step + all.length) % all.length];
    if (!step || at < 0 || !next) return;
    this.choose(next.textContent);
    next.focus();
  }

  /** @returns {HTMLElement[]} */
  tabs() {
    return [...this.aside.querySelectorAll("[role=tab]")].filter(isHtml);
  }
}

/**
 * @param {Element} node
 * @returns {node is HTMLElement}
 */
function isHtml(node) {
  return node instanceof HTMLElement;
}

/** @param {PartOfMail} mail */
function head(mail) {
  const box = element("header");
  const title = element("h2", "", mail.subject ?? mail.id);
  title.id = "drawer-title";
  const close = element("button", "close", "Close");
  close.type = "button";
  close.setAttribute("aria-keyshortcuts", "Escape");
  box.append(title, close);
  return box;
}

/** @param {PartOfMail} mail */
function factList(mail) {
  const list = element("dl", "facts");
  for (const [name, value] of facts(mail, Date.now())) {
    const pair = element("div");
    pair.append(element("dt", "", name), element("dd", "", value));
    list.append(pair);
  }
  return list;
}

/** @param {WholeMail} mail */
function timeline(mail) {
  const box = element("section", "timeline");
  const list = element("ol");
  for (const { at, time, what, attempt, lines } of steps(mail.timeline)) {
    const item = element("li");
    item.append(Object.assign(element("time", "", time), { dateTime: at }), " ", element("strong", "", what), attempt);
    item.append(...lines.map((line) => element("p", "", line)));
    list.append(item);
  }
  box.append(element("h3", "", "History"), list);
  return box;
}

/**
 * Return the content of each tab by its name. The page of a mail runs no script and loads nothing: see the policy that
 * it is served with.
 * @param {WholeMail} mail
 * @returns {Map<string, HTMLElement>}
 */
function panelsOf(mail) {
  /** @type {Map<string, HTMLElement>} */
  const panels = new Map();
  if (mail.preview) {
    const frame = element("iframe", "page");
    frame.setAttribute("sandbox", "");
    frame.title = "The mail as its recipient sees it";
    frame.src = mail.preview.slice(1);
    panels.set("HTML", frame);
  }
  for (const [name, text] of texts(mail)) panels.set(name, element("pre", "", text));
  return panels;
}

/** @param {Map<string, HTMLElement>} panels */
function tabs(panels) {
  const box = element("section", "content");
  const list = element("div", "tabs");
  list.setAttribute("role", "tablist");
  list.setAttribute("aria-label", "Content");
  box.append(list);
  for (const [name, content] of panels) {
    const tab = element("button", "tab", name);
    tab.type = "button";
    tab.id = `tab-${name}`;
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", `panel-${name}`);
    list.append(tab);
    const panel = element("div", "panel");
    panel.id = `panel-${name}`;
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", tab.id);
    panel.tabIndex = 0;
    panel.append(content);
    box.append(panel);
  }
  return box;
}
