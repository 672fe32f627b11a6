// A row of the mixer: what is said about a sound, its faders, its waveform or spectrogram, and when it sounds.

const WAIT_MS = 250; // after the view has changed, before a spectrogram is asked for
const MOST_COLUMNS = 1000;
const BY = { model: "When it sounds, as the model hears it. A click loops it.", level: "When it sounds, by its level. A click loops it." };

class Track {
  constructor(mixer, given) {
    this.mixer = mixer;
    this.name = given.name;
    this.kind = given.kind; // mixture, stem or residual
    this.beside = given.beside; // of the take that is compared: it sounds and is not seen
    this.fader = { gain_db: 0, pan: 0, mute: false, solo: false };
    this.build(given);
  }

  get isMixture() { return this.kind === "mixture"; }

  build(given) {
    const name = given.label;
    const change = (key, value, done) => {
      this.fader[key] = value;
      this.mixer.apply();
      this.mixer.show();
      if (done) { this.mixer.report(); this.mixer.draw(); }
    };
    const flag = (key, label, text) => {
      const made = button(`${label} ${name}`, text, () => change(key, !this.fader[key], true), false);
      made.classList.add(key);
      return made;
    };
    const slider = (key, label, low, high, step) => element("input", { type: "range", min: low, max: high, step,
      "aria-label": `${label} of ${name}`, title: `${label} of ${name} (double-click resets)`,
      oninput: (e) => change(key, Number(e.target.value), false),
      onchange: (e) => change(key, Number(e.target.value), true),
      ondblclick: () => change(key, 0, true) });
    this.solo = flag("solo", "Solo", "S");
    this.mute = flag("mute", "Mute", "M");
    this.look = button(`Spectrogram of ${name}`, "▤", () => this.setLook(!this.isSpectrogram), false);
    this.gain = slider("gain_db", "Gain", -60, 12, 0.5);
    this.pan = slider("pan", "Pan", -1, 1, 0.05);
    this.gainText = element("span", { class: "value", "aria-hidden": true });
    this.panText = element("span", { class: "value", "aria-hidden": true });
    const head = element("div", { class: "head" }, element("span", { class: "name", text: name, title: name }));
    if (!this.isMixture) head.append(this.solo, this.mute);
    head.append(this.look);
    if (this.kind === "stem") {
      const drop = button(`Remove ${name}`, "✕", () => this.mixer.remove(this.name));
      drop.classList.add("drop");
      head.append(drop);
    }
    this.says = element("summary");
    this.figures = element("p", { class: "figures" });
    this.verdict = element("details", { class: "verdict" }, this.says, this.figures);
    const controls = element("div", { class: "controls" }, head, this.verdict);
    if (!this.isMixture) controls.append(
      element("div", { class: "fader" }, element("span", { text: "Gain" }), this.gain, this.gainText),
      element("div", { class: "fader pan" }, element("span", { text: "Pan" }), this.pan, this.panText));
    this.canvas = element("canvas", { class: "lane", tabindex: 0, role: "slider", "aria-label": `Time line of ${name}`,
      "aria-valuemin": 0, "aria-valuemax": 0, "aria-valuenow": 0, onpointerdown: (e) => this.mixer.drag(e, this.canvas) });
    this.line = element("div", { class: "line" });
    this.presence = element("div", { class: "presence", role: "group", "aria-label": `When ${name} sounds` });
    this.row = element("div", { class: `track ${given.kind}`, role: "group", "aria-label": `Track ${name}` },
      controls, element("div", { class: "wave" }, this.canvas, this.presence, this.line));
  }

  update(given, takeFader) {
    this.given = given;
    if (takeFader) this.fader = { ...given.fader };
    if (given.address !== this.address) {
      this.address = given.address;
      this.pieces?.close();
      this.pieces = new Pieces(given.address, given.rate, () => this.mixer.redraw());
      this.spectrum = undefined;
    }
  }

  get input() { // fader: gain, then a balance, as exports are made
    const context = this.mixer.player.context;
    if (this.level?.context === context) return this.level;
    this.level = new GainNode(context, { channelCount: 2, channelCountMode: "explicit", gain: this.wanted?.[0] ?? 0 });
    const split = new ChannelSplitterNode(context, { numberOfOutputs: 2 });
    const merge = new ChannelMergerNode(context, { numberOfInputs: 2 });
    this.sides = [0, 1].map((side) => {
      const gain = new GainNode(context);
      split.connect(gain, side).connect(merge, 0, side);
      return gain;
    });
    this.level.connect(split);
    merge.connect(this.mixer.player.mix);
    this.set(...(this.wanted ?? [0, 0]));
    return this.level;
  }

