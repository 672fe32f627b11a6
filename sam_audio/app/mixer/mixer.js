// The mixer: one time line, one transport, all tracks in step.
//
// Python sends the tracks (an excerpt of each as a sound file, its peaks, its fader); this plays them together and
// reports faders and the selected stretch back. Sources of all tracks are started at one time of one AudioContext, so
// they cannot drift. The last word on faders is Python's (undo), except while a change is still on its way there:
// `seq` counts the changes, and data that has not seen the latest one does not move the faders.

const players = new WeakMap();

export default function (component) {
  const { parentElement, data, setStateValue, setTriggerValue } = component;
  let player = players.get(parentElement);
  if (!player) {
    player = new Mixer(parentElement);
    players.set(parentElement, player);
  }
  player.send = (state) => setStateValue("state", state);
  player.remove = (name) => setTriggerValue("remove", name);
  player.update(data);
  const host = parentElement.host || parentElement;
  return () => setTimeout(() => host.isConnected || (player.close(), players.delete(parentElement)), 0);
}

const COLOURS = ["#475569", "#0b5cad", "#b3400e", "#1d7a3e", "#8a2be2", "#a3195b", "#0e7490", "#7a5c00"];
const AHEAD_S = 0.05; // all sources are told to start this far in the future
const STEP_S = 1;

const clock = (s) => `${Math.floor(s / 60)}:${(s % 60).toFixed(1).padStart(4, "0")}`;
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const linear = (db) => (db <= -60 ? 0 : 10 ** (db / 20));

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "text") made.textContent = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

