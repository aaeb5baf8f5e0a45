/** The ways in which a picture comes into the panel: dropped anywhere on it, chosen, or pasted. */

import { byId } from "../dom.js";

const LINK_DROPPED = "That was a link or text, not a picture. Save the picture on this device first, or give its link in the chat.";
const NOTHING_TO_PASTE = "There is no picture to paste. Copy one first.";
const IS_APPLE = /Mac|iPhone|iPad/.test(navigator.platform);
export const PASTE_KEYS = IS_APPLE ? "⌘V" : "Ctrl+V";
const CANNOT_READ = `This chat does not let the panel read the clipboard. Press ${PASTE_KEYS} here instead.`;

/** Whether the page may try to read the clipboard. Only some browsers say so before it is tried. */
function canReadClipboard() {
  const policy = /** @type {any} */ (document).featurePolicy;
  return Boolean(navigator.clipboard?.read) && policy?.allowsFeature("clipboard-read") !== false;
}

/**
 * @param {(files: File[]) => unknown} onFiles
 * @param {(problem: string) => unknown} onProblem
 */
export function listen(onFiles, onProblem) {
  const input = /** @type {HTMLInputElement} */ (byId("file"));
  input.onchange = () => {
    const files = [...(input.files ?? [])];
    // The same file can be chosen again.
    input.value = "";
    if (files.length) onFiles(files);
  };
  byId("pick").onclick = (event) => {
    if (!event.target.closest("button, input")) choose();
  };
  listenToDrops(onFiles, onProblem);
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    event.preventDefault();
    if (files.length) onFiles(files);
    else onProblem(NOTHING_TO_PASTE);
  });
  byId("paste").hidden = !canReadClipboard();
  byId("paste").onclick = () => readClipboard(onFiles, onProblem);
  byId("choose").onclick = choose;
}

/** Opens the system's picker. On phones, it offers the camera too. */
export function choose() {
  byId("file").click();
}

function listenToDrops(onFiles, onProblem) {
  const root = document.documentElement;
  let depth = 0;
  const setDragging = (isDragging) => root.classList.toggle("dragging", isDragging);
  document.addEventListener("dragenter", () => setDragging(++depth > 0));
  document.addEventListener("dragleave", () => {
    depth = Math.max(0, depth - 1);
    setDragging(depth > 0);
  });
  document.addEventListener("dragover", (event) => {
    // Without this, the browser would open the file in place of the page.
    event.preventDefault();
    if (event.dataTransfer) event.dataTransfer.dropEffect = "copy";
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    setDragging(false);
    const files = [...(event.dataTransfer?.files ?? [])];
    if (files.length) onFiles(files);
    else onProblem(LINK_DROPPED);
  });
}

async function readClipboard(onFiles, onProblem) {
  const items = await navigator.clipboard.read().catch(() => null);
  if (!items) return onProblem(CANNOT_READ);
  for (const item of items) {
    const type = item.types.find((each) => each.startsWith("image/"));
    if (type) return onFiles([/** @type {any} */ (await item.getType(type))]);
  }
  onProblem(NOTHING_TO_PASTE);
}
