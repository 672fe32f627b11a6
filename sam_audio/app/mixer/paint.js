// What is drawn onto canvases: rulers, waveforms, spans; in the colours of a light or a dark page.

const LIGHT = {
  stems: ["#0b5cad", "#b3400e", "#1d7a3e", "#7a2be2", "#a3195b", "#0e7490", "#7a5c00"], mixture: "#475569",
  residual: "#64748b", dim: "#b9c2cd", text: "#3d4653", paper: "#fff", faint: "#c9d1da", chosen: "rgba(245, 190, 60, 0.35)",
};
const DARK = {
  stems: ["#6db3f8", "#ff9d66", "#6ed492", "#c29bff", "#ff8fc0", "#5cd3ea", "#e6c34a"], mixture: "#c3ccd8",
  residual: "#94a3b8", dim: "#4a5361", text: "#c3ccd8", paper: "#0e1218", faint: "#3d4653", chosen: "rgba(245, 190, 60, 0.28)",
};
const STEPS_S = [0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];

function sized(canvas) { // a context in units of the page, and its size; null where it is not shown
  const width = canvas.clientWidth, height = canvas.clientHeight, ratio = window.devicePixelRatio || 1;
  if (!width || !height) return null;
  [canvas.width, canvas.height] = [width * ratio, height * ratio];
  const paint = canvas.getContext("2d");
  paint.scale(ratio, ratio);
  return { paint, width, height };
}

function paintRuler(canvas, [low, high], colours) {
  const on = sized(canvas);
  if (!on) return;
  const { paint, width, height } = on, per_s = width / (high - low);
  const step = STEPS_S.find((s) => s * per_s >= 72) ?? 7200, digits = step >= 1 ? 0 : step >= 0.1 ? 1 : 2;
  paint.font = "12px system-ui, sans-serif";
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high; n += 1) {
    const x = (n * step - low) * per_s;
    paint.fillStyle = colours.faint;
    paint.fillRect(x, 0, 1, height);
    paint.fillStyle = colours.text;
    if (x + 34 < width) paint.fillText(clock(n * step, digits), x + 4, height - 6);
  }
}

function paintChosen({ paint, width, height }, selection, [low, high], colours) {
  if (!selection) return;
  const [a, b] = selection.map((s) => ((s - low) / (high - low)) * width);
  paint.fillStyle = colours.chosen;
  paint.fillRect(a, 0, b - a, height);
}

function paintWave({ paint, width, height }, pieces, [low, high], loudest, colour) {
  const columns = Math.floor(width / 2);
  paint.fillStyle = colour;
  pieces.peaks(low, high, columns).forEach((peak, i) => {
    const tall = Math.max(1, Math.min(1, peak / loudest) * (height - 4));
    paint.fillRect(i * 2, (height - tall) / 2, 1.5, tall);
  });
}

function paintNote({ paint, height }, text, colours) {
  paint.font = "13px system-ui, sans-serif";
  paint.fillStyle = colours.paper;
  paint.fillRect(6, height / 2 - 12, paint.measureText(text).width + 12, 24);
  paint.fillStyle = colours.text;
  paint.fillText(text, 12, height / 2 + 5);
}
