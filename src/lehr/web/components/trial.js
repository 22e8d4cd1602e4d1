// Trying a model or a workflow: a picture or a video is dropped, sent to the public call, and shown with what was found:
// concepts as bars, boxes on the picture, frames on a line of time. Tells the server what is looked at, never the bytes.
import { kept, keep, sendable } from "/web/kept.js";
import { layOver, nearest, reachOf, watch } from "/web/film.js";
import { boxOf, dropWords, isVideo, takeFiles } from "/web/media.js";
import { base64, call, make, pageUnder, underApp } from "/web/rest.js";
import { likeThis, outputOf } from "/web/outputs.js";

const LOADING = 21355;
const WAIT_MS = [1000, 1500, 2000, 3000];
const HALF_A_SECOND = 500; // how far the one frame of a short video reaches: they are asked for once a second
const ACCEPT = "image/*,video/*,.tiff,.tif,.mkv,.avi";

class Trial {
  constructor(host, options, tell) {
    Object.assign(this, { host, options, tell, least: options.least ?? 0, chosenOutput: 0, frame: 0, isOnFrame: true, turn: 0, ends: [] });
    this.build();
    this.look();
  }

  close() {
    this.turn += 1;
    clearTimeout(this.waiting);
    this.files.close();
    this.letGo();
  }

  /** Of the video that was shown. */
  letGo() {
    for (const end of this.ends.splice(0)) end();
  }

  build() {
    this.stage = make("div", "lehr-trial-stage");
    this.files = takeFiles(this.stage, ACCEPT, (file) => this.take(file));
    this.drop = make("div", "lehr-drop");
    this.drop.append(
      make("i", "material-icons q-icon lehr-drop-icon", { "aria-hidden": "true" }, "add_photo_alternate"),
      make("div", "lehr-drop-words", {}, dropWords("Drop a picture or a video here", this.files.picker)),
    );
    this.medium = make("div", "lehr-trial-medium");
    this.line = make("div", "lehr-trial-line", { role: "listbox", "aria-label": "Frames", hidden: true });
    this.stage.append(this.drop, this.files.picker, this.medium, this.line);
    this.state = make("p", "lehr-trial-state", { role: "status", "aria-live": "polite" });
    this.found = make("section", "lehr-card lehr-trial-found", { "aria-label": "What was found" });
    this.host.append(this.stage, this.found);
    this.say("Nothing yet: drop a picture, or choose an input.");
  }

  // -- what is looked at ------------------------------------------------------------------------------------------------

  async take(file) {
    this.file = file;
    this.options.input = "";
    try {
      this.options.picture = await keep(file);
      this.tell("dropped", this.options.picture);
    } catch (error) {
      this.tell("problem", error.message);
    }
    this.show(file);
    this.run();
  }

  async look() {
    try {
      if (this.options.input) await this.lookAtInput();
      else if (this.options.picture) {
        this.file = this.file || (await kept(this.options.picture));
        if (!this.file) return this.say("That picture was dropped in another browser: drop it here again.");
        this.show(this.file);
      } else return undefined;
      await this.run();
    } catch (error) {
      this.say(error.message, true);
    }
    return undefined;
  }

  async lookAtInput() {
    const answer = await call("GET", underApp(this.options.app, "inputs", this.options.input));
    const data = answer.input.data || {};
    this.file = null;
    this.showAddress(new URL((data.video || data.image || {}).url, window.location).pathname, Boolean(data.video));
  }

  show(file) {
    if (this.address) URL.revokeObjectURL(this.address);
    this.address = URL.createObjectURL(file);
    this.showAddress(this.address, isVideo(file) && file.type !== "image/gif");
  }

  showAddress(address, asVideo) {
    this.letGo();
    this.video = null;
    this.layer = make("div", "lehr-boxes-layer lehr-boxes-shown");
    const shown = asVideo
      ? make("video", "lehr-boxes-picture", { src: address, controls: true, muted: true, preload: "auto", "aria-label": "The video" })
      : make("img", "lehr-boxes-picture", { src: address, alt: "The picture that is looked at" });
    shown.addEventListener("error", () => {
      if (shown.isConnected) shown.replaceWith(make("p", "lehr-trial-unseen", {}, "This browser cannot show this kind of file; the server may know it all the same."));
    });
    const frame = make("div", "lehr-boxes", {}, shown, this.layer);
    this.medium.replaceChildren(frame);
    if (asVideo) {
      this.video = shown;
      this.ends = [layOver(shown, this.layer), watch(shown, (now) => this.follow(now))];
    }
    this.line.hidden = true;
    this.drop.classList.add("lehr-drop-slim");
  }

  // -- the call ---------------------------------------------------------------------------------------------------------

