// The search in the whole store, for what the list does not show. Independent of the page.

/** @typedef {import("./frames.js").Commands["mail.list"]["value"]} Page */
/** @typedef {import("./frames.js").Filter} Filter */

const DELAY = 300; // ms without another letter
const LIMIT = 100; // mails

/** Looks for one thing at a time, once the reader has stopped typing. */
export class Lookup {
  /**
   * @param {object} options
   * @param {(filter: Filter, limit: number) => Promise<Page>} options.list asks the service
   * @param {(page: Page) => void} options.onFound
   * @param {(error: any) => void} options.onError
   */
  constructor({ list, onFound, onError }) {
    this.list = list;
    this.onFound = onFound;
    this.onError = onError;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
  }

  /**
   * Look for the mails of a filter soon, instead of those that were wanted before.
   * @param {Filter | null} filter null for none
   */
  start(filter) {
    clearTimeout(this.timer);
    if (filter) this.timer = setTimeout(() => this.ask(filter), DELAY);
  }

  /** @param {Filter} filter */
  async ask(filter) {
    try {
      this.onFound(await this.list(filter, LIMIT));
    } catch (error) {
      this.onError(error);
    }
  }
}
