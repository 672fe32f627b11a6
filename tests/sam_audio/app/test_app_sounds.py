"""What a browser hears and sees of a recording, piece by piece, and the addresses it has."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_video import write_video

pytest.importorskip("streamlit")
from PIL import Image  # noqa: E402
from starlette.applications import Starlette  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

from sam_audio.app.pieces import Download, routes  # noqa: E402
from sam_audio.app.sounds import PEAK_SAMPLES, TILE, Sound, playable, sound_of  # noqa: E402
from sam_audio.app.work import CANCELLED, Task  # noqa: E402
from sam_audio.errors import AudioReadError  # noqa: E402
from sam_audio.types import Span  # noqa: E402

RATE = 16_000


def opened(path: Path, drawn: bool = True, copy: str = "copy.pcm") -> Sound:
    sound = Sound(path, path.parent / copy, 12.0)
    if drawn:
        task = Task(sound.draw)
        task.run()
        assert task.result is sound, task.problem
    return sound


def written(path: Path, samples: np.ndarray, rate: int = RATE) -> np.ndarray:
    soundfile.write(path, samples.T, rate, **({} if path.suffix != ".wav" else {"subtype": "PCM_16"}))
    return soundfile.read(path, dtype="float32", always_2d=True)[0].T


def noise(seconds: float, channels: int = 2) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, (channels, int(seconds * RATE)))


def blocks(sound: Sound) -> np.ndarray:
    """All of them, one after the other."""
    parts = []
    while content := sound.block(len(parts)):
        parts.append(soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)[0].T)
    return np.concatenate(parts, axis=1)


def peaks(sound: Sound, level: int = 0) -> np.ndarray:
    parts, number = [], 0
    while tile := sound.tile(level, number):
        parts.append(np.frombuffer(tile, np.uint8))
        number += 1
    return (np.concatenate(parts) / 255) ** 2


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_blocks_are_the_recording_without_seams(tmp_path, suffix):
    """Whether it is read where it lies or from a copy."""
    path = tmp_path / f"a{suffix}"
    expected = written(path, noise(12.3))
    sound = opened(path)
    assert sound.frames == expected.shape[1] and sound.share == 1
    np.testing.assert_allclose(blocks(sound), expected, atol=1.5 / 32768)
    assert sound.block(3) == b"" and (tmp_path / "copy.pcm").exists() == (suffix == ".ogg")


def test_a_recording_plays_before_it_is_drawn(tmp_path):
    path = tmp_path / "a.wav"
    expected = written(path, noise(12.0))
    sound = opened(path, drawn=False)
    assert sound.has(2) and sound.share == 0 and sound.tile(0, 0) == b"" and sound.spans() == []
    np.testing.assert_allclose(blocks(sound), expected, atol=1.5 / 32768)


@pytest.mark.parametrize("rate", [4000, 192_000])
def test_rates_that_browsers_do_not_play_are_changed(tmp_path, rate):
    t = np.arange(2 * rate) / rate
    written(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 440 * t)[None], rate)
    sound = opened(tmp_path / "a.wav")
    heard = blocks(sound)
    assert sound.rate == min(max(rate, 8000), 96_000) and heard.shape == (1, 2 * sound.rate)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * sound.rate) / sound.rate)
    middle = slice(sound.rate // 2, -sound.rate // 2)
    np.testing.assert_allclose(heard[0, middle], expected[middle], atol=2e-3)


def test_peaks_are_of_all_channels_at_every_level(tmp_path):
    """A recording whose left side is silent is not flat."""
    path = tmp_path / "a.wav"
    expected = written(path, noise(60.0) * [[0.0], [1.0]])
    sound = opened(path)
    whole = expected.shape[1] // PEAK_SAMPLES
    highest = np.abs(expected[1, : whole * PEAK_SAMPLES]).reshape(whole, -1).max(axis=1)
    np.testing.assert_allclose(peaks(sound)[:whole], highest, atol=0.005)
    assert len(sound.tile(0, 0)) == TILE
    coarse = np.maximum.reduceat(peaks(sound), np.arange(0, len(peaks(sound)), 16))
    np.testing.assert_array_equal(peaks(sound, 2), coarse)


def test_spans_are_when_it_sounds(tmp_path):
    sounds = np.zeros((1, 10 * RATE))
    for start_s, end_s in ((1, 3), (6, 8)):
        sounds[:, start_s * RATE : end_s * RATE] = noise(end_s - start_s, 1)
    written(tmp_path / "a.wav", sounds)
    found = [(span.start_s, span.end_s) for span in opened(tmp_path / "a.wav").spans()]
    np.testing.assert_allclose(found, [(1, 3), (6, 8)], atol=0.15)
    written(tmp_path / "silent.wav", np.zeros((2, RATE)))
    assert opened(tmp_path / "silent.wav").spans() == []
    told = Sound(tmp_path / "a.wav", tmp_path / "copy.pcm", known_spans=[Span(2.0, 4.0)])
    assert told.spans() == [Span(2.0, 4.0)]  # somebody knows better than the level


def test_a_spectrogram_shows_a_tone_where_it_is(tmp_path):
    tone = np.zeros((1, 4 * RATE))
    tone[0, 2 * RATE :] = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(2 * RATE) / RATE)
    written(tmp_path / "a.wav", tone)
    picture = Image.open(io.BytesIO(opened(tmp_path / "a.wav").spectrogram(0, 4, 200)))
    shades = np.asarray(picture)
    assert picture.size == (200, 128) and shades[:, :95].max() == 0
    octaves = np.log2(8000 / 40)
    row = 128 - 1 - round(128 * np.log2(1000 / 40) / octaves)
    assert abs(int(shades[:, 105:195].sum(axis=1).argmax()) - row) <= 1


def test_many_channels_become_two(tmp_path):
    assert playable(np.ones((1, 4), np.float32)).shape == (1, 4)
    np.testing.assert_array_equal(playable(np.arange(4, dtype=np.float32)[:, None]), [[1], [2]])
    written(tmp_path / "a.wav", noise(1.0, channels=4))
    assert blocks(opened(tmp_path / "a.wav")).shape == (2, RATE)


def test_what_is_damaged_or_not_wanted_leaves_no_copy(tmp_path):
    path = tmp_path / "a.wav"
    samples = noise(1.0)
    samples[0, 8000] = np.nan
    soundfile.write(path, samples.T, RATE, subtype="FLOAT")
    task = Task(opened(path, drawn=False).draw)
    task.run()
    assert "NaN" in task.problem
    written(tmp_path / "a.ogg", noise(1.0))
    unwanted = opened(tmp_path / "a.ogg", drawn=False, copy="other.pcm")
    task = Task(lambda task: task.cancel() or unwanted.draw(task))
    task.run()
    assert task.state == CANCELLED and not (tmp_path / "other.pcm").exists()
    sound = opened(tmp_path / "a.ogg")
    assert (tmp_path / "copy.pcm").exists() and sound_of(sound.token) is sound
    token = sound.token
    del sound
    assert sound_of(token) is None and not (tmp_path / "copy.pcm").exists()
    with pytest.raises(AudioReadError):
        opened(tmp_path / "none.wav")


# ---- addresses -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client():
    return TestClient(Starlette(routes=routes()))


def test_pieces_by_their_addresses(client, tmp_path):
    written(tmp_path / "a.wav", noise(6.0))
    sound = opened(tmp_path / "a.wav")
    base = f"/sounds/{sound.token}"
    about = client.get(f"{base}/about").json()
    assert (about["share"], about["frames"], about["rate"]) == (1.0, 6 * RATE, RATE) and about["spans"]
    assert about["by"] == "level"
    assert client.get(f"{base}/block/1").content == sound.block(1)
    tile = client.get(f"{base}/peaks/0/0")
    assert tile.content == sound.tile(0, 0) and tile.headers["x-share"] == "1.0000"
    assert client.get(f"{base}/spectrogram?from=0&to=6&columns=90").content[1:4] == b"PNG"
    for query in ("", "?from=0&to=9&columns=9", "?from=2&to=1&columns=9", "?from=0&to=1&columns=99999"):
        assert client.get(f"{base}/spectrogram{query}").status_code == 400
    assert client.get(f"{base}/picture?at=0").status_code == 400  # it has none
    (tmp_path / "a.wav").unlink()  # a stem that was let go
    for path in ("block/0", "spectrogram?from=0&to=6&columns=9", "film"):
        assert client.get(f"{base}/{path}").status_code == 404
    for path in ("about", "block/0", "peaks/0/0", "spectrogram", "film", "picture"):
        assert client.get(f"/sounds/guess/{path}").status_code == 404


def test_a_block_that_is_being_decoded_is_waited_for(client, tmp_path):
    written(tmp_path / "a.ogg", noise(6.0))
    sound = opened(tmp_path / "a.ogg", drawn=False)
    assert not sound.has(0)
    threading.Timer(0.3, lambda: Task(sound.draw).run()).start()
    assert client.get(f"/sounds/{sound.token}/block/0").content == sound.block(0) != b""


def test_films_come_in_ranges_and_as_pictures(client, tmp_path):
    frames = [np.full((48, 64, 3), 10 * n, np.uint8) for n in range(8)]
    path = write_video(tmp_path / "a.mp4", frames, 4, np.zeros(2 * 48_000))
    sound = opened(path)
    assert sound.seconds == pytest.approx(2.0, abs=0.05)
    part = client.get(f"/sounds/{sound.token}/film", headers={"range": "bytes=10-19"})
    assert part.status_code == 206 and part.content == path.read_bytes()[10:20]
    assert part.headers["content-type"] == "video/mp4"
    written(tmp_path / "a.wav", noise(1.0))
    page = (tmp_path / "a.wav").rename(tmp_path / "a.html")  # is no video, and never a page
    sound_of_page = opened(page)
    assert client.get(f"/sounds/{sound_of_page.token}/film").status_code == 404
    assert client.get(f"/sounds/{sound.token}/picture?at=1").content[:2] == b"\xff\xd8"


def test_downloads_are_for_who_has_their_address(client, tmp_path):
    (tmp_path / "mix.wav").write_bytes(b"sound")
    made = Download(tmp_path / "mix.wav")
    answer = client.get(f"/downloads/{made.token}")
    assert answer.content == b"sound" and 'filename="mix.wav"' in answer.headers["content-disposition"]
    token = made.token
    del made
    assert client.get(f"/downloads/{token}").status_code == 404