  async run() {
    const turn = (this.turn += 1);
    if (!this.options.target) return;
    const began = performance.now();
    let loading = "";
    for (let attempt = 0; turn === this.turn; attempt += 1) {
      this.say(attempt ? `${loading} Asked ${attempt + 1} times; asking again by itself …` : "Looking …");
      try {
        const answer = await this.asked();
        if (turn === this.turn) this.answered(answer, performance.now() - began);
        return;
      } catch (error) {
        if (turn !== this.turn) return;
        if (error.code !== LOADING) return this.say(error.message, true);
        loading = error.message;
      }
      await new Promise((resolve) => {
        this.waiting = setTimeout(resolve, WAIT_MS[Math.min(attempt, WAIT_MS.length - 1)]);
      });
    }
  }

  async asked() {
    const { app, target } = this.options;
    const inputs = [await this.input()];
    if (target.kind === "workflow") {
      const under = target.version ? ["versions", target.version] : [];
      const answer = await call("POST", underApp(app, "workflows", target.id, ...under, "results"), { inputs }, { partial: "results" });
      refuse(answer.results[0].status);
      return answer.results[0].outputs || [];
    }
    const under = target.version ? ["versions", target.version] : [];
    const answer = await call("POST", underApp(app, "models", target.id, ...under, "outputs"), { inputs }, { partial: "outputs" });
    refuse(answer.outputs[0].status);
    return answer.outputs;
  }

  async input() {
    if (this.options.input) return { id: this.options.input };
    const kind = isVideo(this.file) ? "video" : "image";
    const sent = kind === "video" ? this.file : await sendable(this.file);
    return { data: { [kind]: { base64: await base64(sent) } } };
  }

  // -- what was found ---------------------------------------------------------------------------------------------------

