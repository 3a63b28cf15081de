// The values of a chart over the last five minutes. Pure.

const SPAN = 300_000; // ms
const MAX_ROWS = 10; // of the table
export const WIDTH = 600;
export const HEIGHT = 120;

/** @typedef {{at: number, values: number[]}} Point `at` in ms, with one value for each line */

/** The points of one chart, the oldest first. */
export class Series {
  constructor() {
    /** @type {Point[]} */
    this.points = [];
  }

  /**
   * Add a point, and forget those that are more than five minutes older.
   * @param {number} at ms
   * @param {...number} values one for each line
   */
  add(at, ...values) {
    // A point in the future was reported before the clock of the service was set back.
    this.points = this.points.filter((point) => point.at < at && point.at >= at - SPAN);
    this.points.push({ at, values });
  }

  /** Return the latest point, if there is one. */
  get last() {
    return this.points.at(-1);
  }

  /** Return the largest value of all lines, at least 1. */
  get peak() {
    return Math.max(1, ...this.points.flatMap(({ values }) => values));
  }

  /**
   * Return one line as the points of an SVG polyline in a box of `WIDTH` by `HEIGHT`. The latest point is at
   * the right edge.
   * @param {number} index of the line
   */
  polyline(index) {
    const { peak } = this;
    const now = this.last?.at ?? 0;
    return this.points
      .map(({ at, values }) => {
        const x = WIDTH * (1 - (now - at) / SPAN);
        const y = (HEIGHT - 2) * (1 - (values[index] ?? 0) / peak) + 1;
        return `${x.toFixed(1)},${y.toFixed(1)}`;
      })
      .join(" ");
  }

  /** Return up to ten points at even distances, the latest first. */
  sample() {
    const step = Math.max(1, Math.ceil(this.points.length / MAX_ROWS));
    return this.points.filter((_, index) => (this.points.length - 1 - index) % step === 0).reverse();
  }
}
