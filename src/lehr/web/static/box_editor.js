// A picture with boxes that are drawn, moved, resized and deleted by mouse, finger or keyboard. Sends the server what a
// person did when it is done: a box drawn, changed, chosen or deleted. Coordinates are shares of the picture, 0 to 1.
import { hue } from "/web/media.js";
import { make } from "/web/rest.js";

const MIN_PIXELS = 5; // a smaller drag is a click
const STEP = 0.005; // of the picture, for an arrow key
const EDGES = ["nw", "n", "ne", "e", "se", "s", "sw", "w"];
const KEYS_SETTLE_MS = 500;

export class Boxes {
  constructor(host, options, tell) {
    this.host = host;
    this.options = options;
    this.tell = tell;
    this.chosen = null;
    this.image = make("img", "lehr-boxes-picture", { alt: options.described, draggable: "false" });
    this.image.addEventListener("load", () => this.tell("loaded", [this.image.naturalWidth, this.image.naturalHeight]));
    this.image.src = options.src;
    this.layer = make("div", "lehr-boxes-layer", { role: "group", "aria-label": "Boxes on the picture" });
    host.append(this.image, this.layer);
    this.layer.addEventListener("pointerdown", (event) => this.onDown(event));
    this.onKeyAnywhere = (event) => this.maybeNew(event);
    window.addEventListener("keydown", this.onKeyAnywhere);
    this.show(options.boxes);
  }

  close() {
    window.removeEventListener("keydown", this.onKeyAnywhere);
    clearTimeout(this.settling);
  }

  show(boxes) {
    const focused = document.activeElement?.dataset?.boxId;
    this.boxes = boxes.map((each) => ({ ...each, box: [...each.box] }));
    this.layer.replaceChildren(...this.boxes.map((each, index) => this.element(each, index)));
    if (focused) this.find(focused)?.element.focus();
    this.choose(this.chosen, { quietly: true });
  }

  find(id) {
    return this.boxes.find((each) => each.id === id);
  }

  element(each, index) {
    const keys = this.options.fixed ? "" : " Arrow keys move it, with Shift they resize it, Delete removes it.";
    const element = make("div", "lehr-box", {
      tabindex: "0",
      role: "button",
      "aria-label": `Box ${index + 1}: ${each.label || "no label"}.${keys}`,
      "data-box-id": each.id,
    });
    element.style.setProperty("--box", each.colour || hue(each.label));
    element.append(make("span", "lehr-box-label", { "aria-hidden": "true" }, each.label || "no label"));
    if (!this.options.fixed) for (const edge of EDGES) element.append(make("span", `lehr-box-edge lehr-box-${edge}`, { "data-edge": edge }));
    element.addEventListener("focus", () => this.choose(each.id));
    element.addEventListener("keydown", (event) => this.onKey(event, each));
    each.element = element;
    this.place(each);
    return element;
  }

  place(each) {
    const [top, left, bottom, right] = each.box;
    Object.assign(each.element.style, {
      top: `${top * 100}%`,
      left: `${left * 100}%`,
      height: `${(bottom - top) * 100}%`,
      width: `${(right - left) * 100}%`,
    });
    each.element.classList.toggle("lehr-box-low", top < 0.06);
  }

  choose(id, { quietly = false } = {}) {
    if (!this.find(id)) id = null;
    const isNew = id !== this.chosen;
    this.chosen = id;
    for (const each of this.boxes) each.element.classList.toggle("lehr-box-chosen", each.id === id);
    if (isNew && !quietly) this.tell("chosen", id);
  }

  at(event) {
    const frame = this.layer.getBoundingClientRect();
    const x = (event.clientX - frame.left) / frame.width;
    const y = (event.clientY - frame.top) / frame.height;
    return { x: clamp(x), y: clamp(y), frame };
  }

  // -- mouse and finger ------------------------------------------------------------------------------------------------

