// Hits of searches, as the wall of inputs shows them, and what stands on their tiles beside the picture.
import { kept, sendable } from "/web/kept.js";
import { base64, call, make, pageUnder, underApp } from "/web/rest.js";

/** Hits of a search, as inputs that know their hit; a picture to rank by comes from where this browser keeps it. */
export async function hits(source, app, pagination) {
  let answer;
  if (source.saved) answer = await call("POST", underApp(app, "searches", source.saved), { pagination });
  else {
    const search = await withPicture(source.search, source.picture);
    answer = await call("POST", underApp(app, source.among, "searches"), { searches: [search], pagination });
  }
  return (answer.hits || []).map((hit) => {
    const frame = hit.annotation?.data?.frames?.[0]?.frame_info;
    const box = hit.annotation?.data?.regions?.[0]?.region_info?.bounding_box;
    return { ...hit.input, hit: { score: hit.score || 0, isRanked: source.isRanked, frame, box } };
  });
}

/** The search, with the bytes of a picture that this browser keeps. */
export async function withPicture(search, id) {
  if (!id) return search;
  const file = await kept(id);
  if (!file) throw new Error("That picture was dropped in another browser: drop it here again.");
  const filled = JSON.parse(JSON.stringify(search)); // a reactive object cannot be cloned as a structure
  const rank = filled.query.ranks[0];
  const image = { base64: await base64(await sendable(file)) };
  rank.annotation = { ...rank.annotation, data: { ...rank.annotation?.data, image } };
  return filled;
}

/** A hit's score, its box, and the way to what is like it. */
export function besideHit(tile, input, app) {
  const hit = input.hit;
  if (!hit) return [];
  const parts = [];
  if (hit.box) {
    tile.classList.add("lehr-tile-whole");
    parts.push(boxIn(input.data?.image?.image_info, hit.box));
  }
  if (hit.isRanked) parts.push(make("span", "lehr-tile-score", { title: `Score ${hit.score}` }, hit.score.toFixed(3)));
  if (input.data?.image || input.data?.video) {
    const like = make("a", "lehr-tile-like", {
      href: `${pageUnder(app, "search")}?input=${encodeURIComponent(input.id)}`,
      "aria-label": `More like ${input.id}`,
      title: "More like this",
    });
    like.append(make("i", "material-icons q-icon", { "aria-hidden": "true" }, "image_search"));
    parts.push(like);
  }
  return parts;
}

/** A box on a tile that shows its picture whole, with bands beside it. */
function boxIn(info, box) {
  const [width, height] = [info?.width || 1, info?.height || 1];
  const scale = 1 / Math.max(width, height);
  const [w, h] = [width * scale, height * scale];
  const [left, top] = [(1 - w) / 2 + (box.left_col || 0) * w, (1 - h) / 2 + (box.top_row || 0) * h];
  const element = make("div", "lehr-tile-box");
  Object.assign(element.style, {
    left: `${100 * left}%`,
    top: `${100 * top}%`,
    width: `${100 * w * ((box.right_col || 0) - (box.left_col || 0))}%`,
    height: `${100 * h * ((box.bottom_row || 0) - (box.top_row || 0))}%`,
  });
  return element;
}
