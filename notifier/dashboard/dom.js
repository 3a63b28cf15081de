// Finding, making and rewriting elements.

export const byId = (id) => document.getElementById(id);

export function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

/** Write a text only where it differs, since an unchanged text costs no layout; tells whether it did. */
export function write(node, text) {
  const isOther = node.textContent !== text;
  if (isOther) node.textContent = text;
  return isOther;
}