class Mixer {
  constructor(parent) {
    this.seq = 0;
    this.tracks = new Map(); // name -> Track
    this.at = 0; // seconds of the excerpt
    this.selection = null; // [start, end] in seconds of the excerpt
    this.view = [0, 1];
    this.original = false;
    this.loop = false;
    this.starts = []; // context times at which the sources were last started, for tests
    this.root = element("section", { class: "mixer", "aria-label": "Mixer" });
    parent.querySelector?.("#mixer")?.replaceWith(this.root) ?? parent.append(this.root);
    (parent.host || parent).mixer = this; // for tests
    this.build();
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this.lanes);
  }

  build() {
    const button = (label, text, click, pressed) => {
      const made = element("button", { type: "button", "aria-label": label, title: label, text, onclick: click });
      if (pressed !== undefined) made.setAttribute("aria-pressed", pressed);
      return made;
    };
    this.play = button("Play", "▶ Play", () => this.toggle());
    this.play.classList.add("play");
    this.rewind = button("Back to the start", "|◂", () => this.seek(this.selection ? this.selection[0] : 0));
    this.looper = button("Loop", "⟳ Loop", () => this.setLoop(!this.loop), false);
    this.listenMix = button("Hear the mix", "Mix", () => this.compare(false), true);
    this.listenOriginal = button("Hear the original", "Original", () => this.compare(true), false);
    this.time = element("span", { class: "time" });
    this.chosen = element("span", { class: "chosen", role: "status" });
    this.clear = button("Clear the selection", "✕", () => this.select(null, true));
    const zoom = element("span", { class: "group", role: "group", "aria-label": "Zoom" },
      button("Zoom out", "−", () => this.zoom(2)), button("Zoom in", "+", () => this.zoom(0.5)));
    const ab = element("span", { class: "group", role: "group", "aria-label": "Compare" },
      this.listenMix, this.listenOriginal);
    this.bar = element("div", { class: "bar", role: "toolbar", "aria-label": "Transport" },
      this.play, this.rewind, this.looper, ab, zoom, this.time, this.chosen, this.clear);
    this.lanes = element("div", { class: "lanes" });
    this.help = element("p", { class: "help", id: "help", text:
      "Drag over a waveform to select a stretch. Keys: Space plays, ← → move, Shift+← → select, [ and ] set " +
      "the ends, Esc clears, + and − zoom." });
    this.root.append(this.bar, this.lanes, this.help);
    this.root.addEventListener("keydown", (event) => this.key(event));
  }

  // ---- what Python says -------------------------------------------------------------------------------

  update(data) {
    if (data.token !== this.token) { // another recording or another stretch of it
      this.pause();
      this.token = data.token;
      this.at = 0;
      this.selection = null;
      this.view = [0, data.duration_s];
    }
    this.data = data;
    this.duration = data.duration_s;
    const names = data.tracks.map((track) => track.name);
    const changed = names.join("\n") !== [...this.tracks.keys()].join("\n");
    for (const [name, track] of this.tracks) if (!names.includes(name)) { track.discard(); this.tracks.delete(name); }
    const ordered = new Map();
    data.tracks.forEach((given, index) => {
      const track = this.tracks.get(given.name) || new Track(this, given);
      track.update(given, COLOURS[given.kind === "stem" ? 1 + ((index - 1) % 7) : 0], data.seq >= this.seq);
      ordered.set(given.name, track);
    });
    if (data.seq >= this.seq) {
      const chosen = data.selection && data.selection.map((s) => clamp(s - data.start_s, 0, data.duration_s));
      this.selection = chosen && chosen[1] > chosen[0] ? chosen : null;
    }
    this.tracks = ordered;
    if (changed) this.lanes.replaceChildren(...[...ordered.values()].map((track) => track.row));
    this.seq = Math.max(this.seq, data.seq);
    this.apply();
    this.show();
    this.draw();
  }

  report() { // what Python ought to know
    this.seq += 1;
    const faders = {};
    for (const track of this.tracks.values()) if (!track.isMixture) faders[track.name] = { ...track.fader };
    const selection = this.selection && this.selection.map((s) => Math.round((s + this.data.start_s) * 1000) / 1000);
    this.send({ seq: this.seq, token: this.token, faders, selection });
  }

  // ---- sound ------------------------------------------------------------------------------------------

  audio() {
    if (!this.context) {
      this.context = new AudioContext();
      this.mix = new GainNode(this.context);
      this.meter = new AnalyserNode(this.context, { fftSize: 2048 });
      this.mix.connect(this.meter);
      this.meter.connect(this.context.destination);
    }
    return this.context;
  }

  get playing() { return this.started !== undefined; }

  async toggle() {
    if (this.playing) return this.pause();
    const context = this.audio();
    await context.resume();
    await Promise.all([...this.tracks.values()].map((track) => track.load()));
    this.start();
  }

  range() { return this.selection && this.loop ? this.selection : [0, this.duration]; }

  start() {
    const [low, high] = this.range();
    if (this.at >= high - 0.01 || this.at < low) this.at = low;
    const when = this.context.currentTime + AHEAD_S;
    this.starts = [];
    for (const track of this.tracks.values()) if (track.start(when, this.at)) this.starts.push(when);
    this.started = when - this.at;
    this.apply();
    this.show();
    this.tick();
  }

  pause() {
    if (!this.playing) return;
    this.at = this.position();
    this.started = undefined;
    for (const track of this.tracks.values()) track.stop();
    cancelAnimationFrame(this.frame);
    this.show();
    this.draw();
  }

  again() { if (this.playing) { this.pause(); this.start(); } }

  position() {
    if (!this.playing) return this.at;
    const passed = Math.max(this.context.currentTime - this.started, 0);
    const [low, high] = this.range();
    return this.loop && passed > high ? low + ((passed - low) % (high - low)) : Math.min(passed, this.duration);
  }

  tick() {
    if (!this.playing) return;
    if (!this.loop && this.position() >= this.duration) { this.pause(); this.at = 0; this.show(); return; }
    this.show();
    this.cursor();
    this.frame = requestAnimationFrame(() => this.tick());
  }

  apply() { // faders to the sound
    const stems = [...this.tracks.values()].filter((track) => !track.isMixture);
    const solo = stems.some((track) => track.fader.solo);
    for (const track of this.tracks.values()) {
      const heard = track.isMixture
        ? this.original || !stems.length
        : !this.original && !track.fader.mute && (track.fader.solo || !solo);
      track.set(heard ? linear(track.fader.gain_db) : 0, track.fader.pan);
    }
  }

  level() { // root mean square of what is heard now, for tests
    const values = new Float32Array(this.meter.fftSize);
    this.meter.getFloatTimeDomainData(values);
    return Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length);
  }

  // ---- what people do ---------------------------------------------------------------------------------

  seek(s) {
    const playing = this.playing;
    this.pause();
    this.at = clamp(s, 0, this.duration);
    if (playing) this.start();
    this.show();
    this.draw();
  }

  setLoop(loop) { const at = this.position(); this.loop = loop; if (!this.playing) this.at = at; this.again(); this.show(); }

  compare(original) { this.original = original; this.apply(); this.show(); }

  select(stretch, done) {
    this.selection = stretch && stretch[1] - stretch[0] >= 0.02 ? stretch : null;
    this.show();
    this.draw();
    if (done) { this.report(); if (this.loop) this.again(); }
  }

  zoom(factor) {
    const width = clamp((this.view[1] - this.view[0]) * factor, Math.min(0.5, this.duration), this.duration);
    const middle = this.selection ? (this.selection[0] + this.selection[1]) / 2 : this.position();
    const start = clamp(middle - width / 2, 0, this.duration - width);
    this.view = [start, start + width];
    this.draw();
  }

  key(event) {
    if (event.target.matches("input") || event.ctrlKey || event.metaKey || event.altKey) return;
    const here = this.position();
    const lane = event.target.matches(".lane");
    if (event.key === " " && lane) this.toggle();
    else if ((event.key === "ArrowRight" || event.key === "ArrowLeft") && lane) {
      const next = clamp(here + (event.key === "ArrowRight" ? STEP_S : -STEP_S) / 4, 0, this.duration);
      if (event.shiftKey) {
        const [a, b] = this.selection || [here, here];
        const fixed = Math.abs(a - here) < Math.abs(b - here) ? b : a;
        this.select([Math.min(fixed, next), Math.max(fixed, next)], true);
      }
      this.seek(next);
    } else if (event.key === "Home" && lane) this.seek(0);
    else if (event.key === "End" && lane) this.seek(this.duration);
    else if (event.key === "[") this.select([here, Math.max(this.selection?.[1] ?? this.duration, here)], true);
    else if (event.key === "]") this.select([Math.min(this.selection?.[0] ?? 0, here), here], true);
    else if (event.key === "Escape") this.select(null, true);
    else if (event.key === "+") this.zoom(0.5);
    else if (event.key === "-") this.zoom(2);
    else return;
    event.preventDefault();
    event.stopPropagation(); // streamlit has keys of its own
  }

  drag(event, canvas) {
    if (event.button) return;
    const rectangle = canvas.getBoundingClientRect();
    const seconds = (e) => {
      const share = clamp((e.clientX - rectangle.left) / rectangle.width, 0, 1);
      return this.view[0] + share * (this.view[1] - this.view[0]);
    };
    const from = seconds(event), x = event.clientX;
    let moved = false;
    canvas.setPointerCapture(event.pointerId);
    const move = (e) => {
      moved ||= Math.abs(e.clientX - x) > 4;
      if (moved) this.select([Math.min(from, seconds(e)), Math.max(from, seconds(e))], false);
    };
    const up = (e) => {
      canvas.removeEventListener("pointermove", move);
      if (moved) { this.select(this.selection, true); this.seek(this.selection ? this.selection[0] : from); }
      else this.seek(from);
    };
    canvas.addEventListener("pointermove", move);
    canvas.addEventListener("pointerup", up, { once: true });
  }

  // ---- what is seen -----------------------------------------------------------------------------------

  show() {
    const start = this.data.start_s;
    this.play.textContent = this.playing ? "❚❚ Pause" : "▶ Play";
    this.play.setAttribute("aria-label", this.playing ? "Pause" : "Play");
    this.looper.setAttribute("aria-pressed", this.loop);
    this.listenMix.setAttribute("aria-pressed", !this.original);
    this.listenOriginal.setAttribute("aria-pressed", this.original);
    this.listenMix.disabled = this.listenOriginal.disabled = this.tracks.size < 2;
    this.time.textContent = `${clock(start + this.position())} / ${clock(this.data.total_s)}`;
    this.chosen.textContent = this.selection
      ? `Selected ${clock(start + this.selection[0])} – ${clock(start + this.selection[1])}` : "";
    this.clear.hidden = !this.selection;
    for (const track of this.tracks.values()) track.show();
  }

  draw() { if (this.data) for (const track of this.tracks.values()) track.draw(); this.cursor(); }

  cursor() {
    const share = (this.position() - this.view[0]) / (this.view[1] - this.view[0]);
    for (const track of this.tracks.values()) {
      track.line.style.left = `${share * 100}%`;
      track.line.hidden = share < 0 || share > 1;
    }
  }

  close() {
    this.pause();
    this.resized.disconnect();
    this.context?.close();
  }
}

