// The log of one attempt, shown in windows: what is seen is fetched, what is far away is let go. Opens at the end of
// a running attempt, at the first error of a failed one, at the top otherwise.

import { pieces } from "/static/ansi.js";
import { get } from "/static/http.js";

const WINDOW = 500;
const MOST_LINES = 4000;
const NEAR = 600;
const MOST_SEARCHED = 100000;

const byId = (id) => document.getElementById(id);

class LogViewer {
  constructor(panel) {
    this.panel = panel;
    this.box = byId("log-lines");
    this.run = panel.dataset.log;
    this.attempt = Number(panel.dataset.attempt);
    this.follow = false;
    this.busy = Promise.resolve();
    this.reset();
  }

  reset() {
    Object.assign(this, { start: 0, end: 0, total: 0, next: 0, ended: false, origin: null });
    this.box.replaceChildren();
  }

  // Requests are made one after another, so that windows never arrive out of order.
  queue(work) {
    this.busy = this.busy.then(work).catch((error) => this.tell(error.message || "The log cannot be fetched."));
    return this.busy;
  }

  fetch(parameters) {
    const query = new URLSearchParams({ attempt: this.attempt, ...parameters });
    return get(`/api/v1/runs/${this.run}/logs?${query}`);
  }

  open(state) {
    if (!this.attempt) return this.tell(this.silence(state));
    const line = /^#L(\d+)/.exec(location.hash);
    return this.queue(async () => {
      if (line) await this.show({ from: Math.max(0, line[1] - 50), limit: WINDOW }, Number(line[1]));
      else if (["running", "starting"].includes(state)) await this.showEnd(true);
      else if (["failed", "timed-out"].includes(state)) await this.showFirstError();
      else await this.show({ from: 0, limit: WINDOW });
    });
  }

  silence(state) {
    const words = { queued: "It has not started yet.", starting: "It is starting.", skipped: "It was skipped and wrote nothing.", missed: "It never ran." };
    return words[state] ?? "This run wrote no output.";
  }

  async show(parameters, marked = null) {
    const found = await this.fetch(parameters);
    this.reset();
    this.start = found.from;
    this.append(found);
    const target = marked === null ? null : this.box.querySelector(`[data-line="${marked}"]`);
    if (target) {
      target.classList.add("marked");
      this.centre(target);
    } else this.box.scrollTop = 0;
    return found;
  }

  async showEnd(follow) {
    byId("log-follow").checked = follow;
    this.follow = follow;
    await this.show({ from: -WINDOW, limit: 1000 });
    this.box.scrollTop = this.box.scrollHeight;
  }

  async showFirstError() {
    const found = await this.show({ from: 0, limit: WINDOW, find: "error" });
    const target = this.box.querySelector(`[data-line="${found.first_error}"]`);
    if (!target) return;
    target.classList.add("marked");
    this.centre(target);
  }

  // Scrolls the log alone; the page around it stays where it is.
  centre(row) {
    this.box.scrollTop = row.offsetTop - this.box.offsetTop - this.box.clientHeight / 2;
  }

  append(found) {
    this.note(found);
    const lines = found.lines.filter((line) => line.offset >= this.end || this.end === 0);
    this.box.append(...lines.map((line) => this.row(line)));
    this.end = found.lines.length ? found.lines.at(-1).offset + 1 : Math.max(this.end, found.from);
    while (this.box.childElementCount > MOST_LINES) this.box.firstElementChild.remove();
    if (this.box.firstElementChild) this.start = Number(this.box.firstElementChild.dataset.line);
    this.place();
  }

  prepend(found) {
    const height = this.box.scrollHeight;
    this.box.prepend(...found.lines.filter((line) => line.offset < this.start).map((line) => this.row(line)));
    this.box.scrollTop += this.box.scrollHeight - height;
    while (this.box.childElementCount > MOST_LINES) this.box.lastElementChild.remove();
    this.start = found.from;
    this.end = Number(this.box.lastElementChild?.dataset.line ?? -1) + 1;
    this.place();
  }

  note(found) {
    Object.assign(this, { total: found.total, ended: found.ended });
    this.origin ??= found.lines.length && found.lines[0].offset === 0 ? Date.parse(found.lines[0].time) : null;
  }

  place() {
    const place = byId("log-place");
    place.textContent = this.total ? `lines ${this.start + 1}–${this.end} of ${this.total}` : "";
    const empty = byId("log-empty");
    empty.hidden = this.total > 0;
    if (!this.total) empty.textContent = this.ended ? "This run wrote no output." : "No output yet.";
    this.box.hidden = this.total === 0;
  }

  tell(text) {
    const empty = byId("log-empty");
    empty.hidden = false;
    empty.textContent = text;
    this.box.hidden = this.box.childElementCount === 0;
  }

  row(line) {
    const row = document.createElement("div");
    row.className = `line ${line.stream}`;
    row.dataset.line = line.offset;
    const number = document.createElement("a");
    number.href = `#L${line.offset}`;
    number.id = `L${line.offset}`;
    number.textContent = line.offset + 1;
    const time = document.createElement("time");
    time.dateTime = line.time;
    time.title = line.time;
    time.textContent = this.timeText(line.time);
    const text = document.createElement("span");
    for (const piece of pieces(line.text)) {
      if (!piece.classes) text.append(piece.text);
      else {
        const part = document.createElement("i");
        part.className = piece.classes;
        part.textContent = piece.text;
        text.append(part);
      }
    }
    row.append(number, time, text);
    return row;
  }

  timeText(text) {
    if (byId("log-time").value === "absolute") return text.slice(11, 23);
    const begin = Date.parse(this.panel.dataset.started || "") || this.origin;
    return begin === null ? text.slice(11, 23) : `+${((Date.parse(text) - begin) / 1000).toFixed(2)}s`;
  }

