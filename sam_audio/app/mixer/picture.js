// The picture of a video, in step with the mix; what is clicked or framed on it becomes a clue.

const FAR_S = 0.25, NEAR_S = 0.03; // out of step by more: it jumps there, or runs a little faster or slower

class Picture {
  constructor(mixer) {
    this.mixer = mixer;
    this.film = element("video", { muted: "", playsinline: "", preload: "auto", tabindex: -1, "aria-hidden": true });
    this.film.muted = true;
    this.still = element("img", { alt: "", hidden: "" });
    this.over = element("canvas", { class: "over", role: "img", "aria-label": "Picture of the video: click the thing that sounds, or draw a box around it",
      onpointerdown: (e) => this.drag(e) });
    this.told = element("span", { class: "told", role: "status" });
    this.forget = button("Forget the mark", "✕", () => this.mark(null));
    this.numbers = Object.fromEntries([["x", "x"], ["y", "y"], ["w", "width"], ["h", "height"]].map(([key, label]) =>
      [key, element("input", { type: "number", min: 0, value: 0, "aria-label": `${label} in pixels` })]));
    const typed = () => {
      const [x, y, w, h] = ["x", "y", "w", "h"].map((key) => Math.round(Number(this.numbers[key].value)) || 0);
      this.mark(w > 0 && h > 0 ? [x, y, w, h] : [x, y]);
    };
    this.root = element("figure", { class: "picture" },
      element("div", { class: "screen" }, this.film, this.still, this.over),
      element("figcaption", {}, this.told, this.forget),
      element("details", {}, element("summary", { text: "Mark by numbers" }),
        element("div", { class: "numbers" }, ...Object.entries(this.numbers).flatMap(([key, field]) => [element("span", { text: key, "aria-hidden": true }), field]),
          button("Mark these pixels", "Mark", typed))));
    this.film.addEventListener("error", () => this.useStills());
    this.film.addEventListener("loadeddata", () => (this.film.videoWidth ? this.step() : this.useStills()));
  }

  update(given) {
    this.root.hidden = !given;
    if (!given) return;
    this.given = given;
    if (given.address !== this.address) {
      this.address = given.address;
      this.base = new URL(`${given.address}/`, document.baseURI).href;
      this.stills = false;
      this.film.hidden = false;
      this.still.hidden = true;
      this.film.src = `${this.base}film`;
      this.root.querySelector(".screen").style.aspectRatio = `${given.width} / ${given.height}`;
    }
    const [x, y, w, h] = given.mark?.numbers ?? [];
    this.told.textContent = !given.mark ? "Click what sounds in the picture, or draw a box around it."
      : `Marked: ${w ? `a box of ${w} × ${h} at ${x}, ${y}` : `the point ${x}, ${y}`}`;
    this.forget.hidden = !given.mark;
    this.draw(given.mark?.numbers);
  }

  useStills() { // this browser cannot play the film: the server shows pictures of it
    this.stills = true;
    this.film.hidden = true;
    this.still.hidden = false;
    this.step();
  }

  step() { // where the mix is, there the picture is
    if (!this.address || this.root.hidden) return;
    const at = this.mixer.position(), playing = this.mixer.playing && !this.mixer.player.waiting;
    if (this.stills) return this.showStill(at);
    const { film } = this, late = at - film.currentTime;
    if (!playing) {
      if (!film.paused) film.pause();
      if (Math.abs(late) > 0.01 && !film.seeking) film.currentTime = at;
      return;
    }
    if (film.paused && at < (film.duration || Infinity)) film.play().catch(() => {});
    if (Math.abs(late) > FAR_S) { if (!film.seeking) film.currentTime = at; film.playbackRate = 1; }
    else film.playbackRate = Math.abs(late) > NEAR_S ? clamp(1 + late, 0.8, 1.2) : 1;
  }

  async showStill(at) { // one at a time, the latest that is wanted
    this.due = Math.round(at * 10) / 10;
    if (this.fetching || this.due === this.shown) return;
    this.fetching = true;
    this.shown = this.due;
    const next = new Image();
    next.src = `${this.base}picture?at=${this.shown}`;
    try { await next.decode(); this.still.src = next.src; } catch { /* the one before stays */ }
    this.fetching = false;
    if (this.due !== this.shown) this.showStill(this.due);
  }

  drag(event) {
    if (event.button) return;
    const box = this.over.getBoundingClientRect(), { width, height } = this.given;
    const pixel = (e) => [clamp((e.clientX - box.left) / box.width, 0, 1) * (width - 1), clamp((e.clientY - box.top) / box.height, 0, 1) * (height - 1)].map(Math.round);
    const [x, y] = pixel(event), from = [event.clientX, event.clientY];
    let numbers = [x, y];
    this.over.setPointerCapture(event.pointerId);
    const move = (e) => {
      const [x2, y2] = pixel(e), far = Math.hypot(e.clientX - from[0], e.clientY - from[1]) > 5;
      numbers = far ? [Math.min(x, x2), Math.min(y, y2), Math.max(Math.abs(x2 - x), 1), Math.max(Math.abs(y2 - y), 1)] : [x, y];
      this.draw(numbers);
    };
    this.over.addEventListener("pointermove", move);
    this.over.addEventListener("pointerup", () => { this.over.removeEventListener("pointermove", move); this.mark(numbers); }, { once: true });
  }

  mark(numbers) {
    this.draw(numbers);
    this.mixer.mark({ numbers, at: this.mixer.position(), n: (this.marks = (this.marks ?? 0) + 1) });
  }

  draw(numbers) {
    const on = sized(this.over);
    if (!on) return;
    const { paint, width, height } = on;
    paint.clearRect(0, 0, width, height);
    if (!numbers) return;
    const [x, y, w, h] = numbers.map((n, i) => n * (i % 2 ? height / this.given.height : width / this.given.width));
    const lines = () => {
      paint.beginPath();
      if (w) paint.rect(x, y, w, h);
      else { paint.moveTo(x - 12, y); paint.lineTo(x + 12, y); paint.moveTo(x, y - 12); paint.lineTo(x, y + 12); }
      paint.stroke();
    };
    for (const [colour, wide] of [["#fff", 5], ["#d3202b", 2.5]]) { [paint.strokeStyle, paint.lineWidth] = [colour, wide]; lines(); }
  }
}
