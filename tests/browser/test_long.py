"""A recording of three hours on one server."""

from __future__ import annotations

import time

import numpy as np
import pytest
import soundfile
from driving import FIND, heard, state, until, visit
from editor_server import Server

HOURS, RATE = 3, 44_100


@pytest.mark.slow
def test_three_hours_open_in_seconds(chromium, tmp_path):
    """And play from anywhere while they are being drawn; memory does not grow with them."""
    path = tmp_path / "talk.wav"
    minute = np.random.default_rng(0).normal(0, 0.1, (RATE * 60, 2)).astype(np.float32)
    with soundfile.SoundFile(path, "w", RATE, 2, "PCM_16") as file:
        for _ in range(60 * HOURS):
            file.write(minute)
    server = Server(tmp_path / "server", str(path))
    try:
        idle_mb = server.memory_mb()
        begun_s = time.monotonic()
        page = visit(chromium.new_context(), server.url)
        until(page, f"() => {FIND}?.tracks.get('mixture')?.pieces.seconds === {3600 * HOURS}")
        page.evaluate(f"() => {FIND}.seek({3600 * HOURS - 60})")
        page.get_by_role("button", name="Play", exact=True).click()
        heard(page, "level > 0.02")
        plays_s = time.monotonic() - begun_s
        share = state(page, "mixer.tracks.get('mixture').pieces.share")
        until(page, f"() => {FIND}.tracks.get('mixture').pieces.share === 1")
        drawn_s = time.monotonic() - begun_s
        print(
            f"plays after {plays_s:.1f} s, {100 * share:.0f} % drawn; drawn after {drawn_s:.1f} s; ", end=""
        )
        print(f"{idle_mb:.0f} MB idle, {server.memory_mb():.0f} MB in the end")
        assert plays_s < 15
        assert server.memory_mb() - idle_mb < 250
        page.context.close()
    finally:
        server.close()