  answered(outputs, milliseconds) {
    this.outputs = outputs;
    this.chosenOutput = Math.min(this.chosenOutput, Math.max(0, outputs.length - 1));
    this.frame = 0;
    this.isOnFrame = true;
    this.say(`Answered in ${milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`}.`);
    this.draw();
  }

  say(sentence, isBad = false) {
    this.state.textContent = sentence;
    this.state.classList.toggle("lehr-problem", isBad);
    if (isBad) this.outputs = null;
    this.found.replaceChildren(this.state, ...[...this.found.children].filter((each) => each !== this.state && !isBad));
  }

  get frames() {
    return this.outputs?.[this.chosenOutput]?.data?.frames || null;
  }

  /** What the panel shows: the whole picture, or the frame that is chosen. */
  get data() {
    if (!this.outputs) return {};
    return (this.frames ? this.frames[this.frame]?.data : this.outputs[this.chosenOutput]?.data) || {};
  }

  draw() {
    const parts = [this.state];
    if (this.outputs.length > 1) parts.push(this.tabs());
    const shown = outputOf(this.data, {
      least: this.least,
      onLeast: (least) => this.setLeast(least),
      onHover: (index) => this.light(index),
      searchFor: (region) => this.searchFor(region),
    });
    const whole = this.searchFor(null);
    if (whole) parts.push(make("div", "lehr-line lehr-small", {}, likeThis(whole, "the whole picture"), "More like the whole picture"));
    if (this.frames) parts.push(make("p", "lehr-quiet lehr-small", {}, this.frameWords()));
    parts.push(shown);
    this.found.replaceChildren(...parts);
    this.drawBoxes();
    this.drawLine();
  }

  /** The address of the search for what looks like a region of the picture, or like all of it: null for a film. */
  searchFor(region) {
    const { app, input, picture } = this.options;
    if (this.frames || this.video || !(input || picture)) return null;
    const query = new URLSearchParams(input ? { input } : { picture });
    const corners = region?.region_info?.bounding_box;
    if (region && !corners) return null;
    if (corners) query.set("box", ["top_row", "left_col", "bottom_row", "right_col"].map((side) => (corners[side] || 0).toFixed(4)).join(","));
    return `${pageUnder(app, "search")}?${query}`;
  }

  tabs() {
    const list = make("div", "lehr-trial-tabs", { role: "group", "aria-label": "Outputs of the workflow" });
    this.outputs.forEach((output, index) => {
      const isLit = index === this.chosenOutput;
      const name = this.options.target.nodes?.[index] || output.model?.name || output.model?.id || `Output ${index + 1}`;
      const button = make("button", `lehr-trial-tab${isLit ? " lehr-trial-tab-lit" : ""}`, { type: "button", "aria-pressed": String(isLit) }, name);
      button.addEventListener("click", () => {
        this.chosenOutput = index;
        this.draw();
      });
      list.append(button);
    });
    return list;
  }

  setLeast(least) {
    this.least = least;
    this.drawBoxes();
    this.drawLine();
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.tell("least", least), 400);
  }

  drawBoxes() {
    if (!this.layer) return;
    this.boxes = (this.data.regions || []).map((region, index) => {
      const best = region.data?.concepts?.[0];
      if ((best?.value ?? region.value ?? 1) < this.least) return null;
      const box = boxOf(region, best ? `${best.name || best.id} ${(best.value || 0).toFixed(2)}` : `region ${index + 1}`);
      box.tabIndex = -1;
      return box;
    });
    this.layer.replaceChildren(...(this.isOnFrame ? this.boxes.filter(Boolean) : []));
  }

  light(index) {
    (this.boxes || []).forEach((box, at) => box?.classList.toggle("lehr-box-chosen", at === index));
  }

  // -- frames -----------------------------------------------------------------------------------------------------------

  frameWords() {
    if (!this.frames.length) return "Nothing was found in any frame.";
    const info = this.frames[this.frame]?.frame_info || {};
    return `Frame ${this.frame + 1} of ${this.frames.length}, at ${clock(info.time || 0)}`;
  }

  drawLine() {
    const frames = this.frames;
    this.line.hidden = !frames?.length;
    if (!frames?.length) return;
    this.line.replaceChildren(...frames.map((each, index) => this.tick(each, index)));
  }

  tick(each, index) {
    const best = bestOf(each.data || {});
    const isLit = index === this.frame;
    const words = `At ${clock(each.frame_info?.time || 0)}: ${best ? `${best.name || best.id} ${(best.value || 0).toFixed(2)}` : "nothing"}`;
    const tick = make("button", `lehr-trial-tick${isLit ? " lehr-trial-tick-lit" : ""}`, {
      type: "button",
      role: "option",
      "aria-selected": String(isLit),
      "aria-label": words,
      title: words,
      tabindex: isLit ? "0" : "-1",
    });
    const fill = make("span", "lehr-trial-tick-fill");
    const value = best?.value || 0;
    fill.style.height = `${Math.max(4, 100 * (value >= this.least ? value : 0))}%`;
    tick.append(fill);
    tick.addEventListener("click", () => this.goTo(index));
    tick.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, Home: -index, End: this.frames.length - 1 - index }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      this.goTo(Math.min(this.frames.length - 1, Math.max(0, index + step)));
      this.line.children[this.frame].focus();
    });
    return tick;
  }

  goTo(index) {
    this.frame = index;
    this.isOnFrame = true;
    const time = (this.frames[index].frame_info?.time || 0) / 1000;
    if (this.video && Math.abs(this.video.currentTime - time) > 0.01) {
      this.video.pause();
      this.video.currentTime = time;
    }
    this.draw();
  }

  /** What is on the screen decides which frame the panel shows; its boxes go where it is too far from every frame. */
  follow(now) {
    if (!this.frames?.length || this.video.seeking) return;
    const times = this.frames.map((each) => each.frame_info?.time || 0);
    const index = nearest(times, now, Infinity);
    const isOnFrame = nearest(times, now, reachOf(times, HALF_A_SECOND)) === index;
    if (index === this.frame && isOnFrame === this.isOnFrame) return;
    const isOther = index !== this.frame;
    Object.assign(this, { frame: index, isOnFrame });
    if (isOther) this.draw();
    else this.drawBoxes();
  }

  /** Another model, input or picture than before. */
  use(options) {
    const isOther = options.input !== this.options.input;
    Object.assign(this.options, options);
    this.chosenOutput = 0;
    if (isOther && options.input) this.look();
    else if (this.file || this.options.input) this.run();
  }
}

function refuse(status) {
  if (status && status.code !== 10000) throw Object.assign(new Error(status.details || status.description), { code: status.code });
}

function bestOf(data) {
  const all = [...(data.concepts || []), ...(data.regions || []).flatMap((region) => region.data?.concepts || [])];
  return all.reduce((best, each) => (!best || (each.value || 0) > (best.value || 0) ? each : best), null);
}

function clock(milliseconds) {
  const seconds = milliseconds / 1000;
  const rest = (seconds % 60).toFixed(1).padStart(4, "0");
  return `${Math.floor(seconds / 60)}:${rest}`;
}

export default {
  props: { app: Object, target: Object, input: String, picture: String, least: Number },
  emits: ["dropped", "least", "problem"],
  render() {
    return Vue.h("div", { class: "lehr-trial" });
  },
  mounted() {
    const options = { app: this.app, target: this.target, input: this.input, picture: this.picture, least: this.least };
    this.trial = new Trial(this.$el, options, (name, value) => this.$emit(name, value));
  },
  unmounted() {
    this.trial.close();
  },
  methods: {
    use(options) {
      this.trial.use(options);
    },
  },
};
