// A chart of ECharts, in the colours of the page: any text "var(--name)" in its options is that variable's value, and
// is looked up again when the page turns dark or light. Tells the server which point was clicked.
import { echarts } from "nicegui-echart";

function coloured(options, style) {
  if (typeof options === "string") {
    return options.replace(/var\((--[\w-]+)\)/g, (_, name) => style.getPropertyValue(name).trim());
  }
  if (Array.isArray(options)) {
    // Numbers are most of a chart: a list of them is taken as it is.
    return typeof options[0] === "number" ? options : options.map((each) => coloured(each, style));
  }
  if (options && typeof options === "object") {
    return Object.fromEntries(Object.entries(options).map(([name, value]) => [name, coloured(value, style)]));
  }
  return options;
}

export default {
  props: { options: Object, described: String, tall: Number },
  emits: ["picked"],
  render() {
    return Vue.h("div", {
      class: "lehr-chart",
      role: "img",
      "aria-label": this.described,
      style: { height: `${this.tall}px` },
    });
  },
  mounted() {
    this.chart = echarts.init(this.$el, null, { renderer: "canvas" });
    this.chart.on("click", (event) => {
      if (event.componentType === "series") {
        this.$emit("picked", { series: event.seriesName, index: event.dataIndex });
      }
    });
    this.resizing = new ResizeObserver(() => this.chart.resize());
    this.resizing.observe(this.$el);
    this.theme = new MutationObserver(() => this.draw());
    this.theme.observe(document.body, { attributes: true, attributeFilter: ["class"] });
    this.draw();
  },
  unmounted() {
    this.resizing.disconnect();
    this.theme.disconnect();
    this.chart.dispose();
  },
  watch: {
    options() {
      this.draw();
    },
  },
  methods: {
    draw() {
      const options = coloured(this.options, getComputedStyle(document.body));
      this.chart.setOption(options, { replaceMerge: ["series"] });
    },
  },
};
