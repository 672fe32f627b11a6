// Fourier transforms of any length 2^a * 3^b, in double precision.

export class Fft {
  // Real sounds are transformed in pairs: one as the real part, one as the imaginary part.
  constructor(n) {
    this.n = n;
    this.radices = [];
    for (let left = n; left > 1; left /= this.radices.at(-1)) {
      if (left % 2 && left % 3) throw new RangeError(`${n} is not made of twos and threes`);
      this.radices.push(left % 2 ? 3 : 2);
    }
    this.cos = Float64Array.from({ length: n }, (_, k) => Math.cos((2 * Math.PI * k) / n));
    this.sin = Float64Array.from({ length: n }, (_, k) => Math.sin((2 * Math.PI * k) / n));
    this.re = new Float64Array(n);
    this.im = new Float64Array(n);
    this.spareRe = new Float64Array(n);
    this.spareIm = new Float64Array(n);
  }

  // What is in `re` and `im` becomes its spectrum. The result of each pass is written in order (Stockham).
  forward() {
    let length = this.n;
    let stride = 1;
    for (const radix of this.radices) {
      const part = length / radix;
      for (let p = 0; p < part; p++) (radix === 2 ? this.two : this.three).call(this, p, part, stride);
      [this.re, this.spareRe, this.im, this.spareIm] = [this.spareRe, this.re, this.spareIm, this.im];
      length = part;
      stride *= radix;
    }
  }

  // The other way round, with the division by n.
  inverse() {
    [this.re, this.im] = [this.im, this.re];
    this.forward();
    [this.re, this.im] = [this.im, this.re];
    for (let k = 0; k < this.n; k++) {
      this.re[k] /= this.n;
      this.im[k] /= this.n;
    }
  }

  two(p, part, stride) {
    const { re, im, spareRe, spareIm } = this;
    const c = this.cos[p * stride];
    const s = this.sin[p * stride];
    for (let q = 0; q < stride; q++) {
      const a = q + stride * p;
      const b = a + stride * part;
      const to = q + stride * 2 * p;
      const dr = re[a] - re[b];
      const di = im[a] - im[b];
      spareRe[to] = re[a] + re[b];
      spareIm[to] = im[a] + im[b];
      spareRe[to + stride] = dr * c + di * s;
      spareIm[to + stride] = di * c - dr * s;
    }
  }

  three(p, part, stride) {
    const { re, im, spareRe, spareIm } = this;
    const half = Math.sqrt(3) / 2;
    const c1 = this.cos[p * stride];
    const s1 = this.sin[p * stride];
    const c2 = this.cos[2 * p * stride];
    const s2 = this.sin[2 * p * stride];
    for (let q = 0; q < stride; q++) {
      const a = q + stride * p;
      const b = a + stride * part;
      const c = b + stride * part;
      const to = q + stride * 3 * p;
      const sumRe = re[b] + re[c];
      const sumIm = im[b] + im[c];
      const turnRe = half * (im[b] - im[c]);
      const turnIm = half * (re[c] - re[b]);
      const midRe = re[a] - sumRe / 2;
      const midIm = im[a] - sumIm / 2;
      spareRe[to] = re[a] + sumRe;
      spareIm[to] = im[a] + sumIm;
      spareRe[to + stride] = (midRe + turnRe) * c1 + (midIm + turnIm) * s1;
      spareIm[to + stride] = (midIm + turnIm) * c1 - (midRe + turnRe) * s1;
      spareRe[to + 2 * stride] = (midRe - turnRe) * c2 + (midIm - turnIm) * s2;
      spareIm[to + 2 * stride] = (midIm - turnIm) * c2 - (midRe - turnRe) * s2;
    }
  }
}
