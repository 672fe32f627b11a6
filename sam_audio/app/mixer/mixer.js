// The mixer: one time line, one transport, all tracks in step.
//
// Python sends the tracks (the address of each sound, its fader, what is said about it); this plays them and reports
// faders, the selected stretch and marks back. The last word on faders is Python's (undo), except while a change is
// still on its way there: `seq` counts the changes, and data that has not seen the latest one does not move the faders.

const mixers = new WeakMap();

export default function (component) {
  const { parentElement, data, setStateValue, setTriggerValue } = component;
  let mixer = mixers.get(parentElement);
  if (!mixer) {
    mixer = new Mixer(parentElement);
    mixers.set(parentElement, mixer);
  }
  mixer.send = (state) => setStateValue("state", state);
  mixer.remove = (name) => setTriggerValue("remove", name);
  mixer.mark = (mark) => setTriggerValue("mark", mark);
  mixer.update(data);
  const host = parentElement.host || parentElement;
  return () => setTimeout(() => host.isConnected || (mixer.close(), mixers.delete(parentElement)), 0);
}

const STEP_S = 0.25, SHORTEST_VIEW_S = 0.25;
const KEYS = [
  ["Space", "play and pause, wherever no text is typed"], ["← →", "move by a quarter of a second, with Shift: select"],
  ["Home End", "to the beginning, to the end"], ["[ ]", "begin and end the selection here"], ["L", "loop"],
  ["B", "other take, where two are compared"], ["+ −", "zoom"], ["Esc", "clear the selection"], ["?", "this list"],
  ["Ctrl + wheel", "zoom, on a track; on the ruler the wheel alone"], ["Shift + wheel", "scroll"],
];

