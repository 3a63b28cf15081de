// Finding, making and rewriting elements.

/**
 * Return the element of the page with this id.
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @param {new () => T} [type] for example HTMLInputElement
 * @returns {T}
 */
export function byId(id, type) {
  return find(document, `#${id}`, type);
}

/**
 * Return the first element below `root` that matches. Throw an error if there is none or if it is of another type.
 * @template {Element} [T=HTMLElement]
 * @param {ParentNode} root
 * @param {string} selector
 * @param {new () => T} [type]
 * @returns {T}
 */
export function find(root, selector, type = /** @type {any} */ (HTMLElement)) {
  const found = root.querySelector(selector);
  if (found instanceof type) return found;
  throw new Error(`the page has no ${type.name} that matches ${selector}`);
}

/**
 * Make an element.
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @returns {HTMLElementTagNameMap[Name]}
 */
export function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

/**
 * Write a text if it differs from what is there, because an unchanged text costs no layout. Return whether it differed.
 * @param {Element} node
 * @param {string} text
 */
export function write(node, text) {
  const isOther = node.textContent !== text;
  if (isOther) node.textContent = text;
  return isOther;
}

/**
 * Return the element below which an event happened, or null.
 * @param {Event} event
 * @param {string} selector
 * @returns {HTMLElement | null}
 */
export function closest({ target }, selector) {
  return target instanceof Element ? target.closest(selector) : null;
}
