// One mail, whole: what happened to it in the server's own words, and what it says.

import { buttons } from "./actions.js";
import { element } from "./dom.js";
import { clock, condition, detail, flight, shown } from "./words.js";

/** `show(id)` gives the whole mail (a promise), or rejects; `onClose` hears that the drawer was closed. */
export class Drawer {
  constructor(aside, { show, onClose }) {
    this.aside = aside;
    this.show = show;
    this.onClose = onClose;
    this.id = null;
    this.tab = "HTML";
    aside.addEventListener("click", ({ target }) => {
      if (target.closest(".close")) this.close();
      const tab = target.closest("[role=tab]");
      if (tab) this.choose(tab.textContent);
    });
    aside.addEventListener("keydown", (event) => this.walk(event));
  }

  get open() {
    return this.id !== null;
  }

  /** Show a mail; what the list knows of it at once, the rest when it comes. */
  async look(id, known) {
    const isNew = this.id !== id;
    this.id = id;
    this.aside.hidden = false;
    if (isNew) this.fill(known ?? { id }, null);
    if (isNew) this.aside.querySelector(".close").focus();
    let whole = null;
    let why = "";
    try {
      whole = await this.show(id);
    } catch (error) {
      why = error.code === "forbidden" ? "What it says and what happened to it is for operators." : error.message;
    }
    if (this.id === id) this.fill(whole ?? known ?? { id }, whole, why);
  }

  close() {
    if (!this.open) return;
    const id = this.id;
    this.id = null;
    this.aside.hidden = true;
    this.aside.replaceChildren();
    this.onClose(id);
  }

  fill(mail, whole, why = "") {
    const hadFocus = this.aside.contains(document.activeElement);
    this.aside.replaceChildren(head(mail), facts(mail));
    if (whole) {
      this.aside.append(doable(whole));
      const all = panels(whole);
      this.aside.append(timeline(whole.timeline), this.tabs(all));
      this.choose(this.tab in all ? this.tab : Object.keys(all)[0]);
    } else {
      this.aside.append(element("p", "why", why));
    }
    if (hadFocus) this.aside.querySelector(".close").focus();
  }

  tabs(panels) {
    const box = element("section", "says");
    const list = element("div", "tabs");
    list.setAttribute("role", "tablist");
    list.setAttribute("aria-label", "What it says");
    box.append(list);
    for (const [name, content] of Object.entries(panels)) {
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

  /** Hide the other panels rather than take them out: a frame that is put in again asks for its page again. */
  choose(name) {
    this.tab = name;
    for (const tab of this.aside.querySelectorAll("[role=tab]")) {
      const isChosen = tab.textContent === name;
      tab.setAttribute("aria-selected", String(isChosen));
      tab.tabIndex = isChosen ? 0 : -1;
      this.aside.querySelector(`#panel-${tab.textContent}`).hidden = !isChosen;
    }
  }

  /** Arrow keys go from tab to tab, as everywhere. */
  walk(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const tabs = [...this.aside.querySelectorAll("[role=tab]")];
    const at = tabs.indexOf(document.activeElement);
    if (!step || at < 0) return;
    const next = tabs[(at + step + tabs.length) % tabs.length];
    this.choose(next.textContent);
    next.focus();
  }
}

function head(mail) {
  const box = element("header", "");
  const title = element("h2", "", mail.subject ?? mail.id);
  title.id = "drawer-title";
  const close = element("button", "close", "Close");
  close.type = "button";
  close.setAttribute("aria-keyshortcuts", "Escape");
  box.append(title, close);
  return box;
}

function facts(mail) {
  const list = element("dl", "facts");
  const is = mail.status && condition(mail, Date.now());
  const all = {
    Status: is && shown(is).word,
    Detail: is && detail(mail, Date.now()),
    To: mail.to,
    Kind: mail.kind,
    Booking: mail.booking,
    Flight: flight(mail.flight),
    Created: clock(mail.created_at),
    "To be sent": clock(mail.send_at),
    Expires: clock(mail.expires_at),
    Sent: clock(mail.sent_at),
    "Message-ID": mail.message_id,
    "Caused by": mail.event,
    "Mail id": mail.id,
  };
  for (const [name, value] of Object.entries(all)) {
    if (!value) continue;
    const pair = document.createElement("div");
    pair.append(element("dt", "", name), element("dd", "", value));
    list.append(pair);
  }
  return list;
}

function doable(mail) {
  const box = element("div", "doable");
  box.append(...buttons(mail, Date.now()));
  return box;
}

function timeline(steps) {
  const box = element("section", "timeline");
  const list = document.createElement("ol");
  for (const step of steps) {
    const item = document.createElement("li");
    const words = step.smtp && step.status !== "sending" ? `${step.smtp.code} ${step.smtp.text}` : "";
    const next = step.next_attempt_at ? `next try ${clock(step.next_attempt_at)}` : "";
    const time = element("time", "", clock(step.at));
    time.dateTime = step.at;
    item.append(time, " ", element("strong", "", step.type.replace("mail.", "")), step.attempt ? ` try ${step.attempt}` : "");
    for (const text of [words, step.error, next]) if (text) item.append(element("p", "", text));
    list.append(item);
  }
  box.append(element("h3", "", "What happened"), list);
  return box;
}

/** The tabs by name, each a node. The page of the mail runs nothing and loads nothing: see the policy it comes with. */
function panels(whole) {
  const found = {};
  if (whole.preview) {
    const frame = element("iframe", "page");
    frame.setAttribute("sandbox", "");
    frame.title = "The mail as its reader sees it";
    frame.src = whole.preview.slice(1);
    found.HTML = frame;
  }
  if (whole.text !== null) found.Text = element("pre", "", whole.text);
  found.Headers = element("pre", "", whole.headers.map(([name, value]) => `${name}: ${value}`).join("\n"));
  if (whole.calendars.length) found.Calendar = element("pre", "", whole.calendars.map(({ text }) => text).join("\n"));
  return found;
}