  set(gain, pan) {
    this.wanted = [gain, pan];
    if (!this.level || this.level.context.state === "closed") return;
    const now = this.level.context.currentTime;
    this.level.gain.setTargetAtTime(gain, now, 0.005); // no clicks
    this.sides[0].gain.setTargetAtTime(Math.min(1 - pan, 1), now, 0.005);
    this.sides[1].gain.setTargetAtTime(Math.min(1 + pan, 1), now, 0.005);
  }

  setLook(isSpectrogram) {
    this.isSpectrogram = isSpectrogram;
    this.show();
    this.draw();
  }

  show() {
    const { fader, given } = this;
    this.row.style.setProperty("--track", this.colour);
    this.row.classList.toggle("dim", !this.heard);
    this.solo.setAttribute("aria-pressed", fader.solo);
    this.mute.setAttribute("aria-pressed", fader.mute);
    this.look.setAttribute("aria-pressed", Boolean(this.isSpectrogram));
    this.row.classList.toggle("spectral", Boolean(this.isSpectrogram));
    this.gain.value = fader.gain_db;
    this.pan.value = fader.pan;
    this.pan.disabled = !this.mixer.data.can_pan;
    this.gainText.textContent = fader.gain_db <= -60 ? "−∞ dB" : `${fader.gain_db > 0 ? "+" : ""}${fader.gain_db.toFixed(1)} dB`;
    this.panText.textContent = Math.abs(fader.pan) < 0.01 ? "centre" : `${Math.round(Math.abs(fader.pan) * 100)} ${fader.pan < 0 ? "left" : "right"}`;
    this.gain.setAttribute("aria-valuetext", this.gainText.textContent);
    this.pan.setAttribute("aria-valuetext", this.panText.textContent);
    this.verdict.hidden = !given.says;
    this.says.textContent = given.says;
    this.figures.textContent = given.figures;
    this.verdict.classList.toggle("absent", Boolean(given.absent));
    const at = this.mixer.position();
    this.canvas.setAttribute("aria-valuemax", this.mixer.duration.toFixed(1));
    this.canvas.setAttribute("aria-valuenow", at.toFixed(1));
    this.canvas.setAttribute("aria-valuetext", clock(at));
  }

  get colour() {
    const { colours, stems } = this.mixer;
    return this.kind === "stem" ? colours.stems[stems.indexOf(this) % colours.stems.length] : colours[this.kind];
  }

  draw() {
    const on = sized(this.canvas), { mixer, pieces } = this, { view, colours } = mixer;
    if (!on || !this.given) return;
    if (this.isSpectrogram) this.paintSpectrogram(on);
    else paintWave(on, pieces, view, mixer.loudest, this.heard ? this.colour : colours.dim);
    paintChosen(on, mixer.selection, view, colours);
    if (pieces.share < 1) paintNote(on, `Drawing: ${Math.floor(100 * pieces.share)} %`, colours);
    this.drawPresence();
  }

  drawPresence() { // spans as buttons: those in view that are wide enough to be seen
    const [low, high] = this.mixer.view;
    this.presence.title = BY[this.pieces.by] ?? "";
    this.presence.hidden = this.isMixture || this.given.absent || !this.pieces.spans.length;
    const seen = this.pieces.spans.filter(([a, b]) => b > low && a < high).slice(0, 200);
    const drawn = JSON.stringify([seen, low, high]);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    const share = (s) => (100 * (clamp(s, low, high) - low)) / (high - low);
    this.presence.replaceChildren(...seen.map(([a, b]) => {
      const made = button(`Loop ${this.given.label} from ${clock(a)} to ${clock(b)}`, "", () => this.mixer.loopSpan([a, b]));
      Object.assign(made.style, { left: `${share(a)}%`, width: `max(${share(b) - share(a)}%, 3px)` });
      made.tabIndex = -1; // they may be hundreds: the keys [ and ] choose a stretch as well
      return made;
    }));
  }

  paintSpectrogram({ paint, width, height }) {
    const [low, high] = this.mixer.view, got = this.spectrum;
    if (got) {
      const x = ((got.low - low) / (high - low)) * width;
      paint.drawImage(got.image, x, 0, ((got.high - got.low) / (high - low)) * width, height);
    } else paintNote({ paint, height }, "Listening to its frequencies…", this.mixer.colours);
    if (got?.low === low && got?.high === high) return;
    clearTimeout(this.asking);
    this.asking = setTimeout(() => this.fetchSpectrum(low, high, Math.min(Math.round(width), MOST_COLUMNS)), WAIT_MS);
  }

  async fetchSpectrum(low, high, columns) {
    const image = new Image();
    image.src = `${this.pieces.base}spectrogram?from=${low}&to=${high}&columns=${columns}`;
    try { await image.decode(); } catch { return; }
    const [first, last] = this.mixer.view;
    if (first === low && last === high) { this.spectrum = { image, low, high }; this.draw(); }
  }

  discard() { this.pieces?.close(); this.level?.disconnect(); this.row.remove(); }
}
