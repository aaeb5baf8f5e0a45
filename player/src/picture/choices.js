/** Groups of radio buttons: what the picture is for, and the shape of the clip. */

import { createElement } from "../dom.js";

/**
 * @typedef {object} Choice
 * @property {string} value
 * @property {string} label
 * @property {number} [ratio] of a small drawing of the shape
 */

/**
 * Renders the choices of a group. They are only built again if they change, so that none loses the focus.
 *
 * @param {HTMLElement} group
 * @param {Choice[]} choices
 * @param {string} chosen
 * @param {(value: string) => unknown} onChange
 */
export function renderChoices(group, choices, chosen, onChange) {
  const row = /** @type {HTMLElement} */ (group.querySelector(".chips"));
  const key = JSON.stringify(choices);
  if (row.dataset.key !== key) {
    row.dataset.key = key;
    row.replaceChildren(...choices.map((choice) => createChip(group.id, choice)));
  }
  row.onchange = (event) => onChange(/** @type {HTMLInputElement} */ (event.target).value);
  for (const input of row.querySelectorAll("input")) input.checked = input.value === chosen;
}

/** @param {string} name of the group @param {Choice} choice */
function createChip(name, { value, label, ratio }) {
  const input = Object.assign(createElement("input"), { type: "radio", name, value });
  const chip = Object.assign(createElement("label", input), { className: "chip" });
  if (ratio) {
    const drawing = createElement("span");
    drawing.className = "drawing";
    drawing.style.inlineSize = `${Math.round(14 * Math.min(1.3, Math.sqrt(ratio)))}px`;
    drawing.style.aspectRatio = String(ratio);
    chip.append(drawing);
  }
  chip.append(createElement("span", label));
  return chip;
}
