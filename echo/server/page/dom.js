/** Elements, made and changed without ever parsing text: what a peer sends stays text. */

/**
 * Find an element that the page certainly has.
 *
 * @param {string} id
 * @returns {HTMLElement}
 */
export const byId = (id) => document.getElementById(id);

/**
 * Make an element.
 *
 * @param {string} name of its tag
 * @param {string} [className]
 * @param {...(Node|string)} children strings become text
 * @returns {HTMLElement}
 */
export function make(name, className = "", ...children) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/**
 * Change an element's text, touching the document only where it differs.
 *
 * @param {Node} element
 * @param {string|number} text
 */
export function write(element, text) {
  const now = String(text);
  if (element.textContent !== now) element.textContent = now;
}

/**
 * Bring a list of elements in line with a list of keys, keeping those that are there already.
 *
 * @param {HTMLElement} parent
 * @param {string[]} keys in the order to show
 * @param {(key: string) => HTMLElement} create
 * @returns {HTMLElement[]} one for each key
 */
export function keyed(parent, keys, create) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const wanted = keys.map((key) => {
    const element = known.get(key) ?? create(key);
    element.dataset.key = key;
    known.delete(key);
    return element;
  });
  for (const element of known.values()) element.remove();
  wanted.forEach((element, index) => {
    if (parent.children[index] !== element) parent.insertBefore(element, parent.children[index] ?? null);
  });
  return wanted;
}
