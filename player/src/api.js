/** What is known of the API that the server uses. The server writes its name into the page. */

import { APIS } from "./table.js";

/** Tests read this module without a page. */
export const API = APIS[globalThis.document?.documentElement.dataset.api] ?? APIS.useapi;

/**
 * What a value of an input adds to a request, in a few words: an image's source says little to a person.
 *
 * @param {string} name
 * @param {unknown} value
 */
export function describeInput(name, value) {
  const title = name.replaceAll("_", " ");
  if (Array.isArray(value)) return `with ${value.length} ${value.length === 1 ? title.replace(/s$/, "") : title}`;
  if (value === true) return title;
  return name === "extend" ? "extends an earlier clip" : `with ${title}`;
}
