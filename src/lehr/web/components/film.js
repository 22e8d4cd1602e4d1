// A player with the boxes of the frame that is shown drawn over it. It only shows; which boxes there are, the page says.
import { boxFor } from "/web/media.js";
import { layOver, nearest, watch } from "/web/film.js";
import { make } from "/web/rest.js";

class Film {
  constructor(host, options) {
    this.now = 0;
    this.video = make("video", "lehr-video", { src: options.src, controls: true, preload: "metadata", playsinline: true, "aria-label": options.described });
    this.layer = make("div", "lehr-boxes-layer lehr-boxes-shown", { role: "group", "aria-label": "Boxes in the frame that is shown" });
    host.append(this.video, this.layer);
    this.ends = [
      layOver(this.video, this.layer),
      watch(this.video, (now) => {
        this.now = now;
        this.draw();
      }),
    ];
    this.show(options.moments, options.reach);
  }

  close() {
    for (const end of this.ends) end();
  }

  show(moments, reach) {
    Object.assign(this, { moments, reach, times: moments.map((moment) => moment.ms), shown: null });
    this.draw();
  }

  draw() {
    const index = nearest(this.times, this.now, this.reach);
    if (index === this.shown) return;
    this.shown = index;
    const boxes = this.moments[index]?.boxes || [];
    this.layer.replaceChildren(...boxes.map((each) => boxFor(each.box, each.label, { role: "img", "aria-label": each.label || "no label" })));
  }

  goTo(seconds) {
    this.video.pause();
    this.video.currentTime = seconds;
  }
}

export default {
  props: { src: String, described: String, moments: Array, reach: Number },
  render() {
    return Vue.h("div", { class: "lehr-boxes" });
  },
  mounted() {
    this.film = new Film(this.$el, this.$props);
  },
  unmounted() {
    this.film.close();
  },
  watch: {
    moments(moments) {
      this.film.show(moments, this.reach);
    },
  },
  methods: {
    goTo(seconds) {
      this.film.goTo(seconds);
    },
    seconds() {
      return this.film.video.currentTime;
    },
  },
};
