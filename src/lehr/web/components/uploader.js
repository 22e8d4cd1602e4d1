// Where files are dropped. Reads them, sends them to the public calls in batches, and says what became of each.
// Pictures and videos go as inputs; an archive goes in parts, and the server unpacks it.
import { base64, call, make, underApp } from "/web/rest.js";

const BATCH_FILES = 24;
const BATCH_BYTES = 8_000_000;
const MAX_BYTES = 85 * 2 ** 20;
const PART_BYTES = 8 * 2 ** 20;
const LANES = 2;
const PICTURES = /\.(jpe?g|png|webp|bmp|tiff?)$/i;
const VIDEOS = /\.(mp4|mov|avi|wmv|3gp|webm|mkv|gif)$/i;
const ARCHIVES = /\.(zip|tar|tgz|tar\.gz)$/i;

class Uploader {
  constructor(host, options, tell) {
    this.options = options;
    this.tell = tell;
    this.queue = [];
    this.running = 0;
    this.build(host);
  }

  build(host) {
    this.picker = make("input", "", { type: "file", multiple: true, hidden: true, "aria-label": "Files to add" });
    this.picker.accept = "image/*,video/*,.zip,.tar,.tgz,.tar.gz,.tiff,.tif";
    this.picker.addEventListener("change", () => {
      this.add([...this.picker.files].map((file) => ({ file, folder: "" })));
      this.picker.value = "";
    });
    const button = make("button", "lehr-drop-button", { type: "button" }, "Choose files");
    button.addEventListener("click", () => this.picker.click());
    const words = make("p", "", {}, "Drop images, folders, videos or a zip here, or ");
    words.append(button, ".");
    this.bar = make("div", "lehr-bar-fill");
    const track = make("div", "lehr-bar-track", { hidden: true }, this.bar);
    this.track = track;
    this.state = make("p", "lehr-drop-state", { role: "status", "aria-live": "polite" });
    this.problems = make("ul", "lehr-drop-problems", { hidden: true });
    const into = this.options.dataset ? ` They go into ${this.options.dataset} too.` : "";
    this.byFolder = make("input", "", { type: "checkbox" });
    const byFolder = make("label", "lehr-drop-option", {}, this.byFolder, "Label each picture with its folder's name.", into);
    host.append(make("i", "material-icons q-icon lehr-drop-icon", { "aria-hidden": "true" }, "add_photo_alternate"));
    host.append(make("div", "lehr-drop-words", {}, words, byFolder), this.picker, track, this.state, this.problems);
    this.listen(host);
  }

  listen(host) {
    let depth = 0;
    const lit = (isLit) => host.classList.toggle("lehr-drop-lit", isLit);
    host.addEventListener("dragenter", (event) => {
      event.preventDefault();
      depth += 1;
      lit(true);
    });
    host.addEventListener("dragover", (event) => event.preventDefault());
    host.addEventListener("dragleave", () => {
      depth -= 1;
      lit(depth > 0);
    });
    host.addEventListener("drop", async (event) => {
      event.preventDefault();
      depth = 0;
      lit(false);
      this.add(await dropped(event.dataTransfer));
    });
  }

  add(found) {
    if (!this.total) this.begin();
    for (const each of found) {
      const name = each.file.name;
      if (name.startsWith(".") || name === "Thumbs.db") continue;
      this.total += 1;
      const kind = kindOf(each.file);
      if (!kind) this.refuse(name, "is neither a picture, a video nor an archive that is known here");
      else if (kind !== "archive" && each.file.size > MAX_BYTES) this.refuse(name, "is larger than 85 MB");
      else this.queue.push({ ...each, kind });
    }
    this.paint();
    this.pump();
  }

  begin() {
    Object.assign(this, { total: 0, done: 0, refused: 0, archives: 0, job: newId() });
    this.problems.replaceChildren();
    this.problems.hidden = true;
  }

  pump() {
    while (this.running < LANES && this.queue.length) {
      this.running += 1;
      this.send(this.next()).finally(() => {
        this.running -= 1;
        if (this.queue.length) this.pump();
        else if (!this.running) this.end();
      });
    }
  }

  next() {
    const batch = [this.queue.shift()];
    if (batch[0].kind === "archive") return batch;
    let size = batch[0].file.size;
    while (this.queue.length && batch.length < BATCH_FILES && this.queue[0].kind !== "archive") {
      size += this.queue[0].file.size;
      if (size > BATCH_BYTES) break;
      batch.push(this.queue.shift());
    }
    return batch;
  }