class Track {
  constructor(mixer, given) {
    this.mixer = mixer;
    this.name = given.name;
    this.isMixture = given.kind === "mixture";
    this.fader = { gain_db: 0, pan: 0, mute: false, solo: false };
    this.build(given);
  }

  build(given) {
    const name = given.label;
    const change = (key, value, done) => {
      this.fader[key] = value;
      this.mixer.apply();
      this.mixer.show();
      if (done) { this.mixer.report(); this.mixer.draw(); }
    };
    const flag = (key, label, text) => element("button", { type: "button", class: key, "aria-label": `${label} ${name}`,
      title: `${label} ${name}`, "aria-pressed": false, text, onclick: () => change(key, !this.fader[key], true) });
    const slider = (key, label, low, high, step) => element("input", { type: "range", min: low, max: high, step,
      "aria-label": `${label} of ${name}`, title: `${label} of ${name} (double-click resets)`,
      oninput: (e) => change(key, Number(e.target.value), false),
      onchange: (e) => change(key, Number(e.target.value), true),
      ondblclick: () => change(key, 0, true) });
    this.solo = flag("solo", "Solo", "S");
    this.mute = flag("mute", "Mute", "M");
    this.gain = slider("gain_db", "Gain", -60, 12, 0.5);
    this.pan = slider("pan", "Pan", -1, 1, 0.05);
    this.gainText = element("span", { class: "value", "aria-hidden": true });
    this.panText = element("span", { class: "value", "aria-hidden": true });
    this.verdict = element("p", { class: "verdict" });
    const title = element("span", { class: "name", text: name, title: name });
    const head = element("div", { class: "head" }, title);
    if (!this.isMixture) head.append(this.solo, this.mute);
    if (given.kind === "stem") head.append(element("button", { type: "button", class: "drop",
      "aria-label": `Remove ${name}`, title: `Remove ${name}`, text: "✕", onclick: () => this.mixer.remove(this.name) }));
    const controls = element("div", { class: "controls" }, head, this.verdict);
    if (!this.isMixture) controls.append(
      element("div", { class: "fader" }, element("span", { text: "Gain" }), this.gain, this.gainText),
      element("div", { class: "fader pan" }, element("span", { text: "Pan" }), this.pan, this.panText));
    this.canvas = element("canvas", { class: "lane", tabindex: 0, role: "slider", "aria-label": `Time line of ${name}`,
      "aria-describedby": "help", "aria-valuemin": 0, "aria-valuemax": 0, "aria-valuenow": 0,
      onpointerdown: (e) => this.mixer.drag(e, this.canvas) });
    this.line = element("div", { class: "line" });
    this.row = element("div", { class: `track ${given.kind}`, role: "group", "aria-label": `Track ${name}` },
      controls, element("div", { class: "wave" }, this.canvas, this.line));
  }

