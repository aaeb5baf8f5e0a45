/** The page's elements, and putting words into them: as text, and as nothing else. */

/** @param {string} id */
export const at = (id) => /** @type {any} */ (document.getElementById(id));

/** @param {string} id @param {string} text */
export function put(id, text) {
  if (at(id).textContent !== text) at(id).textContent = text;
}

/** The same, and away with it where there is nothing to say. @param {string} id @param {string} text */
export function maybe(id, text) {
  put(id, text);
  at(id).hidden = !text;
}

/** @param {string} tag @param {...(string | Node)} content */
export function element(tag, ...content) {
  const made = document.createElement(tag);
  made.append(...content);
  return made;
}
