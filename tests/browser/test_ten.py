"""Ten people at once on one server."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from driving import FIND, ask, settle, state, until, upload, visit
from editor_server import Server

import sam_audio
from sam_audio.app import media

PEOPLE = 10


@pytest.mark.slow
def test_ten_people_do_not_meet(chromium, tmp_path, record_property):
    """Each gets the stems of their own recording; memory does not grow with their number; nothing is left."""
    server = Server(tmp_path / "server", "--max-upload", "20MB")
    rng = np.random.default_rng(0)
    pages = []
    try:
        for n in range(PEOPLE):
            path = tmp_path / f"person-{n}.wav"
            soundfile.write(path, rng.normal(0, 0.02 * (n + 1), (44_100 * 4, 2)), 44_100)
            page = visit(chromium.new_context(), server.url)
            pages.append((page, path))
        idle_mb = server.memory_mb()
        for page, path in pages:
            upload(page, path)
        for page, path in pages:
            page.get_by_role("heading", name=path.name).wait_for()
        for page, _ in pages:
            ask(page, "rain")
        memory_mb = [server.memory_mb()]
        for number, (page, _) in enumerate(pages):
            until(page, f"() => {FIND}?.tracks.get('rain')?.pieces.share === 1")
            memory_mb.append(server.memory_mb())
            if number == 0:
                one_mb = memory_mb[-1]
        visitors = server.visitors()
        assert len(visitors) == PEOPLE
        names = {media.digest(path): path.name for _, path in pages}
        ours = {}
        for folder in visitors:
            (upload_path,) = folder.glob("upload-*/*.wav")
            name = names[media.digest(upload_path)]
            ours[name] = next(folder.glob("stems/*/rain.wav"))
        assert len(ours) == PEOPLE
        separator = sam_audio.Separator(judge=None)
        for page, path in pages:
            settle(page)
            peaks = state(page, "[...mixer.tracks.get('mixture').pieces.peaks(0, 4, 400)]")
            sound = soundfile.read(path)[0]
            assert max(peaks) == pytest.approx(min(np.abs(sound).max(), 1), abs=0.05)
            stem = soundfile.read(ours[path.name], dtype="float32")[0].T
            expected = separator.separate(path, ["rain"]).stems["rain"].samples
            np.testing.assert_array_equal(stem, expected)
        print(
            f"server: {idle_mb:.0f} MB idle, {one_mb:.0f} MB after one, {max(memory_mb):.0f} MB at most with {PEOPLE}"
        )
        assert max(memory_mb) - one_mb < 600
        for page, _ in pages:
            page.context.close()
        assert server.process.poll() is None, server.log()
    finally:
        server.close()
    assert not server.visitors()  # nothing private is left behind
