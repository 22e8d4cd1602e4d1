// The graph of a workflow, laid out by depth from left to right. Nodes are chosen, joined and deleted by mouse, finger or
// keyboard; the server is told what was done when it is done, and sends the graph as it is then.
import { make } from "/web/rest.js";

const WIDTH = 208;
const START = 104; // width of the input, which is column 0
const HEIGHT = 76;
const ACROSS = 72; // between columns
const DOWN = 28; // between rows
const EDGE = 24;
const INPUT = "\u0000input"; // no node of a workflow: what it is given
const SVG = "http://www.w3.org/2000/svg";

class Graph {
  constructor(host, options, tell) {
    Object.assign(this, { host, tell, fixed: options.fixed, chosen: options.chosen, joining: null, elements: new Map() });
    this.stage = make("div", "lehr-graph-stage");
    this.lines = document.createElementNS(SVG, "svg");
    this.lines.setAttribute("class", "lehr-graph-lines");
    this.note = make("p", "lehr-hidden", { role: "status", "aria-live": "polite" });
    this.stage.append(this.lines);
    host.append(this.stage, this.note);
    this.onKeyAnywhere = (event) => {
      if (event.key === "Escape" && this.joining) this.stopJoining();
    };
    window.addEventListener("keydown", this.onKeyAnywhere);
    this.observer = new ResizeObserver(() => this.center());
    this.observer.observe(host);
    this.show(options.nodes, options.chosen);
  }

  close() {
    window.removeEventListener("keydown", this.onKeyAnywhere);
    this.observer.disconnect();
  }

  show(nodes, chosen) {
    this.nodes = nodes;
    this.chosen = chosen;
    this.places = placed(nodes);
    const columns = Math.max(...[...this.places.values()].map((place) => place.column)) + 1;
    const rows = Math.max(1, ...[...this.places.values()].map((place) => place.row + 1));
    this.width = 2 * EDGE + START + (columns - 1) * (WIDTH + ACROSS);
    this.height = 2 * EDGE + rows * HEIGHT + (rows - 1) * DOWN;
    Object.assign(this.stage.style, { width: `${this.width}px`, height: `${this.height}px` });
    for (const [name, value] of [["width", this.width], ["height", this.height]]) this.lines.setAttribute(name, value);
    this.showNodes(nodes);
    this.draw();
    this.center();
  }

  /** A node that stays keeps its element: whoever points at it, drags from it or has the keyboard on it goes on. */
  showNodes(nodes) {
    for (const [id, element] of this.elements) {
      if (this.places.has(id)) continue;
      if (this.joining === id) this.stopJoining();
      element.remove();
      this.elements.delete(id);
    }
    if (!this.elements.has(INPUT)) this.put(this.start(), INPUT);
    for (const node of nodes) {
      const element = this.elements.get(node.id) || this.box(node.id);
      this.describe(element, node);
      this.put(element, node.id);
    }
  }

  /** A graph that is narrower than its place stands in the middle of it. */
  center() {
    const room = this.host.clientWidth - this.width;
    this.stage.style.marginLeft = `${Math.max(0, room / 2)}px`;
  }

  // -- nodes ------------------------------------------------------------------------------------------------------------

  start() {
    return make("div", "lehr-graph-node lehr-graph-start", {}, make("i", "material-icons q-icon", { "aria-hidden": "true" }, "image"), "Input");
  }

  box(id) {
    const element = make("div", "lehr-graph-node", { role: "button", tabindex: "0", "data-node-id": id });
    element.append(make("strong", "lehr-graph-name", {}, id), make("span", "lehr-graph-kind"), make("span", "lehr-graph-gives"));
    if (!this.fixed) element.append(this.port(id));
    element.addEventListener("click", () => this.press(id));
    element.addEventListener("keydown", (event) => this.onKey(event, id));
    return element;
  }

