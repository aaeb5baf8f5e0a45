/** The picture with the frame of the shape over it: moved and zoomed by mouse, touch, wheel and keyboard. */

import * as geometry from "./crop.js";

/** Pixels around the frame that show what is cut off. */
const MARGIN = 16;
const KEY_STEP = 0.02;
const LARGE_KEY_STEP = 0.1;
const KEY_ZOOM = 1.1;
const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const ZOOM_KEYS = { "+": KEY_ZOOM, "=": KEY_ZOOM, "-": 1 / KEY_ZOOM, _: 1 / KEY_ZOOM };

export class Stage {
  /** @type {Map<number, { x: number, y: number }>} */
  #pointers = new Map();
  /** @type {import("./view.js").Picture | null} */
  #picture = null;
  /** @type {geometry.Crop | null} */
  #crop = null;
  #frame = { left: 0, top: 0, width: 1, height: 1 };

  /**
   * @param {HTMLElement} root with elements for the frame and for what dims the rest
   * @param {(crop: geometry.Crop, isKey: boolean) => void} onChange
   */
  constructor(root, onChange) {
    Object.assign(this, { root, onChange });
    this.frame = /** @type {HTMLElement} */ (root.querySelector(".frame"));
    this.dim = /** @type {HTMLElement} */ (root.querySelector(".dim"));
    root.addEventListener("pointerdown", (event) => this.#onDown(event));
    root.addEventListener("pointermove", (event) => this.#onMove(event));
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) root.addEventListener(name, (event) => this.#onUp(/** @type {any} */ (event)));
    root.addEventListener("wheel", (event) => this.#onWheel(event), { passive: false });
    root.addEventListener("keydown", (event) => this.#onKey(event));
    new ResizeObserver(() => this.#draw()).observe(root);
  }

  /** @param {import("./view.js").Picture | null} picture @param {geometry.Crop | null} crop */
  render(picture, crop) {
    if (this.#picture !== picture) {
      this.#picture?.shown.remove();
      if (picture) this.root.prepend(picture.shown);
    }
    Object.assign(picture?.shown ?? {}, { className: "picture" });
    this.#picture = picture;
    this.#crop = crop;
    this.frame.hidden = this.dim.hidden = !crop;
    const freedom = picture && crop ? geometry.getFreedom(picture, crop) : { across: false, down: false };
    // Where the picture cannot move up and down, a finger scrolls the chat.
    this.root.style.touchAction = crop ? (freedom.down ? "none" : "pan-y") : "auto";
    this.root.classList.toggle("movable", freedom.across || freedom.down);
    this.#draw();
  }

  #draw() {
    const [picture, crop] = [this.#picture, this.#crop];
    const { clientWidth: width, clientHeight: height } = this.root;
    if (!picture || !width) return;
    const margin = crop ? MARGIN : 0;
    const ratio = crop?.ratio ?? picture.width / picture.height;
    const frameWidth = Math.min(width - 2 * margin, (height - 2 * margin) * ratio);
    const frame = { width: frameWidth, height: frameWidth / ratio, left: (width - frameWidth) / 2, top: (height - frameWidth / ratio) / 2 };
    this.#frame = frame;
    const part = crop ? geometry.getPart(picture, crop) : { left: 0, top: 0, width: 1, height: 1 };
    const shown = { width: frame.width / part.width, height: frame.height / part.height };
    const box = { ...shown, left: frame.left - part.left * shown.width, top: frame.top - part.top * shown.height };
    place(this.frame, frame);
    place(picture.shown, box);
    place(this.dim, box);
    const hole = `M${frame.left - box.left} ${frame.top - box.top}h${frame.width}v${frame.height}h${-frame.width}Z`;
    this.dim.style.clipPath = `path(evenodd, "M0 0H${box.width}V${box.height}H0Z ${hole}")`;
  }

  get #isActive() {
    return Boolean(this.#picture && this.#crop);
  }

  /** @param {(picture: geometry.Size, crop: geometry.Crop) => geometry.Crop} change @param {boolean} [isKey] */
  #apply(change, isKey = false) {
    if (this.#picture && this.#crop) this.onChange(change(this.#picture, this.#crop), isKey);
  }

  /** A point as shares of the frame. @param {{ x: number, y: number }} point in the window */
  #toFrame({ x, y }) {
    const { left, top } = this.root.getBoundingClientRect();
    return [(x - left - this.#frame.left) / this.#frame.width, (y - top - this.#frame.top) / this.#frame.height];
  }

  /** @param {PointerEvent} event */
  #onDown(event) {
    if (!this.#isActive || event.button !== 0) return;
    this.root.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    this.root.classList.add("moving");
  }

  /** @param {PointerEvent} event */
  #onMove(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.#pointers.set(event.pointerId, now);
    // With two fingers, their middle moves half as far as one of them.
    const share = other ? 0.5 : 1;
    const [right, down] = [((now.x - before.x) * share) / this.#frame.width, ((now.y - before.y) * share) / this.#frame.height];
    this.#apply((picture, crop) => {
      const moved = geometry.move(picture, crop, right, down);
      if (!other) return moved;
      const factor = distance(now, other) / Math.max(1, distance(before, other));
      const middle = this.#toFrame({ x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 });
      return geometry.zoomBy(picture, moved, factor, middle[0], middle[1]);
    });
  }

  /** @param {PointerEvent} event */
  #onUp(event) {
    this.#pointers.delete(event.pointerId);
    if (!this.#pointers.size) this.root.classList.remove("moving");
  }

  /** @param {WheelEvent} event */
  #onWheel(event) {
    // A wheel scrolls the chat until the person has chosen the picture. Trackpads report a pinch as Ctrl and wheel.
    if (!this.#isActive || !(event.ctrlKey || event.metaKey || document.activeElement === this.root)) return;
    event.preventDefault();
    const [across, down] = this.#toFrame({ x: event.clientX, y: event.clientY });
    const factor = Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002));
    this.#apply((picture, crop) => geometry.zoomBy(picture, crop, factor, across, down));
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (!this.#isActive || event.ctrlKey || event.metaKey || event.altKey) return;
    const [direction, factor] = [DIRECTIONS[event.key], ZOOM_KEYS[event.key]];
    if (!direction && !factor) return;
    event.preventDefault();
    if (factor) return this.#apply((picture, crop) => geometry.zoomBy(picture, crop, factor), true);
    const step = event.shiftKey ? LARGE_KEY_STEP : KEY_STEP;
    this.#apply((picture, crop) => geometry.move(picture, crop, direction[0] * step, direction[1] * step), true);
  }
}

/** @param {HTMLElement} element @param {{ left: number, top: number, width: number, height: number }} box */
function place(element, { left, top, width, height }) {
  const style = { insetInlineStart: "auto", left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` };
  Object.assign(element.style, style);
}

/** @param {{ x: number, y: number }} one @param {{ x: number, y: number }} other */
function distance(one, other) {
  return Math.hypot(one.x - other.x, one.y - other.y);
}