class Mixer {
  constructor(parent) {
    this.seq = 0;
    this.tracks = new Map(); // name -> Track
    this.selection = null; // [start, end] in seconds
    this.view = [0, 1]; // seconds that are seen
    this.hear = "mix"; // or original, or beside: the take that is compared
    this.loop = false;
    this.follow = true;
    this.player = new Player(() => this.tracks.values(), () => this.end());
    this.root = element("section", { class: "mixer", "aria-label": "Mixer" });
    parent.querySelector?.("#mixer")?.replaceWith(this.root) ?? parent.append(this.root);
    this.host = parent.host || parent;
    this.host.mixer = this; // for tests
    this.build();
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this.lanes);
    this.pressed = (event) => this.key(event);
    this.touched = () => { this.byPointer = true; };
    document.addEventListener("keydown", this.pressed, true);
    document.addEventListener("pointerdown", this.touched, true);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.scheme.addEventListener("change", () => setTimeout(() => this.update(this.data), 300));
  }

  build() {
    this.play = button("Play", "▶ Play", () => this.toggle());
    this.play.classList.add("play");
    this.rewind = button("Back to the start", "|◂", () => this.seek(this.selection ? this.selection[0] : 0));
    this.looper = button("Loop", "⟳ Loop", () => this.setLoop(!this.loop), false);
    this.follower = button("Follow the playing position", "⇥ Follow", () => { this.follow = !this.follow; this.show(); }, true);
    this.choices = { mix: button("Hear the mix", "Mix", () => this.compare("mix"), true),
      beside: button("Hear the other take", "B", () => this.compare("beside"), false),
      original: button("Hear the original", "Original", () => this.compare("original"), false) };
    this.time = element("span", { class: "time" });
    this.chosen = element("span", { class: "chosen", role: "status" });
    this.clear = button("Clear the selection", "✕", () => this.select(null, true));
    const group = (label, ...buttons) => element("span", { class: "group", role: "group", "aria-label": label }, ...buttons);
    this.helper = button("Shortcuts", "?", () => this.showKeys(this.keys.hidden), false);
    this.helper.classList.add("helper");
    this.bar = element("div", { class: "bar", role: "toolbar", "aria-label": "Transport" },
      this.play, this.rewind, this.looper, group("Compare", ...Object.values(this.choices)),
      group("Zoom", button("Zoom out", "−", () => this.zoom(2)), button("Zoom in", "+", () => this.zoom(0.5)), button("Show everything", "↔", () => this.look(0, this.duration))),
      this.follower, this.helper, this.time, this.chosen, this.clear);
    this.keys = element("dl", { class: "keys", hidden: "" }, ...KEYS.flatMap(([keys, does]) => [element("dt", { text: keys }), element("dd", { text: does })]));
    this.map = element("canvas", { class: "map", "aria-hidden": true, onpointerdown: (e) => this.dragMap(e) });
    this.ruler = element("canvas", { class: "ruler", "aria-hidden": true, onpointerdown: (e) => this.drag(e, this.ruler) });
    this.rows = element("div", { class: "rows" });
    this.lanes = element("div", { class: "lanes" }, element("div", { class: "over-lanes" }, this.map, this.ruler), this.rows);
    this.picture = new Picture(this);
    this.root.append(this.bar, this.keys, element("div", { class: "stage" }, this.lanes, this.picture.root));
    this.lanes.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  // ---- what Python says -------------------------------------------------------------------------------

  update(data) {
    if (!data) return;
    if (data.token !== this.token) { // another recording
      this.player.stop();
      this.player.at = 0;
      this.token = data.token;
      this.selection = null;
      this.follow = true;
      this.hear = "mix";
      this.view = [0, data.seconds];
      this.measured = undefined;
    }
    this.data = data;
    this.colours = getComputedStyle(this.host).colorScheme.includes("dark") ? DARK : LIGHT;
    const names = data.tracks.map((track) => track.name);
    const changed = names.join("\n") !== [...this.tracks.keys()].join("\n");
    for (const [name, track] of this.tracks) if (!names.includes(name)) { track.discard(); this.tracks.delete(name); }
    const current = data.seq >= this.seq;
    const ordered = new Map();
    let replaced = changed;
    for (const given of data.tracks) {
      const track = this.tracks.get(given.name) || new Track(this, given);
      replaced ||= track.address !== given.address;
      track.update(given, current);
      ordered.set(given.name, track);
    }
    this.tracks = ordered;
    this.stems = [...ordered.values()].filter((track) => track.kind === "stem" && !track.beside);
    if (current) this.selection = data.selection && data.selection[1] > data.selection[0] ? data.selection : null;
    if (changed) this.rows.replaceChildren(...[...ordered.values()].filter((track) => !track.beside).map((track) => track.row));
    if (this.hear === "beside" && !data.other) this.hear = "mix";
    this.seq = Math.max(this.seq, data.seq);
    this.root.classList.toggle("filmed", Boolean(data.film));
    this.picture.update(data.film);
    this.apply();
    if (replaced) this.again();
    this.show();
    this.draw();
  }

  report() { // what Python ought to know
    this.seq += 1;
    const faders = {};
    for (const track of this.tracks.values()) if (!track.isMixture && !track.beside) faders[track.name] = { ...track.fader };
    this.send({ seq: this.seq, token: this.token, faders, selection: this.selection && this.selection.map((s) => Math.round(s * 1000) / 1000) });
  }

  get duration() { return this.tracks.get("mixture")?.pieces.seconds ?? this.data.seconds; }
  get loudest() { return this.tracks.get("mixture")?.pieces.loudest() ?? 1; }

  // ---- sound ------------------------------------------------------------------------------------------

  get playing() { return this.player.playing; }

  toggle() { if (this.playing) this.halt(); else this.start(); }

  range() { return this.selection && this.loop ? this.selection : [0, this.duration]; }

  start(at = this.player.at) {
    const [low, high] = this.range();
    this.player.open(this.tracks.get("mixture").pieces.rate);
    this.apply();
    this.player.start(at >= high - 0.01 || at < low ? low : at, [low, high], this.loop);
    this.show();
    this.tick();
  }

  halt() {
    this.player.stop();
    cancelAnimationFrame(this.frame);
    this.show();
    this.cursor();
    this.picture.step();
  }

  end() { this.halt(); this.player.at = 0; this.show(); this.cursor(); }

  again() { if (this.playing) { this.player.stop(); cancelAnimationFrame(this.frame); this.start(); } }

  position() { return this.player.position(); }
  level() { return this.player.level(); }
  get starts() { return this.player.starts; }

  tick() {
    if (!this.playing) return;
    this.showTime();
    if (this.follow) this.turnPage();
    this.cursor();
    this.picture.step();
    this.frame = requestAnimationFrame(() => this.tick());
  }

  turnPage() {
    const [low, high] = this.view, at = this.position();
    if (at < low || at > high) this.look(at, at + high - low, true);
  }

  apply() { // faders to the sound; tracks of the other take follow those of their name
    const mine = [...this.tracks.values()].filter((track) => !track.isMixture && !track.beside);
    const solo = mine.some((track) => track.fader.solo);
    for (const track of this.tracks.values()) {
      const { fader } = track.beside ? this.tracks.get(track.beside) ?? track : track;
      const sounds = !fader.mute && (fader.solo || !solo);
      track.heard = track.isMixture ? !mine.length || this.hear === "original" || !solo : sounds;
      const on = track.isMixture ? this.hear === "original" || !mine.length : sounds && this.hear === (track.beside ? "beside" : "mix");
      track.set(on ? linear(fader.gain_db) : 0, fader.pan);
    }
  }

  // ---- what people do ---------------------------------------------------------------------------------

  seek(s) {
    const playing = this.playing;
    this.player.stop();
    this.player.at = clamp(s, 0, this.duration);
    if (playing) { cancelAnimationFrame(this.frame); this.start(); }
    else if (this.follow) this.turnPage();
    this.show();
    this.cursor();
    this.picture.step();
  }

  setLoop(loop) { this.loop = loop; this.again(); this.show(); }

  loopSpan(span) {
    this.select(span, true);
    this.loop = true;
    this.seek(span[0]);
    if (!this.playing) this.start();
  }

  compare(hear) { this.hear = hear; this.apply(); this.show(); this.draw(); }

  select(stretch, done) {
    this.selection = stretch && stretch[1] - stretch[0] >= 0.02 ? stretch : null;
    this.show();
    this.draw();
    if (done) { this.report(); if (this.loop) this.again(); }
  }

  look(low, high, following) {
    const width = clamp(high - low, Math.min(SHORTEST_VIEW_S, this.duration), this.duration);
    const start = clamp(low, 0, this.duration - width);
    this.view = [start, start + width];
    if (!following && this.playing) this.follow = this.position() >= start && this.position() <= start + width;
    this.show();
    this.redraw();
  }

  zoom(factor, around) {
    const [low, high] = this.view, at = this.position();
    const seen = at >= low && at <= high ? at : (low + high) / 2;
    const middle = around ?? (this.selection ? (this.selection[0] + this.selection[1]) / 2 : seen);
    const share = around === undefined ? 0.5 : (around - low) / (high - low), width = (high - low) * factor;
    this.look(middle - share * width, middle + (1 - share) * width);
  }

  wheel(event) {
    const [low, high] = this.view, along = event.target.closest?.(".wave, .over-lanes");
    if (!along) return;
    const side = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
    const zooms = event.ctrlKey || event.metaKey || (event.target === this.ruler || event.target === this.map);
    if (zooms && event.deltaY) this.zoom(Math.exp(clamp(event.deltaY, -200, 200) / 300), this.seconds(event, this.ruler));
    else if (side && (event.shiftKey || Math.abs(side) > Math.abs(event.deltaY))) {
      const moved = (side / this.ruler.clientWidth) * (high - low);
      this.look(low + moved, high + moved);
    } else return;
    event.preventDefault();
  }

  key(event) {
    const target = event.composedPath()[0];
    if (event.key === "Tab") this.byPointer = false;
    if (!this.data || typing(target) || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("[role=dialog], [role=listbox]")) return;
    const here = this.position(), free = !target.matches?.("input, [role=slider]:not(.lane), [role=radio], [role=tab], [role=combobox]");
    const pressable = target.matches?.("button, a, summary, input, [role=button]") && !this.byPointer;
    if (event.key === " ") { if (pressable) return; this.toggle(); }
    else if (!free) return;
    else if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
      const next = clamp(here + (event.key === "ArrowRight" ? STEP_S : -STEP_S), 0, this.duration);
      if (event.shiftKey) {
        const [a, b] = this.selection || [here, here];
        const fixed = Math.abs(a - here) < Math.abs(b - here) ? b : a;
        this.select([Math.min(fixed, next), Math.max(fixed, next)], true);
      }
      this.seek(next);
    } else if (event.key === "Home" && target.matches?.(".lane")) this.seek(0);
    else if (event.key === "End" && target.matches?.(".lane")) this.seek(this.duration);
    else if (event.key === "[") this.select([here, Math.max(this.selection?.[1] ?? this.duration, here)], true);
    else if (event.key === "]") this.select([Math.min(this.selection?.[0] ?? 0, here), here], true);
    else if (event.key === "Escape" && this.selection) this.select(null, true);
    else if (event.key.toLowerCase() === "l") this.setLoop(!this.loop);
    else if (event.key.toLowerCase() === "b" && this.data.other) this.compare(this.hear === "beside" ? "mix" : "beside");
    else if (event.key === "+" || event.key === "=") this.zoom(0.5);
    else if (event.key === "-") this.zoom(2);
    else if (event.key === "?") this.showKeys(this.keys.hidden);
    else return;
    event.preventDefault();
    event.stopPropagation(); // streamlit has keys of its own
  }

  showKeys(shown) { this.keys.hidden = !shown; this.helper.setAttribute("aria-pressed", shown); }

  seconds(event, canvas, [low, high] = this.view) {
    const box = canvas.getBoundingClientRect();
    return low + clamp((event.clientX - box.left) / box.width, 0, 1) * (high - low);
  }

  drag(event, canvas) {
    if (event.button) return;
    const from = this.seconds(event, canvas), x = event.clientX;
    let moved = false;
    canvas.setPointerCapture(event.pointerId);
    const move = (e) => {
      moved ||= Math.abs(e.clientX - x) > 4;
      const to = this.seconds(e, canvas);
      if (moved) this.select([Math.min(from, to), Math.max(from, to)], false);
    };
    const up = () => {
      canvas.removeEventListener("pointermove", move);
      if (moved) { this.select(this.selection, true); this.seek(this.selection ? this.selection[0] : from); }
      else this.seek(from);
    };
    canvas.addEventListener("pointermove", move);
    canvas.addEventListener("pointerup", up, { once: true });
  }

  dragMap(event) {
    if (event.button) return;
    const move = (e) => {
      const middle = this.seconds(e, this.map, [0, this.duration]), half = (this.view[1] - this.view[0]) / 2;
      this.look(middle - half, middle + half);
    };
    this.map.setPointerCapture(event.pointerId);
    this.map.addEventListener("pointermove", move);
    this.map.addEventListener("pointerup", () => this.map.removeEventListener("pointermove", move), { once: true });
    move(event);
  }

  // ---- what is seen -----------------------------------------------------------------------------------

  showTime() {
    this.time.textContent = `${clock(this.position())} / ${clock(this.duration)}${this.player.waiting ? " · loading" : ""}`;
  }

  show() {
    if (!this.data) return;
    this.showTime();
    this.play.textContent = this.playing ? "❚❚ Pause" : "▶ Play";
    this.play.setAttribute("aria-label", this.playing ? "Pause" : "Play");
    this.looper.setAttribute("aria-pressed", this.loop);
    this.follower.setAttribute("aria-pressed", this.follow);
    for (const [hear, choice] of Object.entries(this.choices)) {
      choice.setAttribute("aria-pressed", this.hear === hear);
      choice.disabled = this.tracks.size < 2;
    }
    this.choices.mix.textContent = this.data.other ? "A" : "Mix";
    this.choices.beside.hidden = !this.data.other;
    this.choices.beside.title = this.data.other ? `Hear ${this.data.other}` : "";
    this.chosen.textContent = this.selection ? `Selected ${clock(this.selection[0])} – ${clock(this.selection[1])}` : "";
    this.clear.hidden = !this.selection;
    for (const track of this.tracks.values()) track.show();
  }

  redraw() { // soon, once
    this.drawing ??= requestAnimationFrame(() => { this.drawing = undefined; this.draw(); });
  }

  draw() {
    if (!this.data) return;
    if (this.duration !== this.measured) { // it is longer or shorter than it said
      const all = this.view[0] === 0 && this.view[1] === (this.measured ?? this.data.seconds);
      this.measured = this.duration;
      this.view = all ? [0, this.duration] : this.view.map((s) => Math.min(s, this.duration));
      this.show();
    }
    for (const track of this.tracks.values()) if (!track.beside) track.draw();
    paintRuler(this.ruler, this.view, this.colours);
    const on = sized(this.map), mixture = this.tracks.get("mixture");
    if (on && mixture) {
      paintWave(on, mixture.pieces, [0, this.duration], this.loudest, this.colours.mixture);
      paintChosen(on, this.selection, [0, this.duration], this.colours);
      const [a, b] = this.view.map((s) => (s / this.duration) * on.width);
      on.paint.strokeStyle = this.colours.stems[0];
      on.paint.lineWidth = 2;
      on.paint.strokeRect(a + 1, 1, Math.max(b - a - 2, 4), on.height - 2);
    }
    this.cursor();
  }

  cursor() {
    const share = (this.position() - this.view[0]) / (this.view[1] - this.view[0]);
    for (const track of this.tracks.values()) {
      track.line.style.left = `${share * 100}%`;
      track.line.hidden = share < 0 || share > 1;
    }
  }

  close() {
    this.player.close();
    this.resized.disconnect();
    for (const track of this.tracks.values()) track.discard();
    document.removeEventListener("keydown", this.pressed, true);
    document.removeEventListener("pointerdown", this.touched, true);
  }
}
