/** Access to the page's elements. Text from results is only ever inserted as text, never as HTML. */

/** @param {string} id */
export const byId = (id) => /** @type {any} */ (document.getElementById(id));

/** @param {string | HTMLElement} target an element or its id */
const resolveElement = (target) => (typeof target === "string" ? byId(target) : target);

/** Sets an element's text, unless it is there already. @param {string | HTMLElement} target @param {string} text */
export function setText(target, text) {
  const element = resolveElement(target);
  if (element.textContent !== text) element.textContent = text;
}

/** Sets an element's text, and hides the element if there is none. @param {string | HTMLElement} target @param {string} text */
export function setTextOrHide(target, text) {
  setText(target, text);
  resolveElement(target).hidden = !text;
}

/** @param {string} tag @param {...(string | Node)} content */
export function createElement(tag, ...content) {
  const element = document.createElement(tag);
  element.append(...content);
  return element;
}
