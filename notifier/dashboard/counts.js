// The numbers of mails by condition. Pure.

/** @typedef {import("./frames.js").Totals} Totals */
/** @typedef {import("./frames.js").Stats} Stats */

/**
 * Divide the pending mails by what they wait for. Before the first `stats` all of them count as waiting.
 * @param {Partial<Totals>} totals
 * @param {Pick<Stats, "pending"> | null} stats the latest
 */
export function pending(totals, stats) {
  const { due, scheduled, retrying } = stats?.pending ?? { due: totals.pending ?? 0, scheduled: 0, retrying: 0 };
  return { waiting: due, scheduled, retrying };
}

/**
 * Return the number of mails in a condition.
 * @param {string} condition
 * @param {Partial<Totals>} totals
 * @param {Stats | null} stats the latest
 */
export function count(condition, totals, stats) {
  /** @type {Record<string, number>} */
  const counts = { ...totals, ...pending(totals, stats) };
  return counts[condition] ?? 0;
}
