// The page: load, ask, listen, save. The work is done by worker.js.

import { openRecording } from "./recording.js";
import { MOST_BYTES } from "./wav.js";
import { draw } from "./waveform.js";

const MOST_THREADS = 8; // more of them wait for each other

const at = (id) => document.getElementById(id);
const worker = new Worker("worker.js", { type: "module" });
const prompts = [];
let recording = null;
let name = ""; // of the recording, without its ending
let job = 0; // number of the separation that is wanted
let urls = []; // of the stems that are shown

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// ---- load ----

async function load(file) {
  stop();
  say("problem", "");
  say("about", `Reading ${file.name} …`);
  recording = null;
  try {
    const opened = await openRecording(file);
    if (!opened.frames) throw new Error("it is empty");
    if (opened.frames * opened.channels * 4 > MOST_BYTES - 100) {
      throw new Error("it is too long for a page: use the command separate");
    }
    recording = opened;
    name = file.name.replace(/\.[^.]*$/, "");
    const kind = { 1: "mono", 2: "stereo" }[opened.channels] ?? `${opened.channels} channels`;
    say("about", `${file.name}: ${clock(opened.frames / opened.sampleRate)}, ${kind}, ${opened.sampleRate} Hz`);
    if (at("mixture").src) URL.revokeObjectURL(at("mixture").src);
    at("mixture").src = URL.createObjectURL(file);
    at("mixture").hidden = false;
  } catch (error) {
    say("about", "");
    at("mixture").hidden = true;
    say("problem", error instanceof DOMException
      ? `${file.name} is no recording that this browser can read: choose a wav, flac, mp3, ogg or m4a file`
      : `${file.name} cannot be separated: ${error.message}`);
  }
}

at("file").addEventListener("change", () => at("file").files[0] && load(at("file").files[0]));
for (const kind of ["dragover", "dragleave", "drop"]) {
  addEventListener(kind, (event) => {
    event.preventDefault(); // the browser would open the file in place of the page
    at("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) load(event.dataTransfer.files[0]);
  });
}

// ---- ask ----

function add(text) {
  const prompt = text.trim().replace(/\s+/g, " ");
  if (!prompt || prompts.includes(prompt)) return;
  prompts.push(prompt);
  showPrompts();
}

function showPrompts() {
  at("prompts").replaceChildren(...prompts.map((prompt) => {
    const remove = element("button", { type: "button", textContent: `${prompt} ×`, ariaLabel: `Remove ${prompt}` });
    remove.addEventListener("click", () => {
      prompts.splice(prompts.indexOf(prompt), 1);
      showPrompts();
      at("prompt").focus();
    });
    return element("li", {}, remove);
  }));
}

function addTyped() {
  at("prompt").value.split(",").forEach(add);
  at("prompt").value = "";
}

at("prompt").addEventListener("input", () => at("prompt").value.includes(",") && addTyped());
at("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && at("prompt").value.trim()) {
    event.preventDefault(); // with nothing typed, it asks
    addTyped();
  } else if (event.key === "Backspace" && !at("prompt").value && prompts.pop()) showPrompts();
});
at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  addTyped();
  if (!recording) say("problem", "Load a recording first.");
  else if (!prompts.length) say("problem", "Say what you want to hear first.");
  else start();
});
at("cancel").addEventListener("click", () => {
  stop();
  say("status", "Cancelled.");
});

function start() {
  clear();
  say("problem", "");
  busy(true);
  at("progress").removeAttribute("value");
  worker.postMessage({ job: ++job, recording, prompts, threads: threads() });
}

// Breaks off what is being done.
function stop() {
  worker.postMessage({ job: ++job });
  busy(false);
}

function busy(is) {
  at("separate").disabled = is;
  at("cancel").hidden = at("progress").hidden = !is;
  say("status", "");
}

worker.addEventListener("message", ({ data }) => {
  if (data.job !== job) return; // of one that was broken off
  if (data.what) {
    say("status", data.part === undefined ? `${data.what} …` : `${data.what}: ${Math.floor(100 * data.part)} %`);
    if (data.part === undefined) at("progress").removeAttribute("value");
    else at("progress").value = data.part;
    return;
  }
  busy(false);
  if (data.problem) say("problem", `${data.problem}.`);
  else show(data.stems);
});
worker.addEventListener("error", () => {
  busy(false);
  say("problem", "This browser cannot run the networks: use a current Chrome, Edge, Firefox or Safari.");
});

// Threads share memory, which only a page that shares nothing with other sites may do.
function threads() {
  const asked = Number(new URLSearchParams(location.search).get("threads"));
  const most = crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, MOST_THREADS) : 1;
  return Math.min(asked || most, most);
}

// ---- listen and save ----

function show(stems) {
  const shown = [...prompts, "everything else"];
  at("none").hidden = true;
  at("stems").replaceChildren(...stems.map((stem, n) => card(shown[n], stem)));
  say("status", `Done: ${stems.length} stems.`);
}

function card(title, { blob, peaks }) {
  const url = URL.createObjectURL(blob);
  urls.push(url);
  const audio = element("audio", { controls: true, src: url, preload: "metadata", ariaLabel: title });
  const canvas = element("canvas", { role: "img", ariaLabel: `Waveform of ${title}` });
  const save = element("a", {
    className: "save", href: url, download: `${name}-${slug(title)}.wav`, textContent: "Save wav", ariaLabel: `Save ${title}`,
  });
  canvas.addEventListener("click", (event) => {
    audio.currentTime = (event.offsetX / canvas.clientWidth) * audio.duration;
  });
  audio.addEventListener("play", () => { // one at a time
    for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
    follow();
  });
  const redraw = () => draw(canvas, peaks, audio.duration ? audio.currentTime / audio.duration : 0);
  const follow = () => {
    redraw();
    if (!audio.paused) requestAnimationFrame(follow);
  };
  audio.addEventListener("seeked", redraw);
  new ResizeObserver(redraw).observe(canvas);
  const loudest = Math.max(...peaks.high, ...peaks.low.map((x) => -x));
  const level = loudest > 0 ? `peak ${(20 * Math.log10(loudest)).toFixed(1)} dB` : "silent";
  return element("article", { className: "stem" },
    element("header", {}, element("h3", { textContent: title }), element("p", { className: "level", textContent: level }), save),
    canvas, audio);
}

function clear() {
  at("none").hidden = false;
  at("stems").replaceChildren();
  urls.forEach((url) => URL.revokeObjectURL(url));
  urls = [];
}

// ---- small things ----

function say(id, text) {
  at(id).textContent = text;
}

const clock = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;
const slug = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 80) || "stem";

const { labels } = await (await fetch("nano.json")).json();
at("labels").append(...labels.map((label) => element("option", { value: label })));
