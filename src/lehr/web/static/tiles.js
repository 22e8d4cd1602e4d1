// What an input looks like in a small square.
import { make, pictureOf } from "/web/rest.js";

function labelsOf(input) {
  return (input.data?.concepts || []).filter((concept) => concept.value !== 0).map((concept) => concept.name || concept.id);
}

/** What a screen reader says of an input. */
export function described(input) {
  const labels = labelsOf(input);
  return labels.length ? `${input.id}: ${labels.join(", ")}` : input.id;
}

/** Its small picture, or what stands in for one. */
export function picture(input) {
  const address = pictureOf(input);
  if (address) return make("img", "lehr-tile-picture", { src: address, alt: "", loading: "lazy", decoding: "async" });
  const code = input.status?.code;
  const isBad = code >= 30002 && code !== 30003;
  const icon = input.data?.video ? "movie" : input.data?.text ? "notes" : isBad ? "broken_image" : "hourglass_empty";
  const words = input.data?.text?.raw?.slice(0, 120) || (isBad ? input.status.details || input.status.description : "");
  const box = make("div", "lehr-tile-blank", {}, make("i", "material-icons q-icon", { "aria-hidden": "true" }, icon));
  if (words) box.append(make("span", "", {}, words));
  return box;
}

/** Its first labels. */
export function caption(input) {
  const labels = labelsOf(input);
  const line = make("div", "lehr-tile-caption");
  const time = input.hit?.frame?.time;
  if (input.data?.video) line.append(make("span", "lehr-tile-label", {}, time ? `video at ${(time / 1000).toFixed(1)} s` : "video"));
  for (const label of labels.slice(0, 3)) line.append(make("span", "lehr-tile-label", {}, label));
  if (labels.length > 3) line.append(make("span", "lehr-tile-label", {}, `+${labels.length - 3}`));
  return line;
}
