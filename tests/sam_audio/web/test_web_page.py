"""The page, in a Chromium that reaches nothing but this machine."""

from __future__ import annotations

import os
import threading
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from peav import checkpoints
from peav.nano.words import Words
from sam_audio import Separator
from sam_audio.web.serving import opened

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
PICTURES = ROOT / "docs" / "web" if os.environ.get("SAM_AUDIO_PICTURES") else None  # else nothing is written
WIDE, NARROW = {"width": 1000, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def url():
    with opened(0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def page(chromium, url):
    """One visitor; what the page tries to fetch from elsewhere, or against its own policy, is a failure."""
    context = chromium.new_context(viewport=WIDE, accept_downloads=True)
    one = context.new_page()
    one.set_default_timeout(180_000)
    problems: list[str] = []
    one.on("pageerror", lambda error: problems.append(str(error)))
    one.on("console", lambda message: problems.append(message.text))
    one.on("request", lambda request: problems.append(request.url) if _elsewhere(request.url, url) else None)
    one.goto(url)
    yield one
    context.close()
    assert not problems


def _elsewhere(asked: str, url: str) -> bool:
    return not asked.startswith((url, f"blob:{url}", "data:"))


@pytest.fixture(scope="module")
def separator():
    return Separator(device="cpu", judge=None)


def load(page, path: Path) -> None:
    page.locator("#file").set_input_files(path)
    page.get_by_text(f"{path.name}:").wait_for()


def ask(page, *prompts: str) -> None:
    while page.locator("#prompts button").count():
        page.locator("#prompts button").first.click()
    page.get_by_label("What do you want to hear?").fill(",".join(prompts))
    page.get_by_role("button", name="Separate").click()


def saved(page) -> dict[str, np.ndarray]:
    """The stems that are there, by name, (C, T)."""
    page.locator(".stem").first.wait_for()
    stems = {}
    for link in page.locator(".save").all():
        with page.expect_download() as waiting:
            link.click()
        data = Path(waiting.value.path()).read_bytes()
        name = Path(waiting.value.suggested_filename).stem
        stems[name] = soundfile.read(BytesIO(data), dtype="float32", always_2d=True)[0].T
    return stems


def picture(page, name: str) -> None:
    """Screenshots of this state, wide and light, narrow and dark, if pictures are asked for."""
    if PICTURES is None:
        return
    PICTURES.mkdir(parents=True, exist_ok=True)
    for suffix, size, scheme in (("wide", WIDE, "light"), ("narrow", NARROW, "dark")):
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(300)
        page.screenshot(path=PICTURES / f"{name}-{suffix}.png", full_page=True)
    page.set_viewport_size(WIDE)
    page.emulate_media(color_scheme="light")


def accessible(page) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = axe.run(page).response["violations"]
        assert not [(one["id"], one["nodes"][0]["html"]) for one in found]
    page.emulate_media(color_scheme="light")


def same(page, separator, recording: Path, *prompts: str, within: float = 1e-3) -> None:
    mixture, rate = soundfile.read(recording, dtype="float32", always_2d=True)
    stems = saved(page)
    wanted = separator.separate(recording, list(prompts))
    names = [f"{recording.stem}-{name.replace(' ', '-')}" for name in (*prompts, "everything else")]
    assert list(stems) == names
    for name, want in zip(names, [*wanted.stems.values(), wanted.residual], strict=True):
        assert stems[name].shape == want.samples.shape
        # soxr hears a recording that begins with a click a little differently in its first two samples
        error = (stems[name] - want.samples)[:, 2:]
        assert np.abs(error).max() < within
        assert np.square(error).sum() < 1e-5 * np.square(want.samples).sum()
    assert np.abs(sum(stems.values()) - mixture.T).max() < 1e-6


REMEMBER = """() => {
  const status = document.getElementById("status");
  window.said = [];
  new MutationObserver(() => said.push(status.textContent)).observe(status, { childList: true, subtree: true });
}"""


def test_load_ask_listen_save(page, separator, tmp_path):
    """Two windows of it, at another rate than the network's; broken off first, and then not."""
    band, rate = soundfile.read(EXAMPLES / "band.wav", dtype="float32")
    recording = tmp_path / "band.wav"
    soundfile.write(recording, np.tile(band, (4, 1))[: 17 * rate], rate, subtype="FLOAT")
    assert page.evaluate("crossOriginIsolated")  # else there are no threads
    accessible(page)
    load(page, recording)
    ask(page, "guitar", "drums")
    page.get_by_text("Separating …").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled.").wait_for()
    page.evaluate(REMEMBER)  # the last part takes no longer than a look at the page may
    ask(page, "guitar", "drums")
    page.get_by_text("Separating …").wait_for()
    picture(page, "separating")
    # browsers round otherwise, and masks of sounds that are hard to tell apart move by it: here by -54 dB
    same(page, separator, recording, "guitar", "drums", within=2.5e-3)
    assert any(text.startswith("Separating: ") for text in page.evaluate("said"))
    page.locator("audio[aria-label=guitar]").evaluate("(one) => one.play()")
    page.wait_for_timeout(300)
    assert page.locator("audio[aria-label=guitar]").evaluate("(one) => one.currentTime") > 0
    page.locator("audio[aria-label=guitar]").evaluate("(one) => one.pause()")
    accessible(page)
    picture(page, "stems")


def test_what_the_browser_decodes(page, separator):
    """At its own rate, and mono."""
    load(page, EXAMPLES / "speech.ogg")
    ask(page, "person speaking")
    same(page, separator, EXAMPLES / "speech.ogg", "person speaking")


def test_what_can_be_mended_is_said(page, url, tmp_path):
    (tmp_path / "notes.txt").write_text("no sound")
    page.reload()
    page.get_by_role("button", name="Separate").click()
    page.get_by_text("Load a recording first.").wait_for()
    page.locator("#file").set_input_files(tmp_path / "notes.txt")
    page.get_by_text("notes.txt is no recording that this browser can read").wait_for()
    load(page, EXAMPLES / "band.wav")
    page.get_by_role("button", name="Separate").click()
    page.get_by_text("Say what you want to hear first.").wait_for()
    ask(page, "звук")
    page.get_by_text("звук holds no word that nano knows: ask in English.").wait_for()


TEXTS = [
    "guitar",
    "Dog barking, LOUD!",
    "  a café's naïve ÜBER-door\tslams\u00a0",
    "東京 の sound",
    "[UNK] and [PAD]x",
    "ﬁne\u200b zero­width \x00control ½ ٣ İstanbul",
    "a" * 150,
    "e\u0301lan ... --- ''",
    " ".join(["long"] * 40),
    "🎸 solo",
]


def test_words_are_read_alike(page):
    words = Words.beside(checkpoints.load("nano", "text"))
    found = page.evaluate(
        """async (texts) => {
          const { Words } = await import("./words.js");
          const json = async (name) => (await fetch(name)).json();
          const manifest = await json("nano.json");
          const words = new Words(await json(manifest.tokenizer), manifest.words);
          return texts.map((text) => words.tokens(text));
        }""",
        TEXTS,
    )
    assert found == [words._tokens(text) for text in TEXTS]


@pytest.mark.parametrize(
    ("from_hz", "to_hz"), [(44100, 48000), (48000, 44100), (16000, 48000), (96000, 48000)]
)
def test_rates_are_converted_alike(page, from_hz, to_hz):
    """Sweeps up to 20 kHz, in blocks of odd lengths."""
    t = np.arange(from_hz) / from_hz
    top = 0.9 * min(from_hz, to_hz) / 2
    sweep = (0.5 * np.sin(np.pi * top * t**2) * np.hanning(from_hz)).astype(np.float32)
    found = page.evaluate(
        """async ([from, to, samples]) => {
          const { Resampler } = await import("./resample.js");
          const resampler = new Resampler(from, to, 1);
          const out = [];
          for (let at = 0; at < samples.length; at += 9973) {
            out.push(...resampler.push([Float32Array.from(samples.slice(at, at + 9973))])[0]);
          }
          return [...out, ...resampler.finish()[0]];
        }""",
        [from_hz, to_hz, sweep.tolist()],
    )
    want = soxr.resample(sweep, from_hz, to_hz, quality="HQ")
    assert len(found) == len(want)
    assert np.abs(np.array(found) - want).max() < 1e-3


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
def test_wav_files_are_read_exactly(page, tmp_path, kind, subtype):
    noise = np.random.default_rng(0).uniform(-1, 1, (70_000, 3))
    soundfile.write(tmp_path / "noise.wav", noise, 22050, subtype=subtype, format=kind)
    want, _ = soundfile.read(tmp_path / "noise.wav", dtype="float32")
    page.locator("#file").set_input_files(tmp_path / "noise.wav")
    found = page.evaluate(
        """async () => {
          const { openWav } = await import("./wav.js");
          const wav = await openWav(document.getElementById("file").files[0]);
          const channels = [[], [], []];
          for await (const block of wav.blocks()) block.forEach((samples, c) => channels[c].push(...samples));
          return [wav.sampleRate, wav.frames, channels];
        }"""
    )
    assert found[:2] == [22050, len(want)]
    assert np.array_equal(np.array(found[2], np.float32), want.T)


@pytest.mark.parametrize(
    ("name", "rate"), [("a.flac", 96000), ("a.ogg", 22050), ("a.mp3", 16000), ("a.mp3", 44100)]
)
def test_what_is_decoded_keeps_its_rate(page, tmp_path, name, rate):
    soundfile.write(tmp_path / name, np.random.default_rng(0).uniform(-0.1, 0.1, (rate // 4, 2)), rate)
    page.locator("#file").set_input_files(tmp_path / name)
    found = page.evaluate(
        """async () => {
          const { openRecording } = await import("./recording.js");
          const { sampleRate, channels } = await openRecording(document.getElementById("file").files[0]);
          return [sampleRate, channels];
        }"""
    )
    assert found == [rate, 2]
