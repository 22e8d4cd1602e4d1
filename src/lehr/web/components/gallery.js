// A wall of inputs that scrolls through any number of them: only what is in sight has elements, and only what was near is
// asked for. Sends the server which inputs are marked, never scrolling or pointing.
import { besideHit, hits } from "/web/hits.js";
import { call, make, pageUnder, underApp } from "/web/rest.js";
import { caption, described, picture } from "/web/tiles.js";

const PER_PAGE = 60;
const MAX_PAGES = 40; // pages kept in memory
const GAP = 10;
const MAX_HEIGHT = 8_000_000; // what every browser can lay out

class Gallery {
  constructor(host, options, tell) {
    this.host = host;
    this.tell = tell;
    this.pages = new Map(); // number -> {inputs} or {promise}
    this.tiles = new Map(); // index -> element
    this.marked = new Map(); // id -> index
    this.host.setAttribute("role", "list");
    this.host.setAttribute("aria-label", "Inputs");
    this.observer = new ResizeObserver(() => this.layout());
    this.observer.observe(host);
    this.onScroll = () => this.soon();
    window.addEventListener("scroll", this.onScroll, { passive: true, capture: true }); // a dialog's scrolling too
    host.addEventListener("keydown", (event) => this.onKey(event));
    this.use(options);
  }

  close() {
    this.observer.disconnect();
    window.removeEventListener("scroll", this.onScroll, { capture: true });
    clearTimeout(this.timer);
    this.closed = true;
  }

  /** Shows another selection; `total` is null where nobody knows it. */
  use(options) {
    this.source = options.source;
    this.app = options.app;
    this.query = options.query || "";
    this.picks = options.picks;
    this.tile = options.tile || 168;
    this.total = options.total;
    this.isOpenEnded = options.total === null || options.total === undefined;
    if (this.isOpenEnded) this.total = PER_PAGE;
    this.generation = (this.generation || 0) + 1;
    this.pages.clear();
    this.marked.clear();
    this.focused = 0;
    for (const tile of this.tiles.values()) tile.remove();
    this.tiles.clear();
    this.layout();
  }

  /** Asks again for what is shown; marks and place stay. */
  refresh() {
    const shown = new Set([...this.tiles.keys()].map((index) => Math.floor(index / PER_PAGE)));
    for (const number of [...this.pages.keys()]) {
      if (shown.has(number)) this.load(number);
      else this.pages.delete(number);
    }
  }

  layout() {
    const width = this.host.clientWidth;
    if (!width || this.closed) return;
    this.columns = Math.max(2, Math.floor((width + GAP) / (this.tile + GAP)));
    this.side = (width - GAP * (this.columns - 1)) / this.columns;
    this.step = this.side + GAP;
    this.rows = Math.ceil(this.total / this.columns);
    this.full = this.rows * this.step;
    this.height = Math.min(this.full, MAX_HEIGHT);
    this.host.style.height = `${Math.max(0, this.height - GAP)}px`;
    for (const [index, tile] of this.tiles) this.place(tile, index);
    this.show();
  }

