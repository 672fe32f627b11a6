"""What the browser tests do again and again."""

from __future__ import annotations

import os
import re
import time
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_video import RATE, write_video

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
PICTURES = (
    ROOT / "docs" / "editor" if os.environ.get("SAM_AUDIO_PICTURES") else None
)  # else nothing is written

FRONT = "mixer-wide"  # stands in the README too

FIND = "[...document.querySelectorAll('*')].find((one) => one.mixer)?.mixer"


def upload(page, path) -> None:
    page.locator("input[type=file]").first.set_input_files(path)


def until(page, what: str, arg=None, within_s: float = 60.0) -> None:
    """Waits for a JavaScript function to say yes (Playwright's own way to wait is against the page's policy)."""
    end_s = time.monotonic() + within_s
    while not page.evaluate(what, arg):
        assert time.monotonic() < end_s, f"never came true: {what}"
        page.wait_for_timeout(50)


def load(page, path: Path) -> None:
    upload(page, path)
    page.get_by_role("heading", name=path.name).wait_for()
    track(page, "mixture")


def ask(page, text: str) -> None:
    page.get_by_label("What do you want to hear?").fill(text)
    page.get_by_label("What do you want to hear?").press("Enter")


def track(page, name: str) -> None:
    """Waits for a track that is drawn."""
    until(page, f"(name) => {FIND}?.tracks.get(name)?.pieces.share === 1", name)
    settle(page)


def accessible(page) -> None:
    """axe finds nothing serious: labels, contrast, roles."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page).response["violations"]
    serious = [
        (one["id"], [(node["html"][:160], node["failureSummary"][:200]) for node in one["nodes"]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert not serious


class Traffic:
    """When the page last said something to the server and heard from it, and what it should not have done."""

    def __init__(self, page) -> None:
        self.sent_s = self.heard_s = time.monotonic()
        self.problems: list[str] = []
        page.on("websocket", self._follow)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", self._asked)
        page.on("console", self._told)

    def _asked(self, request) -> None:
        if request.url.startswith("http") and "127.0.0.1" not in request.url:
            self.problems.append(request.url)

    def _told(self, message) -> None:
        if "Content Security Policy" in message.text:
            self.problems.append(message.text)

    def _follow(self, line) -> None:
        line.on("framesent", lambda _: setattr(self, "sent_s", time.monotonic()))
        line.on("framereceived", lambda _: setattr(self, "heard_s", time.monotonic()))


def visit(context, url: str):
    """A page of the editor in a browser, watched from its first word on."""
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.traffic = Traffic(page)
    page.goto(url)
    return page


def settle(page, quiet_s: float = 0.4, within_s: float = 60.0) -> None:
    """Waits until the server has answered the last thing that the page said, and nothing is said any more."""
    end_s = time.monotonic() + within_s
    idle = page.locator("[data-testid=stApp][data-test-script-state=notRunning]")
    while True:
        page.wait_for_timeout(100)  # lets Playwright hear what happens meanwhile
        sent_s, heard_s = page.traffic.sent_s, page.traffic.heard_s
        if heard_s >= sent_s and time.monotonic() - heard_s > quiet_s and idle.count():
            return
        assert time.monotonic() < end_s, "the page never came to rest"


def state(page, what: str):
    """Something of the mixer, as JavaScript says it."""
    return page.evaluate(f"() => {{ const mixer = {FIND}; return {what}; }}")


def told(page) -> None:
    """Waits until Python knows of the latest change in the mixer."""
    until(page, f"() => {FIND}.data.seq === {FIND}.seq")
    settle(page)


def heard(page, what: str) -> None:
    """Waits until the mixer plays as loud as a condition on ``level`` says, a root mean square."""
    until(page, f"() => {{ const level = {FIND}.level(); return {what}; }}", within_s=20)


def download(page) -> bytes:
    """What the page's link gives."""
    ready = page.get_by_role("link", name=re.compile("^Download .*MB"))
    ready.wait_for()
    settle(page)
    with page.expect_download() as waiting:
        ready.click()
    return Path(waiting.value.path()).read_bytes()


def export(page, what: str, samples: str = "32 bit float") -> bytes:
    settle(page)
    page.get_by_text(what, exact=True).click()
    settle(page)
    page.get_by_label("Samples").click()
    page.get_by_role("option", name=samples).click()
    settle(page)
    page.get_by_role("button", name="Prepare the download").click()
    return download(page)


def sounds(data: bytes) -> dict[str, np.ndarray]:
    """The wav files of a zip, or one by itself, (channels, T) by name."""
    if not data.startswith(b"PK"):
        return {"": soundfile.read(BytesIO(data), dtype="float32", always_2d=True)[0].T}
    with zipfile.ZipFile(BytesIO(data)) as packed:
        return {
            Path(name).stem: soundfile.read(BytesIO(packed.read(name)), dtype="float32", always_2d=True)[0].T
            for name in packed.namelist()
        }


def picture(page, name: str, at: str | None = None) -> None:
    """Screenshots of this state, wide and narrow, scrolled to an element, if pictures are asked for."""
    if PICTURES is None:
        return
    PICTURES.mkdir(parents=True, exist_ok=True)
    for scheme in ("light", "dark"):
        for suffix, size in (("wide", WIDE), ("narrow", NARROW)):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size(size)
            settle(page)
            if at is not None:
                page.locator(at).first.evaluate("(one) => one.scrollIntoView({block: 'start'})")
            page.wait_for_timeout(800)
            made = f"{name}-{suffix}{'-dark' if scheme == 'dark' else ''}"
            if made == FRONT:
                page.screenshot(path=PICTURES / f"{made}.png")
            else:
                page.screenshot(path=PICTURES / f"{made}.jpg", type="jpeg", quality=72)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(WIDE)
    settle(page)


def video(path: Path, seconds: int = 2, fps: int = 4, size=(320, 192), codec: str = "mpeg4") -> Path:
    """A red square that moves over blue noise; it hums while another tone whistles."""
    rng = np.random.default_rng(0)
    frames = []
    for i in range(seconds * fps):
        frame = np.zeros((size[1], size[0], 3), np.uint8)
        frame[..., 2] = rng.integers(60, 120, frame.shape[:2])
        frame[60:124, 40 + 4 * i : 104 + 4 * i] = (230, 20, 20)
        frames.append(frame)
    t = np.arange(seconds * RATE) / RATE
    wave = 0.1 * np.sin(2 * np.pi * 220 * t) + 0.05 * np.sin(2 * np.pi * 3000 * t) * (t % 1 < 0.5)
    return write_video(path, frames, fps, wave, codec)
