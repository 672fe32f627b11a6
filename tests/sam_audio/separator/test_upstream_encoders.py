"""Scripts written for the published PE-AV and PE-A-Frame run with another import line: names, arguments and outputs."""

from __future__ import annotations

import numpy as np
import official_tiny as tiny
import pytest
import soundfile
import torch
from tiny_video import write_video

import peav
from peav import PEAudioFrame, PEAudioFrameTransform, PEAudioVisual, PEAudioVisualTransform
from peav.checkpoints import CheckpointError
from sam_audio.errors import ModelError

RATE = 48_000


@pytest.fixture(scope="module")
def av(tmp_path_factory):
    return str(tiny.make(tmp_path_factory.mktemp("models") / "av", peav.PEAudioVideo))


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    return str(tiny.make(tmp_path_factory.mktemp("models") / "frame", PEAudioFrame))


@pytest.fixture
def recordings(tmp_path):
    """A stereo file at 44.1 kHz, and the same at the model's rate."""
    rng = np.random.default_rng(0)
    paths = []
    for n, (rate, channels) in enumerate(((44_100, 2), (RATE, 1))):
        sound = rng.normal(0, 0.1, (rate // 2, channels))
        soundfile.write(tmp_path / f"{n}.wav", sound, rate, subtype="FLOAT")
        paths.append(str(tmp_path / f"{n}.wav"))
    return paths


def test_the_frame_model(frame, recordings):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = PEAudioFrame.from_config(frame, pretrained=True).to(device)
    transform = PEAudioFrameTransform.from_config(frame)
    texts = ["dog barking", "rain"]
    inputs = transform(audio=[recordings[1]] * 2, text=texts).to(device)
    assert inputs.input_ids is inputs["input_ids"] and set(inputs) == {
        "input_ids", "attention_mask", "input_values", "padding_mask"
    }  # fmt: skip
    with torch.inference_mode():
        middle = float(model(**inputs).probs.median())
        found = model(**inputs, return_spans=True, threshold=middle)
    assert len(found.spans) == 2 and any(found.spans)
    for spans in found.spans:
        assert all(0 <= start < end <= 0.52 for start, end in spans)
    assert found.spans == model.spans(**inputs, threshold=middle)
    assert found.audio_embeds.shape[0] == 2 and found.text_embeds.shape == (2, 24)
    assert model(**inputs, return_spans=False).spans is None
    with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16):
        half = model(**inputs)
    torch.testing.assert_close(half.text_embeds, found.text_embeds, atol=0.1, rtol=0.1)


def test_files_are_heard_as_their_samples(frame, recordings):
    transform = PEAudioFrameTransform.from_config(frame)
    samples = torch.from_numpy(soundfile.read(recordings[1], dtype="float32")[0])
    by_file, by_samples = transform(audio=recordings[1]), transform(audio=[samples[None]])
    assert torch.equal(by_file["input_values"], by_samples["input_values"])
    other = transform(audio=recordings)  # resampled, channels averaged
    assert other["input_values"].shape == (2, 1, 24_960)
    assert torch.equal(transform(text="rain").input_ids, transform(text=["rain"]).input_ids)


def test_the_audio_video_model(av, recordings, tmp_path):
    frames = [np.random.default_rng(n).integers(0, 256, (48, 64, 3), np.uint8) for n in range(5)]
    video = str(write_video(tmp_path / "clip.mp4", frames, fps=8))
    model = PEAudioVisual.from_config(av, pretrained=True)
    transform = PEAudioVisualTransform.from_config(av)
    inputs = transform(videos=[video, video], audio=recordings, text=["dog barking", "rain"]).to("cpu")
    assert inputs.pixel_values_videos.shape == (2, 5, 3, 48, 48)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(**inputs)
    for name in ("audio", "visual", "audio_visual", "audio_text", "visual_text", "audio_visual_text"):
        assert getattr(out, f"{name}_embeds").shape == (2, 24)
    assert out.audio_plus_text_embeds.shape == out.visual_plus_text_embeds.shape == (2, 24)
    # as given in frames
    from sam_audio.separator.official.video import read_all

    given = transform(videos=[read_all(video)])
    assert torch.equal(given.pixel_values_videos[0], inputs.pixel_values_videos[0])


def test_models_of_16_frames_repeat_those_of_a_short_file(tmp_path):
    config = tiny.AV_CONFIG | {}
    both = config["audio_visual_model"]
    visual = both["visual_model"] | {"fixed_len_video": True}
    config["audio_visual_model"] = both | {"visual_model": visual}
    folder = tiny.save(tmp_path / "av", config, tiny.tensors(peav.PEAudioVideo, config))
    transform = PEAudioVisualTransform.from_config(folder)
    for n in (5, 40):
        frames = [np.full((48, 48, 3), 6 * i, np.uint8) for i in range(n)]
        video = write_video(tmp_path / f"{n}.mp4", frames, fps=8)
        pixels = transform(videos=video).pixel_values_videos
        assert pixels.shape == (1, 16, 3, 48, 48)
        level = (pixels.mean(dim=(0, 2, 3, 4)) + 1) / 2 * 255 / 6
        wanted = torch.tensor([float(i * (n - 1) // 15) for i in range(16)])
        torch.testing.assert_close(level, wanted, atol=0.7, rtol=0)


def test_published_sizes_with_random_weights_need_no_network(monkeypatch):
    monkeypatch.setattr("peav.hub.find", pytest.fail)
    built = []
    monkeypatch.setattr(PEAudioFrame, "load", lambda self: built.append(self.config.audio.hidden_size))
    model = PEAudioFrame.from_config("pe-a-frame-base")
    assert built == [1024] and model.training
    with pytest.raises(CheckpointError, match="another kind"):
        PEAudioFrame.from_config("facebook/pe-av-base")


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(ModelError, match="not a whole model"):
        PEAudioVisualTransform.from_config(tmp_path)
    with pytest.raises(TypeError, match="unexpected keyword argument 'cachedir'"):
        PEAudioFrame.from_config(str(tmp_path), pretrained=True, cachedir="x")