  soon() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.show();
    });
  }

  /** Where the top of the window is in the full list, in pixels; beyond MAX_HEIGHT the bar moves in larger steps. */
  offset() {
    const top = Math.max(0, -this.host.getBoundingClientRect().top);
    if (this.full <= this.height) return { top, shift: 0 };
    const share = Math.min(1, top / Math.max(1, this.height - window.innerHeight));
    const virtual = share * (this.full - window.innerHeight);
    return { top: virtual, shift: virtual - top };
  }

  show() {
    if (this.closed || !this.step) return;
    const { top, shift } = this.offset();
    this.shift = shift;
    const first = Math.max(0, Math.floor(top / this.step) - 2) * this.columns;
    const last = Math.min(this.total, (Math.ceil((top + window.innerHeight) / this.step) + 2) * this.columns);
    for (const [index, tile] of this.tiles) {
      if (index >= first && index < last) continue;
      if (tile === document.activeElement || tile.contains(document.activeElement)) continue;
      tile.remove();
      this.tiles.delete(index);
    }
    for (let index = first; index < last; index += 1) {
      const tile = this.tiles.get(index) || this.newTile(index);
      this.place(tile, index);
      if (!tile.input) this.fill(tile, index);
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(first, last), this.pages.size ? 80 : 0); // not for what only flies by
  }

  newTile(index) {
    const tile = make("div", "lehr-tile", { role: "listitem" });
    tile.setAttribute("aria-posinset", index + 1);
    if (!this.isOpenEnded) tile.setAttribute("aria-setsize", this.total);
    this.tiles.set(index, tile);
    this.host.append(tile);
    return tile;
  }

  place(tile, index) {
    const x = (index % this.columns) * this.step;
    const y = Math.floor(index / this.columns) * this.step - (this.shift || 0);
    tile.style.width = tile.style.height = `${this.side}px`;
    tile.style.transform = `translate(${x}px, ${y}px)`;
  }

  async ask(first, last) {
    const from = Math.floor(first / PER_PAGE);
    const to = Math.floor(Math.max(first, last - 1) / PER_PAGE);
    for (let number = from; number <= to; number += 1) {
      if (!this.pages.has(number)) this.load(number);
    }
  }

  async load(number) {
    const generation = this.generation;
    if (!this.pages.has(number)) this.pages.set(number, { inputs: null }); // what is there stays until the new has come
    try {
      const inputs = await fetched(this.source, this.app, number + 1);
      if (generation !== this.generation || this.closed) return;
      this.pages.set(number, { inputs });
      this.forget(number);
      this.grow(number, inputs.length);
      for (const [index, tile] of this.tiles) {
        if (Math.floor(index / PER_PAGE) === number) this.fill(tile, index);
      }
    } catch (error) {
      if (this.pages.get(number)?.inputs === null) this.pages.delete(number);
      if (generation === this.generation && !this.closed) this.tell("problem", error.message);
    }
  }

  /** Where the total is unknown, a full page means that more may come; a short one is the end. */
  grow(number, found) {
    const seen = number * PER_PAGE + found;
    if (this.isOpenEnded && found === PER_PAGE) this.total = Math.max(this.total, seen + PER_PAGE);
    else if (found < PER_PAGE && seen < this.total) this.total = seen;
    else return;
    if (found < PER_PAGE) {
      this.isOpenEnded = false;
      this.tell("total", this.total);
    }
    for (const [index, tile] of this.tiles) {
      if (index >= this.total) {
        tile.remove();
        this.tiles.delete(index);
      }
    }
    this.layout();
  }

  forget(kept) {
    for (const number of this.pages.keys()) {
      if (this.pages.size <= MAX_PAGES) break;
      if (Math.abs(number - kept) > 4) this.pages.delete(number);
    }
  }

  inputAt(index) {
    const page = this.pages.get(Math.floor(index / PER_PAGE));
    return page && page.inputs ? page.inputs[index % PER_PAGE] : undefined;
  }

  fill(tile, index) {
    const input = this.inputAt(index);
    const known = JSON.stringify(input);
    if (!input || tile.known === known) return;
    Object.assign(tile, { input, known });
    const separator = this.query ? "&" : "";
    const anchor = make("a", "lehr-tile-link", {
      href: `${pageUnder(this.app, "inputs", input.id)}?${this.query}${separator}at=${index}`,
      tabindex: index === this.focused ? "0" : "-1",
      "aria-label": described(input),
    });
    anchor.addEventListener("focus", () => this.focus(index));
    anchor.append(picture(input), caption(input));
    if (this.picks) {
      anchor.addEventListener("click", (event) => {
        event.preventDefault();
        this.tell("picked", input.id);
      });
      tile.replaceChildren(anchor);
      return;
    }
    const box = make("input", "lehr-tile-mark", { type: "checkbox", "aria-label": `Select ${input.id}`, tabindex: "-1" });
    box.checked = this.marked.has(input.id);
    box.addEventListener("click", (event) => this.mark(index, box.checked, event.shiftKey));
    tile.classList.toggle("lehr-tile-marked", box.checked);
    tile.replaceChildren(anchor, box, ...besideHit(tile, input, this.app));
  }

  focus(index) {
    const before = this.tiles.get(this.focused);
    before?.querySelector("a")?.setAttribute("tabindex", "-1");
    this.focused = index;
    this.tiles.get(index)?.querySelector("a")?.setAttribute("tabindex", "0");
  }

  onKey(event) {
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns, ArrowUp: -this.columns };
    const step = steps[event.key];
    const tile = this.tiles.get(this.focused);
    if (step !== undefined) {
      const index = Math.min(this.total - 1, Math.max(0, this.focused + step));
      event.preventDefault();
      this.moveTo(index);
    } else if ((event.key === " " || event.key === "x") && event.target.tagName === "A" && tile?.input) {
      event.preventDefault();
      this.mark(this.focused, !this.marked.has(tile.input.id), event.shiftKey);
    }
  }

  moveTo(index) {
    const anchor = this.tiles.get(index)?.querySelector("a");
    if (!anchor) return;
    this.focus(index);
    anchor.focus({ preventScroll: true });
    this.tiles.get(index).scrollIntoView({ block: "nearest" });
  }

  /** With shift, everything from the one marked before. */
  mark(index, isMarked, isRange) {
    const from = isRange && this.lastMarked !== undefined ? Math.min(index, this.lastMarked) : index;
    const to = isRange && this.lastMarked !== undefined ? Math.max(index, this.lastMarked) : index;
    for (let each = from; each <= to; each += 1) {
      const input = this.inputAt(each);
      if (!input) continue;
      if (isMarked) this.marked.set(input.id, each);
      else this.marked.delete(input.id);
      this.paint(each);
    }
    this.lastMarked = index;
    this.tell("marked", [...this.marked.keys()]);
  }

  paint(index) {
    const tile = this.tiles.get(index);
    if (!tile?.input) return;
    const isMarked = this.marked.has(tile.input.id);
    tile.classList.toggle("lehr-tile-marked", isMarked);
    tile.querySelector(".lehr-tile-mark").checked = isMarked;
  }

  unmark() {
    this.marked.clear();
    for (const index of this.tiles.keys()) this.paint(index);
    this.tell("marked", []);
  }
}

