// Draws the peaks of a sound, and where in it one is, 0..1.

export function draw(canvas, { low, high }, position) {
  const scale = devicePixelRatio;
  const [width, height] = [canvas.clientWidth * scale, canvas.clientHeight * scale];
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const pen = canvas.getContext("2d");
  const middle = height / 2;
  pen.clearRect(0, 0, width, height);
  pen.fillStyle = getComputedStyle(canvas).color;
  for (let x = 0; x < width; x++) {
    const column = Math.floor((x / width) * high.length);
    pen.globalAlpha = x < position * width ? 1 : 0.5;
    const top = middle * (1 - Math.min(high[column], 1));
    const bottom = middle * (1 + Math.min(-low[column], 1));
    pen.fillRect(x, top, 1, Math.max(bottom - top, 1));
  }
}