  describe(element, node) {
    const takes = node.inputs.length ? `takes from ${node.inputs.join(", ")}` : "takes the input";
    element.setAttribute("aria-label", `${node.id}, ${node.kind}, ${takes}${node.problem ? `. Problem: ${node.problem}` : ""}`);
    element.setAttribute("aria-pressed", String(node.id === this.chosen));
    element.classList.toggle("lehr-graph-chosen", node.id === this.chosen);
    element.classList.toggle("lehr-graph-bad", Boolean(node.problem));
    element.classList.toggle("lehr-graph-quiet", node.hidden);
    element.querySelector(".lehr-graph-kind").textContent = node.kind;
    element.querySelector(".lehr-graph-gives").textContent = node.problem || (node.gives ? `→ ${node.gives}` : "");
  }

  put(element, id) {
    const { x, y } = this.corner(id);
    Object.assign(element.style, { left: `${x}px`, top: `${y}px`, width: `${id === INPUT ? START : WIDTH}px`, height: `${HEIGHT}px` });
    if (!element.parentNode) this.stage.append(element);
    this.elements.set(id, element);
  }

  corner(id) {
    const { column, row } = this.places.get(id);
    return { x: EDGE + (column ? START + ACROSS + (column - 1) * (WIDTH + ACROSS) : 0), y: EDGE + row * (HEIGHT + DOWN) };
  }

  /** Where a node's output begins: dragged from here to another node, it goes there. */
  port(id) {
    const port = make("span", "lehr-graph-port", { title: "Drag to the node that takes this output", "aria-hidden": "true" });
    port.addEventListener("click", (event) => event.stopPropagation());
    port.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      event.stopPropagation();
      port.setPointerCapture(event.pointerId);
      const line = document.createElementNS(SVG, "path");
      line.setAttribute("class", "lehr-graph-line lehr-graph-draft");
      this.lines.append(line);
      const from = this.end(id);
      const move = (moved) => {
        const frame = this.stage.getBoundingClientRect();
        line.setAttribute("d", curve(from, { x: moved.clientX - frame.left, y: moved.clientY - frame.top }));
        this.aim(this.at(moved), id);
      };
      const end = (ended) => {
        port.removeEventListener("pointermove", move);
        port.removeEventListener("pointerup", end);
        port.removeEventListener("pointercancel", end);
        line.remove();
        this.aim(null);
        const target = ended.type === "pointerup" ? this.at(ended) : null;
        if (target && target !== id) this.join(id, target);
      };
      port.addEventListener("pointermove", move);
      port.addEventListener("pointerup", end);
      port.addEventListener("pointercancel", end);
    });
    return port;
  }

  at(event) {
    return document.elementFromPoint(event.clientX, event.clientY)?.closest?.("[data-node-id]")?.dataset.nodeId || null;
  }

  aim(id, from) {
    for (const [each, element] of this.elements) element.classList.toggle("lehr-graph-aimed", each === id && id !== from);
  }

  press(id) {
    if (this.joining && this.joining !== id) this.join(this.joining, id);
    else {
      this.stopJoining();
      this.tell("chosen", id);
    }
  }

  join(from, to) {
    this.stopJoining();
    this.tell("joined", { from, to });
  }

  stopJoining() {
    if (this.joining) this.elements.get(this.joining)?.classList.remove("lehr-graph-joining");
    this.joining = null;
    this.note.textContent = "";
  }

  onKey(event, id) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = {
      Enter: () => this.press(id),
      " ": () => this.press(id),
      Delete: () => this.tell("removed", id),
      Backspace: () => this.tell("removed", id),
      c: () => this.startJoining(id),
      ArrowRight: () => this.step(id, 1, 0),
      ArrowLeft: () => this.step(id, -1, 0),
      ArrowDown: () => this.step(id, 0, 1),
      ArrowUp: () => this.step(id, 0, -1),
    }[event.key];
    const changes = ["Delete", "Backspace", "c"].includes(event.key);
    if (!act || (this.fixed && changes)) return;
    event.preventDefault();
    act();
  }

  startJoining(id) {
    this.stopJoining();
    this.joining = id;
    this.elements.get(id).classList.add("lehr-graph-joining");
    this.note.textContent = `Connecting ${id}: go to the node that takes its output and press Enter. Escape ends it.`;
  }

  /** The keyboard goes to the nearest node in that direction. */
  step(id, across, down) {
    const from = this.places.get(id);
    let best = null;
    for (const node of this.nodes) {
      const place = this.places.get(node.id);
      const [dx, dy] = [place.column - from.column, place.row - from.row];
      const ahead = across ? dx * across : dy * down;
      if (ahead <= 0) continue;
      const far = across ? Math.abs(dx) * 10 + Math.abs(dy) : Math.abs(dy) * 10 + Math.abs(dx) * 100;
      if (!best || far < best.far) best = { far, id: node.id };
    }
    if (best) this.elements.get(best.id).focus();
  }

  // -- lines ------------------------------------------------------------------------------------------------------------

  end(id) {
    const { x, y } = this.corner(id);
    return { x: x + (id === INPUT ? START : WIDTH), y: y + HEIGHT / 2 };
  }

  draw() {
    const lines = [];
    for (const node of this.nodes) {
      const { x, y } = this.corner(node.id);
      const sources = node.inputs.filter((each) => this.places.has(each));
      for (const source of sources.length ? sources : [INPUT]) lines.push(...this.line(source, node.id, { x, y: y + HEIGHT / 2 }));
    }
    this.lines.replaceChildren(...lines);
  }

  line(from, to, target) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", `lehr-graph-line${from === INPUT ? " lehr-graph-first" : ""}`);
    path.setAttribute("d", curve(this.end(from), target));
    if (from === INPUT || this.fixed) return [path];
    const hit = path.cloneNode();
    hit.setAttribute("class", "lehr-graph-hit");
    for (const [name, value] of [["tabindex", "0"], ["role", "button"], ["aria-label", `Connection from ${from} to ${to}. Delete takes it away.`]]) hit.setAttribute(name, value);
    const part = () => this.tell("parted", { from, to });
    hit.addEventListener("dblclick", part);
    hit.addEventListener("keydown", (event) => {
      if (event.key !== "Delete" && event.key !== "Backspace") return;
      event.preventDefault();
      part();
    });
    return [path, hit];
  }
}

