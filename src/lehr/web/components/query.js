// What a search is by: a picture that was dropped, or an input of the app, and a box drawn on it. Tells the server where
// the box is and under which id the browser keeps the picture, never its bytes.
import { Boxes } from "/web/box_editor.js";
import { withPicture } from "/web/hits.js";
import { keep, kept } from "/web/kept.js";
import { dropWords, takeFiles } from "/web/media.js";
import { call, make, underApp } from "/web/rest.js";

class Query {
  constructor(host, options, tell) {
    Object.assign(this, { host, options, tell });
    this.files = takeFiles(host, "image/*,.tiff,.tif", (file) => this.take(file));
    this.drop = make("div", "lehr-drop");
    this.drop.append(
      make("i", "material-icons q-icon lehr-drop-icon", { "aria-hidden": "true" }, "image_search"),
      make("div", "lehr-drop-words", {}, dropWords("Drop the picture to search by", this.files.picker)),
    );
    this.medium = make("div", "lehr-query-medium");
    this.state = make("p", "lehr-quiet lehr-small", { role: "status" });
    host.append(this.drop, this.files.picker, this.medium, this.state);
    this.look();
  }

  close() {
    this.files.close();
    this.editor?.close();
    if (this.address) URL.revokeObjectURL(this.address);
  }

  async take(file) {
    try {
      this.tell("dropped", await keep(file));
    } catch (error) {
      this.say(error.message);
    }
  }

  say(sentence) {
    this.state.textContent = sentence;
  }

  async look() {
    try {
      if (this.options.input) {
        const answer = await call("GET", underApp(this.options.app, "inputs", this.options.input));
        const image = answer.input.data?.image;
        if (image) this.show(new URL(image.url, window.location).pathname);
        else this.say(`Searching by ${this.options.input}.`);
      } else if (this.options.picture) {
        const file = await kept(this.options.picture);
        if (!file) return this.say("That picture was dropped in another browser: drop it here again.");
        this.address = URL.createObjectURL(file);
        this.show(this.address);
      }
    } catch (error) {
      this.say(error.message);
    }
    return undefined;
  }

  show(src) {
    this.drop.classList.add("lehr-drop-slim");
    const place = make("div", "lehr-boxes");
    this.medium.replaceChildren(place);
    const options = { src, described: "The picture that is searched by", boxes: this.boxes(), fixed: false, label: "search" };
    this.editor = new Boxes(place, options, (name, value) => this.told(name, value));
    this.say(this.options.box ? "" : "Drag on the picture, or press B, to search by a part of it.");
  }

  boxes() {
    const box = this.options.box;
    return box ? [{ id: "part", box, label: "searched for", colour: "#fb923c" }] : [];
  }

  told(name, value) {
    if (name === "drawn" || name === "changed") this.boxed(value.box);
    if (name === "removed") this.boxed(null);
  }

  boxed(box) {
    this.options.box = box;
    this.editor.show(this.boxes());
    if (box) this.editor.focusOn("part");
    this.say(box ? "" : "Drag on the picture, or press B, to search by a part of it.");
    this.tell("boxed", box);
  }

  /** Keeps a search under its id; the picture goes along, where it is one of this browser's. */
  async save(search, among) {
    try {
      const filled = await withPicture(search, this.options.picture);
      await call("POST", underApp(this.options.app, among, "searches"), { searches: [{ ...filled, save: true }] });
      this.tell("saved", search.id);
    } catch (error) {
      this.tell("problem", error.message);
    }
  }
}

export default {
  props: { app: Object, input: String, picture: String, box: Array },
  emits: ["dropped", "boxed", "saved", "problem"],
  render() {
    return Vue.h("div", { class: "lehr-query" });
  },
  mounted() {
    const options = { app: this.app, input: this.input, picture: this.picture, box: this.box };
    this.query = new Query(this.$el, options, (name, value) => this.$emit(name, value));
  },
  unmounted() {
    this.query.close();
  },
  methods: {
    save(search, among) {
      return this.query.save(search, among);
    },
  },
};
