// What a model said of a picture, drawn: concepts as bars above a threshold, regions, clusters, embeddings.
import { make } from "/web/rest.js";

const AT_FIRST = 12;

/**
 * The panel. `least` hides what is less likely; `onHover(index)` is told which region is pointed at, or -1;
 * `searchFor(region)` is the address of the search for what looks like the region, or null.
 */
export function outputOf(data, { least, onLeast, onHover, searchFor }) {
  const panel = make("div", "lehr-output");
  const concepts = data.concepts || [];
  const regions = data.regions || [];
  const list = make("div", "lehr-output-list");
  const paint = (from) => list.replaceChildren(...bars(concepts, from), ...regionLines(regions, from, { onHover, searchFor }));
  if (concepts.length || regions.some((region) => region.data?.concepts?.length)) {
    panel.append(slider(least, (value) => {
      paint(value);
      onLeast(value);
    }));
  }
  paint(least);
  panel.append(list, ...clusters(data.clusters || []), ...embeddings(data.embeddings || []));
  if (!concepts.length && !regions.length && !data.clusters?.length && !data.embeddings?.length) {
    panel.append(make("p", "lehr-quiet", {}, "Nothing was found."));
  }
  return panel;
}

function slider(least, onLeast) {
  const told = make("output", "lehr-output-least", {}, least.toFixed(2));
  const range = make("input", "", { type: "range", min: "0", max: "1", step: "0.01", value: String(least), "aria-label": "Least value shown" });
  range.addEventListener("input", () => {
    told.textContent = Number(range.value).toFixed(2);
    onLeast(Number(range.value));
  });
  return make("label", "lehr-output-slider", {}, make("span", "", {}, "At least"), range, told);
}

function bars(concepts, least) {
  const shown = concepts.filter((each) => (each.value || 0) >= least);
  if (!concepts.length) return [];
  if (!shown.length) return [make("p", "lehr-quiet", {}, `All ${concepts.length} concepts are below ${least.toFixed(2)}.`)];
  const first = shown.slice(0, AT_FIRST).map(bar);
  const rest = shown.slice(AT_FIRST);
  if (!rest.length) return first;
  const more = make("button", "lehr-drop-button", { type: "button" }, `Show ${rest.length} more`);
  more.addEventListener("click", () => more.replaceWith(...rest.slice(0, 200).map(bar)));
  return [...first, more];
}

function bar(concept) {
  const value = concept.value || 0;
  const fill = make("div", "lehr-output-fill");
  fill.style.width = `${(100 * value).toFixed(1)}%`;
  const name = make("span", "lehr-output-name", {}, concept.name || concept.id);
  return make("div", "lehr-output-bar", {}, name, make("span", "lehr-output-value", {}, value.toFixed(3)), make("div", "lehr-output-track", { "aria-hidden": "true" }, fill));
}

function regionLines(regions, least, told) {
  const lines = regions.map((region, index) => ({ region, index, value: region.data?.concepts?.[0]?.value ?? region.value ?? 1 }));
  const shown = lines.filter((line) => line.value >= least);
  if (!regions.length) return [];
  const head = make("p", "lehr-quiet lehr-small", {}, `${shown.length} of ${regions.length} regions`);
  return [head, ...shown.map((line) => regionLine(line, told))];
}

function regionLine({ region, index }, { onHover, searchFor }) {
  const line = make("div", "lehr-output-region", { tabindex: "0", role: "group", "aria-label": `Region ${index + 1}` });
  const concepts = (region.data?.concepts || []).slice(0, 5);
  if (region.data?.image?.base64) {
    line.append(make("img", "lehr-output-crop", { src: `data:image/jpeg;base64,${region.data.image.base64}`, alt: "" }));
  }
  const words = make("div", "lehr-grow");
  if (concepts.length) words.append(...concepts.map(bar));
  else words.append(make("span", "lehr-quiet", {}, `Region ${index + 1}`));
  words.append(...embeddings(region.data?.embeddings || []));
  line.append(words);
  const href = searchFor(region);
  if (href) line.append(likeThis(href, `region ${index + 1}`));
  for (const event of ["pointerenter", "focus"]) line.addEventListener(event, () => onHover(index));
  for (const event of ["pointerleave", "blur"]) line.addEventListener(event, () => onHover(-1));
  return line;
}

/** The link to the search for what looks like it. */
export function likeThis(href, name) {
  const icon = make("i", "material-icons q-icon", { "aria-hidden": "true" }, "image_search");
  return make("a", "lehr-icon-button lehr-output-like", { href, title: "More like this", "aria-label": `More like ${name}` }, icon);
}

function clusters(all) {
  return all.map((each) => make("p", "", {}, make("strong", "", {}, `Cluster ${each.id}`), ` with a score of ${(each.score || 0).toFixed(3)}`));
}

function embeddings(all) {
  return all.map((each) => {
    const vector = each.vector || [];
    const most = Math.max(...vector.map(Math.abs), 1e-9);
    const strip = make("canvas", "lehr-output-vector", { width: Math.min(640, vector.length), height: 24, "aria-hidden": "true" });
    const pen = strip.getContext("2d");
    for (let x = 0; x < strip.width; x += 1) {
      const value = vector[Math.floor((x * vector.length) / strip.width)] / most;
      pen.fillStyle = value < 0 ? `rgb(59 130 246 / ${Math.abs(value)})` : `rgb(234 88 12 / ${value})`;
      pen.fillRect(x, 0, 1, 24);
    }
    return make("div", "lehr-output-embedding", {}, make("span", "lehr-quiet lehr-small", {}, `An embedding of ${each.num_dimensions || vector.length} numbers`), strip);
  });
}
