// What the server gives of one sound, piece by piece: blocks to play, peaks to draw, spans in which it sounds.

const BLOCK_S = 5, PEAK_SAMPLES = 128, LEVEL = 4, TILE = 4096, LEVELS = 12;
const LOOK_AGAIN_MS = 700; // while the server still reads it

class Pieces {
  constructor(address, rate, changed) {
    this.base = new URL(`${address}/`, document.baseURI).href;
    this.rate = rate;
    this.changed = changed;
    this.blocks = new Map(); // number -> { buffer }, undefined while it comes, null for silence
    this.tiles = new Map(); // "level/number" -> { bytes, share, asked }
    this.share = 0; // of the sound that is drawn
    this.spans = [];
    this.watch();
  }

  async watch() { // until it is drawn
    while (this.share < 1 && !this.closed) {
      try {
        const answer = await fetch(`${this.base}about`);
        if (!answer.ok) return;
        const told = await answer.json();
        Object.assign(this, { share: told.share, spans: told.spans, by: told.by, seconds: told.frames / told.rate });
        this.changed();
      } catch { /* the connection is lost: it may come back */ }
      if (this.share < 1) await pause(LOOK_AGAIN_MS);
    }
  }

  block(number, context) { // a buffer, null for silence, undefined while it is fetched
    let one = this.blocks.get(number);
    if (!one) this.blocks.set(number, one = { coming: this.fetchBlock(number, context) });
    return one.buffer;
  }

  async fetchBlock(number, context) {
    let buffer = null;
    for (let tries = 0; tries < 20 && !this.closed; tries += 1) {
      try {
        const answer = await fetch(`${this.base}block/${number}`);
        if (answer.status === 503) continue; // it is being decoded
        const bytes = answer.ok ? await answer.arrayBuffer() : new ArrayBuffer(0);
        if (bytes.byteLength) buffer = await context.decodeAudioData(bytes);
        break;
      } catch { await pause(LOOK_AGAIN_MS); }
    }
    const one = this.blocks.get(number);
    if (one) one.buffer = buffer;
  }

  keep(wanted) { for (const number of this.blocks.keys()) if (!wanted(number)) this.blocks.delete(number); }

  tile(level, number) {
    const name = `${level}/${number}`;
    let one = this.tiles.get(name);
    if (!one) this.tiles.set(name, one = { share: 0, asked: 0 });
    const now = performance.now();
    if (one.share < 1 && now - one.asked > LOOK_AGAIN_MS) { one.asked = now; this.fetchTile(name, one); }
    return one.bytes;
  }

  async fetchTile(name, one) {
    try {
      const answer = await fetch(`${this.base}peaks/${name}`);
      if (!answer.ok) return;
      one.bytes = new Uint8Array(await answer.arrayBuffer());
      one.share = Number(answer.headers.get("x-share"));
      this.changed();
    } catch { /* asked for again when it is drawn again */ }
  }

  peaks(low, high, columns) { // the highest magnitude in each of so many columns, of all channels
    const each = (high - low) / columns, finest = PEAK_SAMPLES / this.rate;
    let level = 0;
    while (level < LEVELS && LEVEL ** (level + 1) * finest <= each) level += 1;
    const peak_s = finest * LEVEL ** level;
    return Float32Array.from({ length: columns }, (_, i) => {
      const first = Math.max(0, Math.floor((low + i * each) / peak_s));
      const last = Math.max(first + 1, Math.floor((low + (i + 1) * each) / peak_s));
      let highest = 0;
      for (let k = first; k < last; k += 1) highest = Math.max(highest, this.tile(level, Math.floor(k / TILE))?.[k % TILE] ?? 0);
      return (highest / 255) ** 2;
    });
  }

  loudest() { return Math.max(0.02, ...Array.from(this.tile(LEVELS, 0) ?? [], (byte) => (byte / 255) ** 2)); }

  close() { this.closed = true; this.blocks.clear(); }
}
