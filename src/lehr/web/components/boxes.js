// The box editor as an element of a page; what it does is in static/box_editor.js.
import { Boxes } from "/web/box_editor.js";

export default {
  props: { src: String, described: String, boxes: Array, label: String, fixed: Boolean },
  emits: ["drawn", "changed", "removed", "chosen", "loaded"],
  render() {
    return Vue.h("div", { class: "lehr-boxes" });
  },
  mounted() {
    this.editor = new Boxes(this.$el, this.$props, (name, value) => this.$emit(name, value));
  },
  unmounted() {
    this.editor.close();
  },
  watch: {
    boxes(boxes) {
      this.editor.show(boxes);
    },
    src(src) {
      this.editor.image.src = src;
    },
  },
  methods: {
    focusOn(id) {
      this.editor.focusOn(id);
    },
  },
};
