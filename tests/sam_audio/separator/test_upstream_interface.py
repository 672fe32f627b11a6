"""Scripts written for the published package run unchanged: names, arguments and shapes are the same."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import soundfile
import tiny_t5
import torch
from tiny_video import write_video

import sam_audio
import sam_audio.errors

pytest.importorskip("transformers")
torchaudio = pytest.importorskip("torchaudio")

RATE = tiny_t5.RATE


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return tiny_t5.write_model(tmp_path_factory.mktemp("models") / "sam-audio")


@pytest.fixture(scope="module")
def judge_folder(tmp_path_factory):
    from tiny_judge_official import random_tensors, write

    return write(tmp_path_factory.mktemp("models") / "judge", random_tensors())


@pytest.fixture
def script(tmp_path, monkeypatch, model_folder, judge_folder):
    """Runs a script beside a recording of 2 s; gives its variables."""

    def save(path, samples, sample_rate):
        soundfile.write(path, samples.T.numpy(), sample_rate, subtype="FLOAT")

    def load(path):
        samples, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
        return torch.from_numpy(samples.T.copy()), sample_rate

    # those of newer torchaudio need torchcodec
    monkeypatch.setattr(torchaudio, "save", save)
    monkeypatch.setattr(torchaudio, "load", load)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAM_AUDIO_CACHE", str(tmp_path / "cache"))
    sound = np.random.default_rng(0).normal(0, 0.1, (2 * RATE, 2))
    soundfile.write("mix.wav", sound, RATE, subtype="FLOAT")

    def run(text: str) -> dict:
        names = {"NAME": str(model_folder), "JUDGE": str(judge_folder)}
        exec(textwrap.dedent(text), names)
        return names

    return run


@pytest.mark.parametrize(
    "name", ["SAMAudio", "SAMAudioProcessor", "SAMAudioJudgeModel", "SAMAudioJudgeProcessor"]
)
def test_names_are_exported(name):
    assert name in sam_audio.__all__
    assert getattr(sam_audio, name).__name__ == name


def test_importing_brings_nothing_until_a_name_is_used():
    code = (
        "import sys, sam_audio; print([m for m in ('torch', 'numpy', 'judge', 'peav') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_text_prompt(script):
    names = script("""
        import torch, torchaudio
        from sam_audio import SAMAudio, SAMAudioProcessor

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = SAMAudio.from_pretrained(NAME).eval().to(device)
        processor = SAMAudioProcessor.from_pretrained(NAME)
        batch = processor(audios=["mix.wav"], descriptions=["dog barking"]).to(device)
        with torch.inference_mode():
            result = model.separate(batch, predict_spans=False, reranking_candidates=1)
        rate = processor.audio_sampling_rate
        torchaudio.save("target.wav", result.target[0].unsqueeze(0).cpu(), rate)
        torchaudio.save("residual.wav", result.residual[0].unsqueeze(0).cpu(), rate)
    """)
    assert soundfile.info("target.wav").frames == soundfile.info("residual.wav").frames == 2 * RATE
    assert names["result"].noise.shape == (1, 50, 16)


def test_anchors_masked_video_and_several_recordings(script):
    names = script("""
        import torch, torchaudio
        from sam_audio import SAMAudio, SAMAudioProcessor

        model = SAMAudio.from_pretrained(NAME).eval()
        processor = SAMAudioProcessor.from_pretrained(NAME)
        wave, rate = torchaudio.load("mix.wav")
        frames = torch.randint(0, 255, (10, 3, 24, 32), dtype=torch.uint8)
        mask = torch.zeros(10, 24, 32, dtype=torch.bool)
        mask[:, 4:12, 4:12] = True
        batch = processor(
            audios=["mix.wav", wave[:, : rate // 2]],
            descriptions=["dog barking", "rain"],
            anchors=[[["+", 0.3, 1.0]], [["-", 0.1, 0.2], ["+", 0.2, 0.4]]],
            masked_videos=processor.mask_videos([frames, frames], [mask, mask]),
        ).to("cpu")
        result = model.separate(batch, ode_opt={"method": "midpoint", "options": {"step_size": 2 / 4}})
        again = model.separate(
            batch, noise=result.noise, ode_opt={"method": "midpoint", "options": {"step_size": 2 / 4}}
        )
    """)
    result, again = names["result"], names["again"]
    # of whole latent frames, as published
    assert [sound.shape for sound in result.target] == [(2 * RATE,), (13 * 1920,)]
    assert len(result.residual) == 2
    assert torch.equal(result.latents, again.latents)


def test_candidates_ranked_by_the_judge(script):
    names = script("""
        import torch
        from sam_audio import SAMAudio, SAMAudioProcessor
        from sam_audio.separator.official import ranking

        model = SAMAudio.from_pretrained(NAME)
        model.text_ranker = ranking.build({"kind": "judge", "checkpoint_or_model_id": JUDGE})
        processor = SAMAudioProcessor.from_pretrained(NAME)
        batch = processor(audios=["mix.wav"], descriptions=["dog"])
        result = model.separate(batch, reranking_candidates=2, ode_opt={"method": "euler"})
    """)
    result = names["result"]
    assert result.noise.shape == (2, 50, 16) and result.scores.shape == (1, 2)
    assert len(result.target) == 1 and result.target[0].shape == (2 * RATE,)


@pytest.mark.parametrize("sounds", ["samples", "files"])
def test_judge(script, sounds):
    given = '"mix.wav"' if sounds == "files" else "torchaudio.load('mix.wav')[0].mean(0, keepdim=True)"
    names = script(f"""
        import torch, torchaudio
        from sam_audio import SAMAudioJudgeModel, SAMAudioJudgeProcessor

        judge = SAMAudioJudgeModel.from_pretrained(JUDGE).eval().to("cpu")
        processor = SAMAudioJudgeProcessor.from_pretrained(JUDGE)
        mixture = {given}
        inputs = processor(
            text=["a dog barks", "rain falls"],
            input_audio=[mixture, mixture],
            separated_audio=[mixture, mixture],
        ).to("cpu")
        with torch.inference_mode():
            outputs = judge(**inputs)
        scores = [outputs.overall, outputs.recall, outputs.precision, outputs.faithfulness]
    """)
    assert all(score.shape == (2, 1) and score.isfinite().all() for score in names["scores"])


def test_one_text_and_one_file_need_no_list(script):
    names = script("""
        import torch
        from sam_audio import SAMAudioJudgeModel, SAMAudioJudgeProcessor
        from pathlib import Path

        judge = SAMAudioJudgeModel.from_pretrained(JUDGE, device_map="cpu")
        processor = SAMAudioJudgeProcessor.from_pretrained(JUDGE)
        one = processor(text="a dog barks", input_audio="mix.wav", separated_audio=Path("mix.wav"),
                        return_tensors="pt", padding=True)
        listed = processor(text=["a dog barks"], input_audio=["mix.wav"], separated_audio=["mix.wav"])
        overall = judge(**one).overall
    """)
    assert names["overall"].shape == (1, 1)
    assert all(torch.equal(names["one"][name], names["listed"][name]) for name in names["listed"])
    for wrong in ({"return_tensors": "np"}, {"padding": False}):
        with pytest.raises(sam_audio.UserError, match="use (return_tensors|padding)="):
            names["processor"]("rain", "mix.wav", "mix.wav", **wrong)


def test_arguments_of_the_hub_and_fields_of_the_config(script, monkeypatch):
    names = script("""
        import torch
        from sam_audio import SAMAudio

        model = SAMAudio.from_pretrained(
            NAME, map_location="cpu", token=None, cache_dir=None, local_files_only=True, revision="main",
            span_predictor=None, text_ranker={"kind": "judge", "checkpoint_or_model_id": JUDGE}, visual_ranker=None,
        )
        here = model.device()
        wavs = torch.arange(2 * 3 * 5760.0).reshape(2, 3, 5760)
        cut = model.unbatch(wavs, torch.tensor([3.0, 1.0]))
    """)
    model, cut, wavs = names["model"], names["cut"], names["wavs"]
    assert names["here"] == torch.device("cpu")
    assert [item.shape for item in cut] == [(3, 5760), (3, 1920)]
    assert torch.equal(cut[1], wavs[1, :, :1920])
    assert model.config.text_ranker["kind"] == "judge" and model.span_predictor is None
    assert model.text_ranker is not None
    with pytest.raises(
        sam_audio.UserError, match="no field 'span_predictr' in its config: there are in_channels"
    ):
        sam_audio.SAMAudio.from_pretrained(names["NAME"], span_predictr=None)
    for wrong in (
        {"device_map": {"": "cpu", "text": "cuda"}},
        {"dtype": "int4"},
        {"map_location": "nowhere"},
    ):
        with pytest.raises(sam_audio.UserError):
            sam_audio.SAMAudio.from_pretrained(names["NAME"], **wrong)


def test_the_hub_is_asked_as_told(script, monkeypatch):
    asked = []

    def find(name, files, revision=None, **options):
        asked.append((revision, options))
        raise sam_audio.errors.ModelError("asked")

    monkeypatch.setattr("peav.hub.find", find)
    options = {"token": "secret", "cache_dir": "there", "local_files_only": True}
    for kind in (sam_audio.SAMAudio, sam_audio.SAMAudioProcessor):
        with pytest.raises(sam_audio.UserError, match="asked"):
            kind.from_pretrained("someone/model", revision="v2", **options)
    for kind in (sam_audio.SAMAudioJudgeModel, sam_audio.SAMAudioJudgeProcessor):
        with pytest.raises(sam_audio.UserError, match="asked"):
            kind.from_pretrained("someone/model", revision="v2", **options)
    assert asked == [("v2", options)] * 4


def test_upstreams_modules_and_the_batch(script):
    names = script("""
        import torch
        from sam_audio.model import SAMAudio
        from sam_audio.processor import Batch, SAMAudioProcessor
        from sam_audio.ranking import build

        processor = SAMAudioProcessor.from_pretrained(NAME)
        batch = processor(
            descriptions=["dog"], audios=["mix.wav"], anchors=[[("+", 0.2, 0.6), ("-", 0.4, 99.0)]]
        )
        before = batch.anchor_alignment
        rates = processor.audio_sampling_rate, processor.hop_length, batch.audio_sampling_rate, batch.hop_length
        samples = processor.feature_to_wav_idx(batch.sizes)
        frames = batch.wav_to_feature_idx(batch.wav_sizes)
        batch.process_anchors([[["+", 0.0, 0.4]]])
    """)
    batch, before = names["batch"], names["before"]
    assert isinstance(batch, names["Batch"])
    assert names["rates"] == (RATE, 1920, RATE, 1920)
    # two seconds; the later anchor counts where both do, and ends with the recording
    assert before[0].tolist() == [0] * 5 + [2] * 5 + [3] * 40
    assert names["samples"].tolist() == [2 * RATE] and names["frames"].tolist() == [50]
    assert batch.anchors == [[("+", 0.0, 0.4)]]
    assert batch.anchor_alignment[0].tolist() == [2] * 10 + [0] * 40
    batch.process_anchors(None)
    assert batch.anchors is None and not batch.anchor_alignment.any()
    with pytest.raises(sam_audio.UserError, match="give one list for each"):
        batch.process_anchors([[], []])


def test_videos_and_masks_by_path(script, tmp_path):
    grey = [np.full((32, 48, 3), 120, np.uint8) for _ in range(6)]
    masks = [np.zeros((32, 48, 3), np.uint8) for _ in range(6)]
    for mask in masks:
        mask[:, 24:] = 255
    write_video(tmp_path / "clip.mp4", grey, fps=6)
    write_video(tmp_path / "mask.mp4", masks, fps=6)
    names = script("""
        from sam_audio import SAMAudioProcessor

        processor = SAMAudioProcessor.from_pretrained(NAME)
        masked = processor.mask_videos(["clip.mp4"], ["mask.mp4"])
        batch = processor(audios=["mix.wav"], descriptions=["dog"], masked_videos=masked)
        plain = processor(audios=["mix.wav"], descriptions=["dog"], masked_videos=["clip.mp4"])
    """)
    (masked,) = names["masked"]
    assert masked.shape == (6, 3, 32, 48)
    assert masked[..., 24:].max() == 0 and masked[..., :22].min() > 100
    assert names["batch"].masked_video[0].shape == names["plain"].masked_video[0].shape == (50, 3, 32, 48)
