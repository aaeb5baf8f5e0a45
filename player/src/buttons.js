/** A row of buttons that stays as it is while the same ones are wanted, so that none loses the focus. */

/**
 * @typedef {object} Wanted
 * @property {string} id
 * @property {string} label
 * @property {boolean} [primary]
 * @property {() => unknown} act
 */

/** Milliseconds in which a second click does nothing: what is asked twice may be paid twice. */
const ONCE_IN = 3000;

/** @param {HTMLElement} row @param {Wanted[]} wanted */
export function show(row, wanted) {
  const ids = wanted.map((button) => button.id).join(" ");
  if (row.dataset.ids !== ids) {
    row.dataset.ids = ids;
    row.replaceChildren(...wanted.map(({ id }) => made(id)));
  }
  wanted.forEach(({ label, primary, act }, place) => {
    const button = /** @type {HTMLButtonElement} */ (row.children[place]);
    button.textContent = label;
    button.classList.toggle("primary", Boolean(primary));
    button.onclick = () => once(button, act);
  });
}

/** @param {string} id */
function made(id) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.does = id;
  return button;
}

/** @param {HTMLButtonElement} button @param {() => unknown} act */
async function once(button, act) {
  if (button.ariaDisabled === "true") return;
  button.ariaDisabled = "true";
  setTimeout(() => (button.ariaDisabled = null), ONCE_IN);
  await act();
}

/**
 * Puts a text on the clipboard; false if the host does not let it.
 *
 * @param {string} text
 */
export async function copied(text) {
  return navigator.clipboard ? navigator.clipboard.writeText(text).then(() => true, () => false) : false;
}

/**
 * A field that holds a text, selected, ready to be copied by hand.
 *
 * @param {string} text
 * @param {string} label
 */
export function field(text, label) {
  const area = document.createElement("textarea");
  Object.assign(area, { value: text, readOnly: true, rows: text.length > 90 ? 4 : 1, ariaLabel: label });
  area.onfocus = () => {
    area.select();
    area.scrollTop = 0;
  };
  return area;
}