  more() {
    return this.queue(async () => {
      if (this.ended && this.end >= this.total) return;
      const found = await this.fetch({ from: this.end, limit: 1000 });
      this.append(found);
      if (this.follow) this.box.scrollTop = this.box.scrollHeight;
      if (found.lines.length === 1000 && this.follow) this.more();
    });
  }

  earlier() {
    return this.queue(async () => {
      if (this.start === 0) return;
      const from = Math.max(0, this.start - WINDOW);
      this.prepend(await this.fetch({ from, limit: this.start - from }));
    });
  }

  scrolled() {
    if (this.loading) return;
    const below = this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight;
    const work = this.box.scrollTop < NEAR && this.start > 0 ? this.earlier() : below < NEAR && this.end < this.total ? this.more() : null;
    if (!work) return;
    this.loading = true;
    work.finally(() => (this.loading = false));
  }

  retime() {
    for (const time of this.box.querySelectorAll("time")) time.textContent = this.timeText(time.dateTime);
  }

  async find(text, from) {
    for (const row of this.box.querySelectorAll(".line.hit")) this.unmark(row);
    const hits = byId("log-hits");
    if (!text) return void (hits.textContent = "");
    const wanted = text.toLowerCase();
    for (let at = from, searched = 0; searched < MOST_SEARCHED; ) {
      const found = await this.fetch({ from: at, limit: 1000 });
      if (!found.lines.length) break;
      const hit = found.lines.find((line) => line.text.toLowerCase().includes(wanted));
      if (hit) return this.jump(hit.offset, text);
      at = found.lines.at(-1).offset + 1;
      searched += found.lines.length;
    }
    hits.textContent = from > 0 ? "no more" : "not found";
  }

  async jump(offset, text) {
    if (!this.box.querySelector(`[data-line="${offset}"]`)) await this.show({ from: Math.max(0, offset - 100), limit: WINDOW });
    const row = this.box.querySelector(`[data-line="${offset}"]`);
    row.classList.add("hit", "marked");
    this.mark(row, text);
    this.centre(row);
    this.found = offset;
    byId("log-hits").textContent = `line ${offset + 1} · Enter: next`;
  }

  mark(row, text) {
    const walker = document.createTreeWalker(row.querySelector("span"), NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const at = node.data.toLowerCase().indexOf(text.toLowerCase());
      if (at < 0) continue;
      const rest = node.splitText(at);
      rest.splitText(text.length);
      const mark = document.createElement("mark");
      rest.replaceWith(mark);
      mark.append(rest);
      return;
    }
  }

  unmark(row) {
    row.classList.remove("hit", "marked");
    row.querySelectorAll("mark").forEach((mark) => mark.replaceWith(mark.textContent));
    row.querySelector("span").normalize();
  }
}

function wire(viewer) {
  const { box } = viewer;
  byId("log-attempt").addEventListener("change", (event) => {
    viewer.attempt = Number(event.target.value);
    viewer.reset();
    viewer.open(event.target.selectedOptions[0].textContent.split(": ")[1]);
  });
  byId("log-stream").addEventListener("change", (event) => {
    box.classList.toggle("only-stdout", event.target.value === "stdout");
    box.classList.toggle("only-stderr", event.target.value === "stderr");
  });
  byId("log-time").addEventListener("change", (event) => {
    box.classList.toggle("time-none", event.target.value === "none");
    viewer.retime();
  });
  byId("log-wrap").addEventListener("change", (event) => box.classList.toggle("wrap", event.target.checked));
  byId("log-follow").addEventListener("change", (event) => {
    viewer.follow = event.target.checked;
    if (viewer.follow) viewer.queue(() => viewer.showEnd(true));
  });
  byId("log-error").addEventListener("click", () => viewer.queue(() => viewer.showFirstError()));
  byId("log-top").addEventListener("click", () => viewer.queue(() => viewer.show({ from: 0, limit: WINDOW })));
  byId("log-end").addEventListener("click", () => viewer.queue(() => viewer.showEnd(viewer.follow)));
  byId("log-find").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    const again = event.target.value === viewer.sought ? viewer.found + 1 : 0;
    viewer.sought = event.target.value;
    viewer.queue(() => viewer.find(viewer.sought, again || 0));
  });
  box.addEventListener("scroll", () => viewer.scrolled(), { passive: true });
  box.addEventListener("wheel", (event) => {
    if (event.deltaY < 0 && viewer.follow) byId("log-follow").click();
  }, { passive: true });
}

export function startLog() {
  const panel = document.querySelector("[data-log]");
  if (!panel) return;
  const viewer = new LogViewer(panel);
  wire(viewer);
  viewer.open(panel.dataset.state);
  document.body.addEventListener("live-topics", () => {
    if (viewer.attempt && !viewer.ended) viewer.more();
  });
  // The panel is left alone when the page around it is refreshed; what it must know is taken from the rest of it.
  document.body.addEventListener("htmx:after:swap", () => refreshAttempts(viewer));
}

async function refreshAttempts(viewer) {
  const run = await get(`/api/v1/runs/${viewer.run}`).catch(() => null);
  const select = byId("log-attempt");
  if (!run) return;
  const known = [...select.options].map((option) => option.textContent).join();
  const options = run.attempts.map((attempt) => new Option(`${attempt.number}: ${attempt.state}`, attempt.number));
  if (options.map((option) => option.textContent).join() === known) return;
  const newer = run.attempt !== Number([...select.options].at(-1)?.value ?? 0);
  select.replaceChildren(...options);
  if (newer) {
    viewer.attempt = run.attempt;
    viewer.reset();
    viewer.open("running");
  } else viewer.more();
  select.value = String(viewer.attempt);
}
