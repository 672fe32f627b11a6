"""The embedded audio and video towers, and the classes that give them the official interface."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soxr
import torch

from peav import AudioTower, NanoAudioFrame, NanoAudioVideo, NanoProcessor, VideoTower, load_audio_video
from peav.nano.audio import levelled, log_mel
from peav.nano.graphs import VideoGraph
from peav.nano.pictures import IMAGE_SIZE, fitted
from peav.nano.sound import FRAME, SAMPLE_RATE, WINDOW, mel_filters
from peav.nano.video import prepare_frames
from sam_audio.conditioning.embedding import mono_windows

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def audio() -> AudioTower:
    return AudioTower.from_pretrained("nano")


@pytest.fixture(scope="module")
def model() -> NanoAudioVideo:
    return NanoAudioVideo()


@pytest.fixture(scope="module")
def processor() -> NanoProcessor:
    return NanoProcessor()


def example(name: str) -> torch.Tensor:
    return torch.from_numpy(np.concatenate(list(mono_windows(EXAMPLES / name, SAMPLE_RATE))))[None]


def noise(seconds: float, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(1, round(seconds * SAMPLE_RATE), generator=torch.Generator().manual_seed(seed))


# ---- front end -----------------------------------------------------------------------------------------


def test_mel_is_that_of_yamnet_at_16_khz():
    """Computed from 48 kHz with three times the window, it equals the features of the resampled signal."""
    wave = example("speech.ogg")[0, :WINDOW].numpy()
    low = torch.from_numpy(soxr.resample(wave, SAMPLE_RATE, 16_000, "VHQ"))
    frames = torch.nn.functional.pad(low, (0, 240)).unfold(0, 400, 160) * torch.hann_window(400)
    expected = torch.log(torch.fft.rfft(frames, 512).abs() @ torch.from_numpy(mel_filters()) + 1e-3)
    ours = log_mel(torch.from_numpy(wave)[None], torch.from_numpy(mel_filters()))[0]
    assert ours.shape == expected.shape == (96, 64)
    assert (ours - expected)[:-3].abs().mean() < 0.02  # the last frames reach past the end


def test_filters_cover_every_band_once():
    filters = mel_filters()
    assert filters.shape == (257, 64)
    assert (filters.sum(0) > 0).all()
    assert filters.sum(1).max() <= 1 + 1e-6  # neighbours cross-fade


def test_levelled_brings_every_recording_to_one_level():
    wave = example("speech.ogg")
    assert torch.allclose(levelled(wave), levelled(0.05 * wave), atol=1e-6)
    assert torch.equal(levelled(torch.zeros(1, 5000)), torch.zeros(1, 5000))


# ---- audio tower ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 1919, 1920, 1921, WINDOW, WINDOW + 1, 3 * SAMPLE_RATE])
def test_one_frame_vector_each_40_ms(audio, n):
    heard = audio(torch.randn(2, n) * 0.1)
    assert heard.frames.shape == (2, -(-n // FRAME), 384)
    assert torch.allclose(heard.clip.norm(dim=1), torch.ones(2), atol=1e-5)


def test_vectors_do_not_depend_on_the_level(audio):
    wave = example("scene.ogg")
    assert torch.allclose(audio(wave).clip, audio(0.1 * wave).clip, atol=1e-4)


def test_padding_does_not_count(audio):
    wave = noise(1.5)
    padded = torch.nn.functional.pad(wave, (0, 5 * SAMPLE_RATE))
    n = -(-wave.shape[1] // FRAME)
    valid = torch.arange(-(-padded.shape[1] // FRAME))[None] < n
    assert torch.allclose(audio(wave).clip, audio(padded, valid).clip, atol=1e-3)
    assert not torch.allclose(audio(wave).clip, audio(padded).clip, atol=1e-3)


def test_frames_of_a_batch_are_those_of_its_items(audio):
    one, two = noise(2.0, 1), 0.3 * noise(2.0, 2)
    both = audio(torch.cat([one, two]))
    assert torch.allclose(both.frames[1], audio(two).frames[0], atol=1e-3)


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        ("speech.ogg", "someone talking", "a guitar solo"),
        ("band.wav", "music", "dog barking"),
        ("scene.ogg", "a river", "a man talking"),
    ],
)
def test_it_knows_the_examples(model, processor, file, right, wrong):
    inputs = processor(audio=[example(file)], text=[right, wrong], sampling_rate=SAMPLE_RATE)
    sound = model.encode_audio(inputs["input_values"], inputs["padding_mask"])
    texts = model.encode_audio_text(inputs["input_ids"], inputs["attention_mask"])
    better, worse = (sound @ texts.T)[0]
    assert better > worse + 0.05


def test_speech_is_heard_where_it_is(processor):
    """Noise, then speech: the frames of the second half say speech, those of the first do not."""
    speech = example("speech.ogg")[:, : 4 * SAMPLE_RATE]
    sound = torch.cat([0.003 * noise(4.0), speech], dim=1)
    inputs = processor(audio=[sound], text=["person speaking"], sampling_rate=SAMPLE_RATE)
    out = NanoAudioFrame()(**inputs)
    half = 4 * 25
    assert out.probs.shape == (1, 200)
    assert out.probs[0, half + 10 :].mean() > 0.5 > 0.2 > out.probs[0, : half - 10].mean()
    pairs = NanoAudioFrame().pairwise_logits(out.audio_embeds, out.text_embeds)
    assert torch.allclose(pairs[0, 0], out.logits[0], atol=1e-4)


# ---- video tower ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(224, 224), (50, 199), (600, 200), (1, 1)])
def test_frames_are_fitted_whole(size):
    frames = torch.full((2, 3, *size), 200, dtype=torch.uint8)
    whole = prepare_frames(frames)
    assert whole.shape == (2, 3, IMAGE_SIZE, IMAGE_SIZE)
    assert whole.dtype == torch.uint8
    assert whole[:, :, 112, 112].eq(200).all()


@pytest.mark.parametrize("size", [(224, 224), (50, 199), (600, 201), (333, 500), (1, 1), (3, 900)])
def test_frames_are_fitted_alike_in_numpy(size):
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (2, 3, *size), generator=generator, dtype=torch.uint8)
    ours, theirs = fitted(frames.numpy()), prepare_frames(frames).numpy()
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    assert abs(ours.astype(int) - theirs).max() <= 1  # rounded from nearly the same


def test_the_video_tower_is_the_same_as_a_graph():
    generator = torch.Generator().manual_seed(0)
    tower, graph = VideoTower.from_pretrained("nano"), VideoGraph()
    for n in (1, 17):
        frames = torch.randint(0, 256, (n, 3, 224, 224), generator=generator, dtype=torch.uint8)
        with torch.inference_mode():
            theirs = tower(frames[None])[0].numpy()
        np.testing.assert_allclose(graph.embed(frames.numpy()), theirs, atol=1e-4)


def test_video_vectors(model, processor):
    generator = torch.Generator().manual_seed(0)
    videos = [torch.randint(0, 256, (n, 3, 60, 80), generator=generator, dtype=torch.uint8) for n in (3, 1)]
    inputs = processor(videos=videos)
    both = model.encode_video(inputs["pixel_values_videos"], inputs["padding_mask_videos"])
    assert torch.allclose(both.norm(dim=1), torch.ones(2), atol=1e-5)
    alone = processor(videos=videos[1:])
    single = model.encode_video(alone["pixel_values_videos"], alone["padding_mask_videos"])
    assert torch.allclose(both[1], single[0], atol=1e-4)  # padded frames do not count


def test_the_backbone_sees_what_is_drawn():
    """A still video is the picture it is made of."""
    tower = VideoTower.from_pretrained("nano")
    picture = torch.randint(0, 256, (1, 1, 3, 64, 64), generator=torch.Generator().manual_seed(1)).to(
        torch.uint8
    )
    assert torch.allclose(tower(picture), tower(picture.expand(1, 4, 3, 64, 64)), atol=1e-4)


# ---- interface -----------------------------------------------------------------------------------------


def test_what_is_given_decides_what_comes_out(model, processor):
    video = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    inputs = processor(text=["dog"], audio=[noise(1.0)], videos=[video], sampling_rate=SAMPLE_RATE)
    whole = model(**inputs)
    assert all(getattr(whole, name).shape == (1, 384) for name in vars(whole))
    expected = torch.nn.functional.normalize(whole.audio_embeds + whole.audio_text_embeds, dim=-1)
    assert torch.allclose(whole.audio_plus_text_embeds, expected)
    text_only = model(inputs["input_ids"], inputs["attention_mask"])
    assert text_only.audio_visual_text_embeds is not None
    assert text_only.audio_embeds is None and text_only.audio_text_embeds is None


def test_text_search_loads_no_other_tower():
    model, processor = load_audio_video("nano")
    inputs = processor(text=["dog barking"])
    model.encode_audio_text(inputs["input_ids"], inputs["attention_mask"])
    assert list(model.towers._loaded) == ["text"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"audio": [torch.zeros(1, 100)], "sampling_rate": 44_100}, "resample it to 48000 Hz"),
        ({"audio": [torch.zeros(2, 100)]}, "mix it down"),
        ({"audio": [torch.zeros(1, 0)]}, "mix it down"),
        ({"videos": [torch.zeros(3, 32, 32)]}, "frames, 3, H, W"),
        ({"text": [""]}, "is empty"),
    ],
)
def test_wrong_inputs_are_refused(processor, arguments, message):
    with pytest.raises(ValueError, match=message):
        processor(**arguments)
