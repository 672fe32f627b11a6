// Plays all tracks in step, from anywhere in a recording of any length.
//
// Blocks of all tracks are told to start at one time of one AudioContext, which runs at the recording's own rate: each
// block begins on the very sample on which the one before ends. Only what is played soon is held.

const AHEAD_S = 3; // more than the second between two timers of a page in the background
const LEAD_S = 0.06; // sources are told to start this far in the future
const PUMP_MS = 150;
const HELD_LOOP_S = 60; // a loop up to this length stays in memory

class Player {
  constructor(voices, ended) {
    this.voices = voices; // () => those that play: { pieces, input }
    this.ended = ended;
    this.at = 0; // seconds, while it does not play
    this.starts = []; // context times at which the sources of the last block were started, for tests
  }

  open(rate) { // a context is made when it is needed first: browsers want a gesture before it
    if (this.context?.sampleRate === rate) return this.context;
    this.close();
    this.context = new AudioContext({ sampleRate: rate });
    this.mix = new GainNode(this.context);
    this.meter = new AnalyserNode(this.context, { fftSize: 2048 });
    this.mix.connect(this.meter).connect(this.context.destination);
    return this.context;
  }

  get playing() { return this.run !== undefined; }

  async start(at, range, loop) {
    this.stop();
    const run = this.run = {};
    const frame = (s) => Math.round(s * this.context.sampleRate) / this.context.sampleRate;
    Object.assign(this, { at, range: range.map(frame), loop, cursor: frame(at), until: 0, segments: [], sources: new Set() });
    await this.context.resume();
    if (this.run !== run) return; // stopped meanwhile
    this.pump();
    this.timer = setInterval(() => this.pump(), PUMP_MS);
  }

  stop() {
    if (!this.playing) return;
    this.at = this.position();
    clearInterval(this.timer);
    for (const source of this.sources) { source.stop(); source.disconnect(); }
    this.run = undefined;
    this.sources.clear();
  }

  pump() { // schedules what is played soon, as far as it is there
    const context = this.context, now = context.currentTime, [low, high] = this.range;
    while (this.until < now + AHEAD_S) {
      if (this.cursor >= high - 1e-6) {
        if (!this.loop) break;
        this.cursor = low;
      }
      const number = Math.floor(this.cursor / BLOCK_S + 1e-9);
      const voices = [...this.voices()];
      const buffers = voices.map((voice) => voice.pieces.block(number, context));
      const next = (number + 1) * BLOCK_S < high ? number + 1 : Math.floor(low / BLOCK_S);
      if (next !== number) for (const voice of voices) voice.pieces.block(next, context);
      if (buffers.includes(undefined)) break;
      if (this.until < now + LEAD_S / 2) this.until = Math.ceil((now + LEAD_S) * context.sampleRate) / context.sampleRate;
      const end = Math.min((number + 1) * BLOCK_S, high), length = end - this.cursor;
      this.starts = [];
      voices.forEach((voice, i) => {
        if (!buffers[i]) return;
        const source = new AudioBufferSourceNode(context, { buffer: buffers[i] });
        source.connect(voice.input);
        source.start(this.until, this.cursor - number * BLOCK_S, length);
        source.onended = () => this.sources.delete(source);
        this.sources.add(source);
        this.starts.push(this.until);
      });
      this.segments.push({ when: this.until, from: this.cursor, length });
      this.until += length;
      this.cursor = end;
      const held = this.loop && high - low <= HELD_LOOP_S;
      const first = held ? Math.floor(low / BLOCK_S) : number - 1, last = held ? Math.ceil(high / BLOCK_S) : number + 1;
      for (const voice of voices) voice.pieces.keep((one) => (one >= first && one <= last) || one === next);
    }
    while (this.segments.length > 1 && this.segments[1].when <= now) this.segments.shift();
    if (!this.loop && this.cursor >= high - 1e-6 && now >= this.until) this.ended();
  }

  get waiting() { return this.playing && this.context.currentTime >= this.until; } // for blocks

  position() {
    if (!this.playing) return this.at;
    const now = this.context.currentTime;
    const begun = this.segments.filter((one) => one.when <= now).at(-1);
    return begun ? begun.from + Math.min(now - begun.when, begun.length) : this.at;
  }

  level() { // root mean square of what is heard now
    const values = new Float32Array(this.meter.fftSize);
    this.meter.getFloatTimeDomainData(values);
    return Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length);
  }

  close() {
    this.stop();
    this.context?.close();
    this.context = undefined;
  }
}