/** Column and row of each node: a column right of all that it takes from, rows in the order of the nodes. */
function placed(nodes) {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const depths = new Map();
  const depth = (id, seen) => {
    if (depths.has(id)) return depths.get(id);
    if (seen.has(id)) return 0; // goes round in a circle
    const before = byId.get(id).inputs.filter((each) => byId.has(each) && each !== id);
    const found = 1 + Math.max(0, ...before.map((each) => depth(each, new Set([...seen, id]))));
    depths.set(id, found);
    return found;
  };
  const places = new Map([[INPUT, { column: 0, row: 0 }]]);
  const filled = new Map();
  for (const node of nodes) {
    const column = depth(node.id, new Set());
    const wanted = Math.max(0, ...node.inputs.filter((each) => places.has(each)).map((each) => places.get(each).row));
    const row = Math.max(filled.get(column) ?? 0, node.inputs.length ? Math.min(wanted, nodes.length) : 0);
    places.set(node.id, { column, row });
    filled.set(column, row + 1);
  }
  return places;
}

function curve(from, to) {
  const bend = Math.max(32, Math.abs(to.x - from.x) / 2);
  return `M ${from.x} ${from.y} C ${from.x + bend} ${from.y}, ${to.x - bend} ${to.y}, ${to.x} ${to.y}`;
}

export default {
  props: { nodes: Array, chosen: String, fixed: Boolean },
  emits: ["chosen", "removed", "joined", "parted"],
  render() {
    return Vue.h("div", { class: "lehr-graph", role: "group", "aria-label": "The workflow's graph" });
  },
  mounted() {
    const options = { nodes: this.nodes, chosen: this.chosen, fixed: this.fixed };
    this.graph = new Graph(this.$el, options, (name, value) => this.$emit(name, value));
  },
  unmounted() {
    this.graph.close();
  },
  watch: {
    nodes(nodes) {
      this.graph.show(nodes, this.chosen);
    },
    chosen(chosen) {
      this.graph.show(this.nodes, chosen);
    },
  },
};
