// A button that reads a small file of text.
import { make } from "/web/rest.js";

const MAX_BYTES = 256_000;

export default {
  props: { label: String, accept: String },
  emits: ["read"],
  render() {
    return Vue.h("div", { class: "lehr-text-file" });
  },
  mounted() {
    const picker = make("input", "", { type: "file", hidden: true, accept: this.accept, "aria-label": this.label });
    const button = make("button", "lehr-drop-button", { type: "button" }, this.label);
    const state = make("span", "lehr-quiet lehr-small", { role: "status" });
    button.addEventListener("click", () => picker.click());
    picker.addEventListener("change", async () => {
      const file = picker.files[0];
      picker.value = "";
      if (!file) return;
      state.textContent = file.size > MAX_BYTES ? ` ${file.name} is larger than 256 kB.` : ` ${file.name}`;
      if (file.size <= MAX_BYTES) this.$emit("read", await file.text());
    });
    this.$el.append(button, picker, state);
  },
};
