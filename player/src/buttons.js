/** A row of buttons. It is not rebuilt while the same buttons are wanted, so that none loses the focus. */

/**
 * @typedef {object} Action
 * @property {string} id
 * @property {string} label
 * @property {boolean} [primary]
 * @property {boolean} [isToggle] whether a second click at once is meant
 * @property {() => unknown} run
 */

/** Milliseconds in which a second click does nothing: what is requested twice may be charged twice. */
const DEBOUNCE = 3000;

/** @param {HTMLElement} row @param {Action[]} actions */
export function renderButtons(row, actions) {
  const ids = actions.map((action) => action.id).join(" ");
  if (row.dataset.ids !== ids) {
    const focused = row.contains(document.activeElement) ? /** @type {HTMLElement} */ (document.activeElement).dataset.action : "";
    row.dataset.ids = ids;
    row.replaceChildren(...actions.map(({ id }) => createButton(id)));
    /** @type {any} */ ([...row.children]).find(({ dataset }) => dataset.action === focused)?.focus();
  }
  actions.forEach(({ label, primary, isToggle, run }, index) => {
    const button = /** @type {HTMLButtonElement} */ (row.children[index]);
    button.textContent = label;
    button.classList.toggle("primary", Boolean(primary));
    button.onclick = isToggle ? run : () => runOnce(button, run);
  });
}

/** @param {string} id */
function createButton(id) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.action = id;
  return button;
}

/** @param {HTMLButtonElement} button @param {() => unknown} run */
async function runOnce(button, run) {
  if (button.ariaDisabled === "true") return;
  button.ariaDisabled = "true";
  setTimeout(() => (button.ariaDisabled = null), DEBOUNCE);
  await run();
}

/**
 * Puts a text on the clipboard; false if the host does not allow it.
 *
 * @param {string} text
 */
export async function copyText(text) {
  return navigator.clipboard ? navigator.clipboard.writeText(text).then(() => true, () => false) : false;
}

/**
 * A field with a text that is selected on focus, ready to be copied by hand.
 *
 * @param {string} text
 * @param {string} label
 */
export function createCopyField(text, label) {
  const area = document.createElement("textarea");
  Object.assign(area, { value: text, readOnly: true, rows: text.length > 90 ? 4 : 1, ariaLabel: label });
  area.onfocus = () => {
    area.select();
    area.scrollTop = 0;
  };
  return area;
}
