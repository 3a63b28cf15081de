// The keyboard shortcuts.

import { byId } from "./dom.js";

/**
 * Call the function for each key, except while the reader types or while the list of keys is open.
 * @param {Record<string, () => void>} keys by `KeyboardEvent.key`
 */
export function listen(keys) {
  const help = byId("keys", HTMLDialogElement);
  /** @type {Record<string, () => void>} */
  const all = { ...keys, "?": () => help.showModal() };
  byId("help").addEventListener("click", () => help.showModal());
  document.addEventListener("keydown", (event) => {
    const { target, key, ctrlKey, metaKey, altKey } = event;
    const isInput = target instanceof Element && target.matches("input:not([type=checkbox]), select");
    if ((isInput && key !== "Escape") || ctrlKey || metaKey || altKey || help.open) return;
    if (!Object.hasOwn(all, key)) return;
    event.preventDefault();
    all[key]?.();
  });
}
