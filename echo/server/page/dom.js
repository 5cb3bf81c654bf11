/** Elements, made and changed without ever parsing text: what a peer says stays text. */

/**
 * Find an element of the page that is certainly there.
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
 * Change an element's text, and touch the document only where it differs.
 *
 * @param {Node} element
 * @param {string|number} text
 */
export function write(element, text) {
  const now = String(text);
  if (element.textContent !== now) element.textContent = now;
}

/**
 * Whether the reader wants things to stand still.
 *
 * @returns {boolean}
 */
export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
