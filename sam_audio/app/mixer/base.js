// What all parts of the mixer use.

const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const linear = (db) => (db <= -60 ? 0 : 10 ** (db / 20));
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const two = (n) => String(n).padStart(2, "0");

function clock(s, digits = 1) { // 1:05.2, from an hour on 1:02:05.2
  const unit = 10 ** digits, whole = Math.floor(s * unit + 1e-6);
  const seconds = Math.floor(whole / unit), rest = digits ? `.${String(whole % unit).padStart(digits, "0")}` : "";
  const minutes = Math.floor(seconds / 60), hours = Math.floor(minutes / 60);
  return (hours ? `${hours}:${two(minutes % 60)}` : `${minutes}`) + `:${two(seconds % 60)}${rest}`;
}

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

function button(label, text, click, pressed) {
  const made = element("button", { type: "button", "aria-label": label, title: label, text, onclick: click });
  if (pressed !== undefined) made.setAttribute("aria-pressed", pressed);
  return made;
}

const typing = (target) =>
  target.matches?.("textarea, select, [contenteditable=true], input:not([type=range], [type=checkbox], [type=radio], [type=file])");