  update(given, colour, takeFader) {
    this.given = given;
    this.colour = colour;
    if (takeFader) this.fader = { ...given.fader };
    if (given.url !== this.url) { this.url = given.url; this.loading = this.buffer = undefined; }
    this.row.style.setProperty("--track", colour);
  }

  load() {
    if (!this.url) return;
    const url = this.url;
    this.loading ??= fetch(url).then((r) => r.arrayBuffer())
      .then((bytes) => this.mixer.audio().decodeAudioData(bytes))
      .then((buffer) => { if (url === this.url) { this.buffer = buffer; this.draw(); } })
      .catch(() => { this.loading = undefined; });
    return this.loading;
  }

  connect() { // fader: gain, then a balance, as exports are made
    if (this.level) return;
    const context = this.mixer.audio();
    this.level = new GainNode(context, { channelCount: 2, channelCountMode: "explicit", gain: 0 });
    const split = new ChannelSplitterNode(context, { numberOfOutputs: 2 });
    const merge = new ChannelMergerNode(context, { numberOfInputs: 2 });
    this.sides = [0, 1].map((side) => {
      const gain = new GainNode(context);
      split.connect(gain, side).connect(merge, 0, side);
      return gain;
    });
    this.level.connect(split);
    merge.connect(this.mixer.mix);
  }

  start(when, offset) {
    if (!this.buffer) return false;
    this.connect();
    this.source = new AudioBufferSourceNode(this.mixer.context, { buffer: this.buffer });
    this.source.connect(this.level);
    if (this.mixer.loop) [this.source.loop, this.source.loopStart, this.source.loopEnd] = [true, ...this.mixer.range()];
    this.source.start(when, offset);
    return true;
  }

