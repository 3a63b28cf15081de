// The list of mails, with the button for new ones, the texts for an empty list, and the line below it.

import { byId } from "./dom.js";
import { Rows } from "./rows.js";
import { counted } from "./words.js";

/**
 * @typedef {object} View
 * @property {import("./state.js").KnownMail[]} mails in order
 * @property {number} now ms
 * @property {boolean} isLive whether the feed is connected
 * @property {boolean} isOperator
 * @property {boolean} isLoaded whether a snapshot has come
 * @property {boolean} isNarrowed whether a filter is set
 * @property {boolean} hasMore whether the store has mails that are not shown
 */

export class List {
  /**
   * @param {object} options
   * @param {(id: string) => void} options.onOpen called when the reader opens a mail
   * @param {() => void} options.onChange called when the list should be drawn
   */
  constructor({ onOpen, onChange }) {
    this.rows = new Rows(byId("mails"), { onOpen });
    this.onChange = onChange;
    this.isPaused = false;
    this.isScrolled = false; // beyond the top of the list
    this.isOther = false; // other mails are wanted than before, so that none is held back
    byId("pause").addEventListener("click", () => this.pause(!this.isPaused));
    byId("newer").addEventListener("click", () => this.showNewer());
    new IntersectionObserver(([top]) => {
      this.isScrolled = top !== undefined && top.boundingClientRect.bottom < 0;
      onChange();
    }).observe(byId("top"));
  }

  /** Replace all rows with the next drawing, even while rows are held in place. */
  replace() {
    this.isOther = true;
    this.onChange();
  }

  /** @param {boolean} on */
  pause(on) {
    this.isPaused = on;
    byId("pause").setAttribute("aria-pressed", String(on));
    this.onChange();
  }

  showNewer() {
    window.scrollTo(0, 0);
    this.pause(false);
    this.replace();
  }

  /** @param {View} view */
  draw({ mails, now, isLive, isOperator, isLoaded, isNarrowed, hasMore }) {
    // Nothing may move while somebody reads, or while it is unknown what happens.
    const isHeld = this.isPaused || !isLive || this.rows.holdsFocus || this.isScrolled;
    const newer = this.rows.show(mails, { now, isOperator: isLive && isOperator, isHeld: isHeld && !this.isOther });
    this.isOther = false;
    const isEmpty = this.rows.size === 0;
    byId("newer").hidden = newer === 0;
    byId("newer").textContent = `Show ${counted(newer, "new mail")}`;
    byId("list").hidden = isEmpty;
    byId("empty").hidden = !isEmpty || !isLive || !isLoaded;
    byId("empty-none").hidden = isNarrowed;
    byId("first").hidden = !isOperator;
    byId("empty-narrowed").hidden = !isNarrowed;
    byId("foot").hidden = isEmpty || !hasMore;
  }
}
