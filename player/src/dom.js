/** Access to the page's elements. Text from results is only ever inserted as text, never as HTML. */

/** @param {string} id */
export const byId = (id) => /** @type {any} */ (document.getElementById(id));

/** Sets an element's text, unless it is there already. @param {string} id @param {string} text */
export function setText(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

/** Sets an element's text, and hides the element if there is none. @param {string} id @param {string} text */
export function setTextOrHide(id, text) {
  setText(id, text);
  byId(id).hidden = !text;
}

/** @param {string} tag @param {...(string | Node)} content */
export function createElement(tag, ...content) {
  const element = document.createElement(tag);
  element.append(...content);
  return element;
}
