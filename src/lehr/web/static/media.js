// What pages that look at pictures share: colours of labels, boxes on a picture, a place to drop one file.
import { make } from "/web/rest.js";

const VIDEOS = /\.(mp4|mov|avi|wmv|3gp|webm|mkv|gif)$/i;

/** The same colour for the same label, everywhere. */
export function hue(label) {
  let sum = 7;
  for (const letter of label || "") sum = (sum * 31 + letter.codePointAt(0)) % 360;
  return `hsl(${sum} 95% 58%)`;
}

export function isVideo(file) {
  return file.type.startsWith("video/") || VIDEOS.test(file.name || "");
}

/** A box of a prediction on a layer that lies over its picture. */
export function boxOf(region, label) {
  const corners = region.region_info?.bounding_box || {};
  return boxFor(["top_row", "left_col", "bottom_row", "right_col"].map((side) => corners[side] || 0), label);
}

/** A box by its corners, which are shares of the picture from 0 to 1. */
export function boxFor([top, left, bottom, right], label, attributes = {}) {
  const box = make("div", "lehr-box", attributes, make("span", "lehr-box-label", { "aria-hidden": "true" }, label || "no label"));
  box.style.setProperty("--box", hue(label.replace(/ [\d.]+$/, "")));
  Object.assign(box.style, {
    top: `${top * 100}%`,
    left: `${left * 100}%`,
    height: `${(bottom - top) * 100}%`,
    width: `${(right - left) * 100}%`,
  });
  box.classList.toggle("lehr-box-low", top < 0.06);
  return box;
}

/** Calls `took` with a file that is dropped on the element, chosen with the returned picker, or pasted on the page. */
export function takeFiles(host, accept, took) {
  const picker = make("input", "", { type: "file", hidden: true, accept, "aria-label": "File to look at" });
  picker.addEventListener("change", () => {
    if (picker.files[0]) took(picker.files[0]);
    picker.value = "";
  });
  let depth = 0;
  const lit = (by) => {
    depth = by === 0 ? 0 : depth + by;
    host.classList.toggle("lehr-drop-lit", depth > 0);
  };
  host.addEventListener("dragenter", (event) => {
    event.preventDefault();
    lit(1);
  });
  host.addEventListener("dragleave", () => lit(-1));
  host.addEventListener("dragover", (event) => event.preventDefault());
  host.addEventListener("drop", (event) => {
    event.preventDefault();
    lit(0);
    if (event.dataTransfer.files[0]) took(event.dataTransfer.files[0]);
  });
  const onPaste = (event) => {
    const file = [...(event.clipboardData?.files || [])][0];
    if (file) took(file);
  };
  window.addEventListener("paste", onPaste);
  return { picker, close: () => window.removeEventListener("paste", onPaste) };
}

/** The line with the button that opens the picker. */
export function dropWords(words, picker) {
  const button = make("button", "lehr-drop-button", { type: "button" }, "choose a file");
  button.addEventListener("click", () => picker.click());
  return make("p", "", {}, `${words}, `, button, " or paste one.");
}
