// The search in the whole store, for mails that are not in the list. Independent of the page.

/** @typedef {import("./frames.js").Commands["mail.list"]["value"]} Page */
/** @typedef {import("./frames.js").Filter} Filter */

const DELAY = 300; // ms after the latest letter
const LIMIT = 100; // mails

/** Runs one search at a time, after the reader has stopped typing. */
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
   * Search for the mails of a filter after a delay, instead of those of the filter before.
   * @param {Filter | null} filter null to search for nothing
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