  stop() { this.source?.stop(); this.source?.disconnect(); this.source = undefined; }

  set(gain, pan) {
    if (!this.level) return;
    const now = this.mixer.context.currentTime;
    this.level.gain.setTargetAtTime(gain, now, 0.005); // no clicks
    this.sides[0].gain.setTargetAtTime(Math.min(1 - pan, 1), now, 0.005);
    this.sides[1].gain.setTargetAtTime(Math.min(1 + pan, 1), now, 0.005);
  }

  show() {
    const { fader, given } = this;
    this.solo.setAttribute("aria-pressed", fader.solo);
    this.mute.setAttribute("aria-pressed", fader.mute);
    this.gain.value = fader.gain_db;
    this.pan.value = fader.pan;
    this.pan.disabled = !this.mixer.data.can_pan;
    this.gainText.textContent = fader.gain_db <= -60 ? "−∞ dB" : `${fader.gain_db > 0 ? "+" : ""}${fader.gain_db.toFixed(1)} dB`;
    this.panText.textContent = Math.abs(fader.pan) < 0.01 ? "centre" : `${Math.round(Math.abs(fader.pan) * 100)} ${fader.pan < 0 ? "left" : "right"}`;
    this.gain.setAttribute("aria-valuetext", this.gainText.textContent);
    this.pan.setAttribute("aria-valuetext", this.panText.textContent);
    this.verdict.textContent = given.verdict || "";
    this.verdict.classList.toggle("absent", Boolean(given.absent));
    const at = this.mixer.position() + this.mixer.data.start_s;
    this.canvas.setAttribute("aria-valuemax", (this.mixer.data.start_s + this.mixer.duration).toFixed(1));
    this.canvas.setAttribute("aria-valuenow", at.toFixed(1));
    this.canvas.setAttribute("aria-valuetext", clock(at));
  }

  peaks(columns) { // highest magnitude in each of so many columns of the view
    const [low, high] = this.mixer.view;
    const each = (high - low) / columns;
    if (this.buffer && high - low < 20) { // close enough to see more than Python sent
      const values = this.buffer.getChannelData(0), rate = this.buffer.sampleRate;
      return Array.from({ length: columns }, (_, i) => {
        const end = Math.min((low + (i + 1) * each) * rate, values.length);
        const stride = Math.max(1, Math.floor((each * rate) / 200));
        let peak = 0;
        for (let n = Math.floor((low + i * each) * rate); n < end; n += stride) peak = Math.max(peak, Math.abs(values[n]));
        return peak;
      });
    }
    const sent = this.given.peaks, scale = sent.length / this.mixer.duration;
    return Array.from({ length: columns }, (_, i) => {
      const first = Math.floor((low + i * each) * scale);
      const last = Math.max(first + 1, Math.floor((low + (i + 1) * each) * scale));
      return Math.max(0, ...sent.slice(first, last));
    });
  }

  draw() {
    const { canvas, mixer } = this;
    const width = canvas.clientWidth, height = canvas.clientHeight, ratio = window.devicePixelRatio || 1;
    if (!width || !this.given) return;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const paint = canvas.getContext("2d");
    paint.scale(ratio, ratio);
    const [low, high] = mixer.view;
    if (mixer.selection) {
      const [a, b] = mixer.selection.map((s) => ((s - low) / (high - low)) * width);
      paint.fillStyle = "rgba(245, 190, 60, 0.35)";
      paint.fillRect(a, 0, b - a, height);
    }
    const loudest = Math.max(0.05, ...[...mixer.tracks.values()].filter((t) => t.isMixture).flatMap((t) => t.given.peaks));
    const silent = this.fader.mute && !this.isMixture;
    paint.fillStyle = silent ? "#a8b0bb" : this.colour;
    const columns = Math.floor(width / 2);
    if (this.given.peaks.length) this.peaks(columns).forEach((peak, i) => {
      const tall = Math.max(1, Math.min(1, peak / loudest) * (height - 6));
      paint.fillRect(i * 2, (height - tall) / 2, 1.4, tall);
    });
    else { paint.font = "13px sans-serif"; paint.fillText("Preparing…", 8, height / 2); }
  }

  discard() { this.stop(); this.level?.disconnect(); this.row.remove(); }
}
