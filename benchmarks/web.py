"""How fast the page in the browser separates: python benchmarks/web.py

A minute of stereo at 44.1 kHz, two prompts, in headless Chromium, with one thread and with two: seconds by the clock
(of an idle machine), and of all processors together.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import soundfile
from playwright.sync_api import sync_playwright

from sam_audio.web.serving import opened

SECONDS = 60
BAND = Path(__file__).parent.parent / "examples" / "band.wav"


def of_renderers() -> float:
    """Seconds that all processes of pages have computed."""
    ticks = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"--type=renderer" in (process / "cmdline").read_bytes():
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        except OSError:
            continue  # it has ended
    return ticks / os.sysconf("SC_CLK_TCK")


def timed(wait) -> tuple[float, float]:
    begun, computed = time.perf_counter(), of_renderers()
    wait()
    return time.perf_counter() - begun, of_renderers() - computed


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, opened(0) as server, sync_playwright() as playwright:
        band, rate = soundfile.read(BAND)
        minute = Path(folder) / "minute.wav"
        soundfile.write(minute, np.tile(band, (1 + SECONDS * rate // len(band), 1))[: SECONDS * rate], rate)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for threads in (1, 2):
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            page = browser.new_page()
            page.set_default_timeout(600_000)
            page.goto(f"http://localhost:{server.server_port}/?threads={threads}")
            page.locator("#file").set_input_files(minute)
            page.locator("#prompt").fill("guitar,drums")
            page.get_by_role("button", name="Separate").click()
            loading = timed(page.get_by_text("Separating …").wait_for)
            separating = timed(page.locator(".stem").first.wait_for)
            for what, (clock, computed) in (("loading", loading), ("separating", separating)):
                print(f"{threads} threads, {what}: {clock:.1f} s, {computed:.1f} s of processors")
            browser.close()


if __name__ == "__main__":
    main()