  onDown(event) {
    if (event.button !== 0 || this.options.fixed || this.drag) return;
    const target = event.target.closest(".lehr-box");
    const each = target ? this.find(target.dataset.boxId) : null;
    event.preventDefault();
    if (each) each.element.focus({ preventScroll: true });
    else {
      document.activeElement?.blur?.();
      this.choose(null);
    }
    const start = this.at(event);
    const edge = event.target.dataset.edge;
    this.drag = { each, edge, start, before: each ? [...each.box] : null, moved: false };
    this.layer.setPointerCapture(event.pointerId);
    const move = (moved) => this.onMove(moved);
    const end = (ended) => {
      this.layer.removeEventListener("pointermove", move);
      this.layer.removeEventListener("pointerup", end);
      this.layer.removeEventListener("pointercancel", end);
      this.onUp(ended.type === "pointercancel");
    };
    this.layer.addEventListener("pointermove", move);
    this.layer.addEventListener("pointerup", end);
    this.layer.addEventListener("pointercancel", end);
  }

  onMove(event) {
    const drag = this.drag;
    const { x, y, frame } = this.at(event);
    const far = Math.hypot((x - drag.start.x) * frame.width, (y - drag.start.y) * frame.height);
    if (!drag.moved && far < MIN_PIXELS) return;
    drag.moved = true;
    if (!drag.each) this.stretch(drag, x, y);
    else {
      const [dx, dy] = [x - drag.start.x, y - drag.start.y];
      drag.each.box = drag.edge ? resized(drag.before, drag.edge, dx, dy) : shifted(drag.before, dx, dy);
      this.place(drag.each);
    }
  }

  stretch(drag, x, y) {
    if (!drag.draft) {
      drag.draft = make("div", "lehr-box lehr-box-draft");
      drag.draft.style.setProperty("--box", hue(this.options.label));
      this.layer.append(drag.draft);
    }
    drag.box = [Math.min(y, drag.start.y), Math.min(x, drag.start.x), Math.max(y, drag.start.y), Math.max(x, drag.start.x)];
    this.place({ element: drag.draft, box: drag.box });
  }

  onUp(isCancelled) {
    const drag = this.drag;
    this.drag = null;
    drag.draft?.remove();
    if (!drag.moved) return;
    if (isCancelled) {
      if (drag.each) Object.assign(drag.each, { box: drag.before });
      if (drag.each) this.place(drag.each);
    } else if (drag.each) this.tell("changed", { id: drag.each.id, box: drag.each.box });
    else if (isBox(drag.box)) this.tell("drawn", { box: drag.box });
  }

  // -- keyboard --------------------------------------------------------------------------------------------------------

  onKey(event, each) {
    if (this.options.fixed || event.ctrlKey || event.metaKey) return;
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const move = moves[event.key];
    if (event.key === "Delete" || event.key === "Backspace") {
      event.preventDefault();
      this.tell("removed", { id: each.id });
    } else if (event.key === "Escape") {
      each.element.blur();
      this.choose(null);
    } else if (move) {
      event.preventDefault();
      event.stopPropagation();
      const by = event.altKey ? STEP / 5 : STEP;
      const [dx, dy] = [move[0] * by, move[1] * by];
      each.box = event.shiftKey ? resized(each.box, "se", dx, dy) : shifted(each.box, dx, dy);
      this.place(each);
      clearTimeout(this.settling);
      this.settling = setTimeout(() => this.tell("changed", { id: each.id, box: each.box }), KEYS_SETTLE_MS);
    }
  }

  /** B makes a box in the middle, to be moved by keys. */
  maybeNew(event) {
    if (this.options.fixed || event.key !== "b" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest?.("input, textarea, select, [contenteditable]")) return;
    event.preventDefault();
    this.tell("drawn", { box: [0.35, 0.35, 0.65, 0.65] });
  }

  focusOn(id) {
    this.find(id)?.element.focus();
  }
}

function clamp(share) {
  return Math.min(1, Math.max(0, share));
}

function isBox([top, left, bottom, right]) {
  return bottom - top > 0.002 && right - left > 0.002;
}

function shifted([top, left, bottom, right], dx, dy) {
  const x = Math.min(1 - right, Math.max(-left, dx));
  const y = Math.min(1 - bottom, Math.max(-top, dy));
  return [top + y, left + x, bottom + y, right + x];
}

function resized([top, left, bottom, right], edge, dx, dy) {
  const least = 0.004;
  if (edge.includes("n")) top = Math.min(bottom - least, clamp(top + dy));
  if (edge.includes("s")) bottom = Math.max(top + least, clamp(bottom + dy));
  if (edge.includes("w")) left = Math.min(right - least, clamp(left + dx));
  if (edge.includes("e")) right = Math.max(left + least, clamp(right + dx));
  return [top, left, bottom, right];
}
