/** The line below the buttons that says what a button did. */

import { createCopyField } from "./buttons.js";
import { byId } from "./dom.js";

/** @param {string} text @param {string} [copy] what can be copied by hand */
export function showNotice(text, copy) {
  byId("notice").replaceChildren(text);
  if (copy === undefined) return;
  const field = createCopyField(copy, text);
  byId("notice").append(field);
  field.focus();
}
