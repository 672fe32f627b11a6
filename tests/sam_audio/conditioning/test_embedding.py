"""Files as vectors: windows, segments and frames, with the embedded models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_video import write_video

from sam_audio.conditioning import embedding
from sam_audio.conditioning.embedding import (
    CHUNK_SAMPLES,
    FRAME,
    SAMPLE_RATE,
    load_embedder,
    load_frame_encoder,
    mono_windows,
)
from sam_audio.errors import AudioReadError, ModelError

EXAMPLES = Path(__file__).parents[3] / "examples"
SPEECH = EXAMPLES / "speech.ogg"


@pytest.fixture(scope="module")
def embedder():
    return load_embedder()


@pytest.fixture(scope="module")
def locator():
    return load_frame_encoder()


@pytest.mark.parametrize("rate", [8000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("window", [1000, 48_000, 10**6])
def test_windows_hold_the_whole_file(tmp_path, rate, window):
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(round(2.345 * rate)) / rate)
    soundfile.write(tmp_path / "tone.wav", np.stack([tone, 0 * tone], 1), rate, subtype="FLOAT")
    windows = list(mono_windows(tmp_path / "tone.wav", window))
    assert all(len(w) == window for w in windows[:-1])
    whole = np.concatenate(windows)
    assert abs(len(whole) - 2.345 * SAMPLE_RATE) <= 2
    expected = 0.15 * np.sin(
        2 * np.pi * 440 * np.arange(len(whole)) / SAMPLE_RATE
    )  # the mean of two channels
    assert np.abs(whole - expected)[200:-200].max() < 1e-3


def test_windows_begin_where_asked(tmp_path):
    ramp = np.linspace(0, 1, 4 * SAMPLE_RATE, dtype=np.float32)
    soundfile.write(tmp_path / "ramp.wav", ramp, SAMPLE_RATE, subtype="FLOAT")
    (window,) = mono_windows(tmp_path / "ramp.wav", 10**6, start_s=1.0, duration_s=0.5)
    assert np.array_equal(window, ramp[SAMPLE_RATE : SAMPLE_RATE * 3 // 2])


def test_vectors_are_unit_vectors(embedder):
    texts = embedder.embed_text(["dog", "a man talking"])
    sound = embedder.embed_audio_file(SPEECH)
    assert texts.shape == (2, embedder.dim) and sound.shape == (embedder.dim,)
    assert np.allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-5)
    assert np.linalg.norm(sound) == pytest.approx(1, abs=1e-5)
    assert texts[1] @ sound > texts[0] @ sound


def test_silence_is_like_nothing(embedder, tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    assert not embedder.embed_audio_file(tmp_path / "silence.wav").any()


def test_segments_say_where_they_are(embedder):
    segments = list(embedder.embed_audio_segments(SPEECH, 2.0))
    with soundfile.SoundFile(SPEECH) as file:
        seconds = file.frames / file.samplerate
    assert [round(start, 3) for start, _, _ in segments] == [2.0 * i for i in range(len(segments))]
    assert segments[-1][1] == pytest.approx(seconds, abs=0.25)
    total = sum(vector * (end - start) for start, end, vector in segments)
    assert total @ embedder.embed_audio_file(SPEECH) > 0.9 * np.linalg.norm(total)


def test_frames_do_not_show_where_chunks_join(locator, monkeypatch, tmp_path):
    """Long sound in chunks with context gives nearly what one piece gives."""
    rng = np.random.default_rng(0)
    speech = np.concatenate(list(mono_windows(SPEECH, 10**7)))[: 6 * 46_080]
    sound = np.concatenate([speech, speech[::-1], speech]) + 0.001 * rng.standard_normal(3 * len(speech))
    soundfile.write(tmp_path / "long.wav", sound, SAMPLE_RATE, subtype="FLOAT")
    assert len(sound) < CHUNK_SAMPLES
    whole = locator.activity(tmp_path / "long.wav", ["person speaking"])
    monkeypatch.setattr(embedding, "CHUNK_SAMPLES", 6 * 46_080)
    pieces = locator.activity(tmp_path / "long.wav", ["person speaking"])
    assert whole.shape == pieces.shape == (1, -(-len(sound) // FRAME))
    assert np.abs(whole - pieces).mean() < 0.02


def test_pictures_and_videos(embedder, tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    vector = embedder.embed_picture_file(tmp_path / "p.png")
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    frames = [np.full((64, 64, 3), 10 * i, np.uint8) for i in range(20)]
    video = embedder.embed_video_file(write_video(tmp_path / "v.mp4", frames, 10))
    assert np.linalg.norm(video) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "does not exist"), (b"", "not a picture"), (b"\x89PNG\r\n\x1a\n cut", "p.png is ")],
)
def test_bad_pictures(embedder, tmp_path, content, says):
    if content is not None:
        (tmp_path / "p.png").write_bytes(content)
    with pytest.raises(AudioReadError, match=says):
        embedder.embed_picture_file(tmp_path / "p.png")


def test_models_that_are_not_there():
    with pytest.raises(ModelError, match="is not a folder"):
        load_embedder("no such model")
    with pytest.raises(ModelError, match="is not a folder"):
        load_frame_encoder("no such model")


def test_version_follows_the_weights(embedder):
    assert len(embedder.version) == 16
    assert embedder.version == load_embedder().version


def test_nano_gives_the_same_as_graphs_and_in_torch(tmp_path):
    from peav import load_audio_frame, load_audio_video
    from sam_audio.conditioning.embedding import TensorEmbedder, TensorFrameEncoder

    ours, theirs = load_embedder("nano"), TensorEmbedder("nano", *load_audio_video("nano"))
    assert not isinstance(ours, TensorEmbedder)
    assert (ours.dim, ours.version) == (theirs.dim, theirs.version)
    sound = np.random.default_rng(0).standard_normal(70_001).astype(np.float32) * 0.1
    pictures = np.random.default_rng(0).integers(0, 256, (3, 3, 90, 160), np.uint8)
    for one, other in (
        (ours.embed_text(["a dog", "rain"]), theirs.embed_text(["a dog", "rain"])),
        (ours.embed_audio(sound), theirs.embed_audio(sound)),
        (ours.embed_frames(pictures), theirs.embed_frames(pictures)),
    ):
        np.testing.assert_allclose(one, other, atol=2e-3)
    texts = ours.embed_text(["a dog", "rain"])
    audio = ours.embed_audio(sound)[None]
    np.testing.assert_allclose(
        ours.probabilities(audio, texts), theirs.probabilities(audio, texts), atol=1e-4
    )
    frames, theirs_frames = load_frame_encoder("nano"), TensorFrameEncoder("nano", *load_audio_frame("nano"))
    blocks = [
        np.concatenate(list(encoder.activity_blocks(iter([sound]), ["a dog", "rain"])), axis=1)
        for encoder in (frames, theirs_frames)
    ]
    np.testing.assert_allclose(*blocks, atol=1e-3)


@pytest.mark.parametrize("in_torch", [False, True])
def test_two_kinds_at_once_lie_between_them_for_nano(in_torch, tmp_path):
    """Where torch runs it the model fuses by itself, and does the same."""
    from peav import load_audio_video
    from sam_audio.conditioning.embedding import TensorEmbedder

    embedder = TensorEmbedder("nano", *load_audio_video("nano")) if in_torch else load_embedder("nano")
    rng = np.random.default_rng(0)
    sound = 0.1 * rng.standard_normal(2 * SAMPLE_RATE).astype(np.float32)
    video = write_video(tmp_path / "v.mp4", [rng.integers(0, 255, (64, 64, 3), np.uint8)] * 20, 10, sound)
    heard, seen = embedder.embed_audio_file(video), embedder.embed_video_file(video)
    texts = embedder.embed_text(["rain", "a dog"])
    for vectors, one, other in (
        (embedder.embed_audio_video_file(video)[None], heard, seen),
        (embedder.embed_with_text(video, ["rain", "a dog"], "audio"), heard, texts),
        (embedder.embed_with_text(video, ["rain", "a dog"], "video"), seen, texts),
    ):
        between = np.atleast_2d(one + other)
        between /= np.linalg.norm(between, axis=1, keepdims=True)
        np.testing.assert_allclose(vectors, between, atol=2e-3)