  async send(batch) {
    try {
      if (batch[0].kind === "archive") await this.sendArchive(batch[0].file);
      else await this.sendInputs(batch);
    } catch (error) {
      for (const each of batch) this.refuse(each.file.name, error.message);
    }
    this.paint();
  }

  async sendInputs(batch) {
    const inputs = await Promise.all(batch.map((each) => this.inputOf(each)));
    const body = { inputs, inputs_add_job_id: this.job, input_id_conflict_resolution: "SUFFIX" };
    const answer = await call("POST", underApp(this.options.app, "inputs"), body, { partial: "inputs" });
    (answer.inputs || []).forEach((input, index) => {
      const status = input.status || {};
      if ([30000, 30001, 30003].includes(status.code)) this.done += 1;
      else this.refuse(batch[index].file.name, status.details || status.description);
    });
  }

  async inputOf({ file, folder, kind }) {
    const data = { [kind]: { base64: await base64(file) }, metadata: { filename: file.name } };
    const label = this.byFolder.checked ? folder : "";
    if (label) data.concepts = [{ id: idFrom(label), name: label, value: 1 }];
    const input = { id: idFrom(file.name.replace(/\.[^.]+$/, "")) || newId(), data };
    if (this.options.dataset) input.dataset_ids = [this.options.dataset];
    return input;
  }

  async sendArchive(file) {
    const template = { data: {} };
    if (this.options.dataset) template.dataset_ids = [this.options.dataset];
    const upload = { content_name: file.name, content_length: file.size };
    const body = { inputs_uploads: [{ upload, input_template: template, inputs_add_job_id: newId() }] };
    const answer = await call("POST", underApp(this.options.app, "inputs", "uploads"), body);
    const made = answer.inputs_add_jobs[0].uploads[0];
    for (let part = 0, start = 0; start < file.size; part += 1, start += PART_BYTES) {
      const data = await base64(file.slice(start, start + PART_BYTES));
      const parts = { content_parts: [{ range_start: start, part_number: part + 1, data }] };
      await call("PUT", underApp(this.options.app, "uploads", made.id, "content_parts"), parts);
      this.state.textContent = `Sending ${file.name}: ${Math.round((100 * (start + PART_BYTES)) / file.size)} %`;
    }
    this.done += 1;
    this.archives += 1;
  }

  refuse(name, why) {
    this.refused += 1;
    this.problems.hidden = false;
    if (this.problems.childElementCount < 50) this.problems.append(make("li", "", {}, `${name}: ${why}`));
  }

  paint() {
    const over = this.done + this.refused;
    this.track.hidden = !this.total;
    this.bar.style.width = this.total ? `${(100 * over) / this.total}%` : "0";
    const refused = this.refused ? `, ${this.refused} refused` : "";
    this.state.textContent = this.total ? `${this.done} of ${this.total} added${refused}` : "";
  }

  end() {
    const result = { added: this.done, refused: this.refused, archives: this.archives };
    this.paint();
    this.total = 0;
    if (result.added || result.refused) this.tell("uploaded", result);
  }
}

function kindOf(file) {
  if (ARCHIVES.test(file.name)) return "archive";
  if (VIDEOS.test(file.name) || file.type.startsWith("video/")) return "video";
  if (PICTURES.test(file.name) || file.type.startsWith("image/")) return "image";
  return "";
}

/** Every file that was dropped, those in folders too, each with the name of its folder. */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ file, folder: "" }));
  const found = [];
  for (const entry of entries) await walk(entry, "", found);
  return found;
}

async function walk(entry, folder, found) {
  if (entry.isFile) {
    found.push({ file: await new Promise((resolve, reject) => entry.file(resolve, reject)), folder });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const each of some) await walk(each, entry.name, found);
  }
}

function idFrom(name) {
  return name.replace(/[^-_0-9A-Za-z]+/g, "-").replace(/^[-_]+|[-_]+$/g, "").slice(0, 40);
}

function newId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export default {
  props: { app: Object, dataset: String },
  emits: ["uploaded"],
  render() {
    return Vue.h("div", { class: "lehr-drop" });
  },
  mounted() {
    this.uploader = new Uploader(this.$el, this.$props, (name, value) => this.$emit(name, value));
  },
};