async function fetched(source, app, page) {
  if (source.kind === "hits") return hits(source, app, { page, per_page: PER_PAGE });
  if (source.kind === "search") {
    const body = { searches: [source.search], pagination: { page, per_page: PER_PAGE } };
    const answer = await call("POST", underApp(app, "inputs", "searches"), body);
    return (answer.hits || []).map((hit) => hit.input);
  }
  const query = new URLSearchParams({ page, per_page: PER_PAGE });
  if (source.kind === "dataset") {
    const answer = await call("GET", `${underApp(app, "datasets", source.dataset_id, "inputs")}?${query}`);
    return (answer.dataset_inputs || []).map((each) => each.input);
  }
  if (source.status) query.set("status.code", source.status);
  for (const id of source.ids || []) query.append("ids", id);
  const answer = await call("GET", `${underApp(app, "inputs")}?${query}`);
  return answer.inputs || [];
}

export default {
  props: { source: Object, app: Object, total: Number, query: String, tile: Number, picks: Boolean },
  emits: ["marked", "picked", "problem", "total"],
  render() {
    return Vue.h("div", { class: "lehr-gallery" });
  },
  mounted() {
    this.gallery = new Gallery(this.$el, this.$props, (name, value) => this.$emit(name, value));
  },
  unmounted() {
    this.gallery.close();
  },
  methods: {
    use(options) {
      this.gallery.use(options);
    },
    unmark() {
      this.gallery.unmark();
    },
    refresh() {
      this.gallery.refresh();
    },
  },
};
