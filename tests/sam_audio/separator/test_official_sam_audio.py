"""Loading SAM-Audio checkpoints, preparing batches and separating them."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import parity
import pytest
import soundfile
import tiny_official
import torch
from safetensors.torch import save_file
from tiny_video import write_video

from judge.rank import Ensemble, as_text_ranker
from sam_audio.errors import AudioReadError, ModelError, PromptError, UserError
from sam_audio.separator.official import ranking
from sam_audio.separator.official.anchors import lay_out
from sam_audio.separator.official.batch import SAMAudioProcessor
from sam_audio.separator.official.config import TextConfig
from sam_audio.separator.official.long import BlendedVelocity, Windows
from sam_audio.separator.official.memory import codec_bytes, rows_within
from sam_audio.separator.official.model import SAMAudio
from sam_audio.separator.official.source import beside
from sam_audio.separator.official.text import TextEncoder
from sam_audio.separator.official.video import mask_videos, nearest, on_latent_frames

PROCESSOR = "sam-audio-tiny/processor"
TEXT = "sam-audio-tiny/text"


def one_sentence(error: pytest.ExceptionInfo[BaseException]) -> str:
    text = str(error.value)
    assert text and "\n" not in text and len(text) < 400
    return text


@pytest.fixture(scope="module")
def published_folder():
    return parity.parity_dir() / "sam-audio-tiny"


@pytest.fixture(scope="module")
def published(published_folder) -> SAMAudio:
    return SAMAudio.from_pretrained(published_folder, cache=False)


@pytest.fixture(scope="module")
def published_batches():
    stored = parity.reference(PROCESSOR)
    processor = SAMAudioProcessor()
    audios = [torch.from_numpy(stored["audio0"]), torch.from_numpy(stored["audio1"])]
    texts, anchors = stored["texts"].tolist(), json.loads(stored["anchors"].item())
    plain = processor(audios=audios, descriptions=texts)
    return {"text": plain, "anchors": processor(audios=audios, descriptions=texts, anchors=anchors)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_official.write(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def model(folder) -> SAMAudio:
    return tiny_official.load(folder)


PROCESS = SAMAudioProcessor(400, 16)


def make_batch(seconds=(2.0, 1.1), **more):
    torch.manual_seed(3)
    texts = ["dog barking", "rain"][: len(seconds)]
    return PROCESS(audios=[torch.randn(1, int(s * 400)) for s in seconds], descriptions=texts, **more)


class TestPublishedNumbers:
    def test_processor(self, published_batches):
        plain, anchored = published_batches["text"], published_batches["anchors"]
        for name in ("audios", "sizes", "wav_sizes", "audio_pad_mask", "anchor_ids", "anchor_alignment"):
            parity.check(PROCESSOR, name, getattr(anchored, name))
        parity.check(PROCESSOR, "anchor_ids_none", plain.anchor_ids)
        parity.check(PROCESSOR, "anchor_alignment_none", plain.anchor_alignment)

    def test_text(self, published):
        pytest.importorskip("transformers")
        features, valid = published.text_encoder(parity.reference(TEXT)["texts"].tolist())
        parity.check(TEXT, "features", features)
        parity.check(TEXT, "mask", valid)

    @pytest.mark.parametrize("kind", ["text", "anchors"])
    def test_separate(self, published, published_batches, kind):
        pytest.importorskip("transformers")
        file = f"sam-audio-tiny/separate_{kind}"
        stored = {name: torch.from_numpy(array) for name, array in parity.reference(file).items()}
        torch.manual_seed(11)  # of the watermark's message
        result = published.separate(published_batches[kind], noise=stored["noise"])
        parity.check(file, "noise", result.noise)
        parity.check(file, "features", result.latents)
        for item in (0, 1):
            parity.check(file, f"target{item}", result.target[item])
            parity.check(file, f"residual{item}", result.residual[item])
        parity.check(file, "wav_no_watermark", published.decode(result.latents, watermark=False))
        sounds = published.decode(stored["features"], message=stored["message"])
        parity.check(file, "target0", sounds[0, 0])

    def test_strict_names(self, published_folder, published):
        stored = json.loads((published_folder / "keys.json").read_text())
        assert {n: list(s) for n, s in published.file.shapes.items()} == stored

    def test_official_sizes_are_expected(self):
        from peav.official.parts import unset
        from sam_audio.separator.official.config import SAMAudioConfig
        from sam_audio.separator.official.weights import expected_shapes

        for path in (parity.parity_dir() / "keys").glob("sam-audio-[bsl]*.json"):
            known = json.loads(path.read_text())
            config = SAMAudioConfig.of(known["config"])
            with unset():
                model = SAMAudio(config)
            shapes = {name: tuple(shape) for name, shape in known["shapes"].items()}
            assert expected_shapes(model, model.audio_codec, config, shapes) == shapes

    def test_the_judge_ranks_candidates(self, published, published_folder, published_batches):
        pytest.importorskip("transformers")
        judge = ranking.build(
            {"kind": "judge", "name": str(published_folder.parent / "sam-audio-judge-tiny")}
        )
        batch = published_batches["text"]
        published.text_ranker = judge
        try:
            result = published.separate(batch, reranking_candidates=2, seed=0, ode_opt={"method": "euler"})
        finally:
            published.text_ranker = None
        assert result.scores.shape == (2, 2)
        best = [int(k) for k in result.scores.argmax(dim=1)]
        alone = published.separate(
            batch, noise=result.noise[[best[0], 2 + best[1]]], ode_opt={"method": "euler"}
        )
        torch.testing.assert_close(alone.latents[0], result.latents[best[0]], atol=1e-4, rtol=0)
        stored = parity.reference("sam-audio-judge-tiny/single")
        sounds = [[torch.from_numpy(stored[name])] for name in ("separated", "mixture")]
        score = judge(sounds[0], [sounds[1][0][0]], [stored["text"].item()])
        parity.check(
            "sam-audio-judge-tiny/single", "scores", np.append(score.numpy(), stored["scores"][:, 1:], axis=1)
        )

    def test_predicted_spans_reach_the_flow(self, published_folder, published_batches, tmp_path):
        pytest.importorskip("transformers")
        for name in ("checkpoint.pt", "keys.json"):
            os.symlink(published_folder / name, tmp_path / name)
        config = (published_folder / "config_with_span_predictor.json").read_text()
        for name in ("t5-tiny", "pe-a-frame-tiny"):
            config = config.replace(f'"{name}"', json.dumps(str(published_folder.parent / name)))
        (tmp_path / "config.json").write_text(config)
        model = SAMAudio.from_pretrained(tmp_path, cache=False)
        batch = published_batches["text"]
        spanned = model.separate(batch, predict_spans=True, seed=0, ode_opt={"method": "euler"})
        assert any(spanned.anchors)
        assert model.separate(published_batches["anchors"], predict_spans=True, seed=0).anchors == (
            published_batches["anchors"].anchors
        )
        plain = model.separate(batch, seed=0, ode_opt={"method": "euler"})
        given = model.separate(batch.with_anchors(spanned.anchors), seed=0, ode_opt={"method": "euler"})
        assert not torch.equal(plain.latents, spanned.latents)
        assert torch.equal(given.latents, spanned.latents)


class TestLoading:
    def test_safetensors_and_pickle_are_the_same(self, folder, tmp_path):
        tensors = torch.load(folder / "checkpoint.pt", weights_only=True)
        save_file({n: t.clone() for n, t in tensors.items()}, tmp_path / "model.safetensors")
        (tmp_path / "config.json").write_text((folder / "config.json").read_text())
        a, b = (SAMAudio.from_pretrained(f, cache=False).state_dict() for f in (folder, tmp_path))
        assert all(torch.equal(a[name], b[name]) for name in a | b)

    def damaged(self, tmp_path, change):
        folder = tiny_official.write(tmp_path / "model")
        tensors = torch.load(folder / "checkpoint.pt", weights_only=True)
        change(tensors)
        torch.save(tensors, folder / "checkpoint.pt")
        with pytest.raises(ModelError) as error:
            SAMAudio.from_pretrained(folder)
        return one_sentence(error)

    @pytest.mark.parametrize(
        "name",
        [
            "proj.weight",
            "audio_codec.decoder.model.1.block.1.weight_v",
            "audio_codec.decoder.wm_model.encoder_block.pre.0.alpha",
            "transformer.layers.1.attention.wq.weight",
            "vision_encoder.model.visual.attn_pool.probe",
            "vision_encoder.model.logit_scale",
            "vision_encoder.model.transformer.resblocks.0.ln_1.bias",
        ],
    )
    def test_missing_and_wrong_tensors_are_named(self, tmp_path, name):
        assert f"{name} is missing" in self.damaged(tmp_path / "a", lambda t: t.pop(name))
        message = self.damaged(tmp_path / "b", lambda t: t.update({name: torch.zeros(2, 3, 5, 7)}))
        assert f"{name} has shape (2, 3, 5, 7) instead of" in message

    def test_tensors_too_many_are_named(self, tmp_path):
        assert "proj.gain" in self.damaged(tmp_path, lambda t: t.update({"proj.gain": torch.zeros(1)}))

    def test_parts_that_live_elsewhere_may_be_there(self, tmp_path):
        folder = tiny_official.write(tmp_path)
        tensors = torch.load(folder / "checkpoint.pt", weights_only=True)
        tensors["text_encoder.shared.weight"] = torch.zeros(3)
        torch.save(tensors, folder / "checkpoint.pt")
        SAMAudio.from_pretrained(folder)

    def test_half_precision_on_disk_is_widened(self, folder, tmp_path):
        tensors = torch.load(folder / "checkpoint.pt", weights_only=True)
        (tmp_path / "config.json").write_text((folder / "config.json").read_text())
        torch.save({name: t.half() for name, t in tensors.items()}, tmp_path / "checkpoint.pt")
        assert SAMAudio.from_pretrained(tmp_path).proj.weight.dtype == torch.float32

    def test_code_is_never_run(self, tmp_path):
        marker = tmp_path / "ran"

        class Evil:
            def __reduce__(self):
                return os.mkdir, (str(marker),)

        for write in (
            lambda path: torch.save({"proj.weight": Evil()}, path),
            lambda path: path.write_bytes(pickle.dumps(Evil())),
        ):
            folder = tiny_official.write(tmp_path / "model")
            write(folder / "checkpoint.pt")
            with pytest.raises(ModelError) as error:
                SAMAudio.from_pretrained(folder)
            one_sentence(error)
            assert not marker.exists()

    @pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 not really a zip file"])
    def test_damaged_files(self, tmp_path, content):
        folder = tiny_official.write(tmp_path)
        (folder / "checkpoint.pt").write_bytes(content)
        with pytest.raises(ModelError) as error:
            SAMAudio.from_pretrained(folder)
        assert "checkpoint.pt" in one_sentence(error)

    def test_a_cut_off_file(self, tmp_path):
        path = tiny_official.write(tmp_path) / "checkpoint.pt"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(ModelError, match="checkpoint.pt"):
            SAMAudio.from_pretrained(tmp_path)

    def test_no_such_folder_or_file(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(ModelError):
            SAMAudio.from_pretrained(tmp_path)
        with pytest.raises(ModelError):
            SAMAudioProcessor.from_pretrained(tmp_path / "nothing here")
        (tmp_path / "config.json").write_text(json.dumps(tiny_official.values()))
        with pytest.raises(ModelError, match="checkpoint.pt"):
            SAMAudio.from_pretrained(tmp_path)

    def test_a_config_of_another_size(self, tmp_path):
        folder = tiny_official.write(tmp_path)
        (folder / "config.json").write_text(json.dumps(tiny_official.values(n_layers=3)))
        with pytest.raises(ModelError, match=r"transformer.layers.2.* missing"):
            SAMAudio.from_pretrained(folder)

    @pytest.mark.parametrize("dtype", ["bf16", torch.float16])
    def test_smaller_body(self, folder, dtype):
        small, full = tiny_official.load(folder, dtype=dtype), tiny_official.load(folder)
        assert small.transformer.layers[0].attention.wq.weight.dtype != torch.float32
        assert small.audio_codec.decoder.model[0].weight.dtype == torch.float32
        noise = torch.randn(1, 50, 16)
        a, b = (m.separate(make_batch([2.0]), noise=noise, seed=0).latents for m in (small, full))
        assert 0 < (a - b).std() < 0.1 * b.std()
        with pytest.raises(UserError, match="int8"):
            SAMAudio.from_pretrained(folder, dtype="int8")

    def test_models_that_a_config_names_are_found_beside_it(self, tmp_path):
        (tmp_path / "t5").mkdir()
        (tmp_path / "model").mkdir()
        assert beside("t5", tmp_path / "model") == tmp_path / "t5"
        assert beside("t5-elsewhere", tmp_path / "model") == "t5-elsewhere"


class TestProcessor:
    def test_files_are_read_and_resampled(self, tmp_path):
        path = tmp_path / "a.wav"
        soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, (24000, 2)), 24000, subtype="FLOAT")
        batch = SAMAudioProcessor()(audios=[path, str(path)], descriptions=["a", "b"])
        assert batch.audios.shape == (2, 1, 48000)
        assert batch.sizes.tolist() == [25, 25]

    def test_stereo_is_averaged_and_the_caller_keeps_his(self):
        stereo = torch.randn(2, 100)
        before = stereo.clone()
        batch = PROCESS(audios=[stereo, stereo[0].numpy()], descriptions=["a", "b"])
        torch.testing.assert_close(batch.audios[0, 0], stereo.mean(0))
        assert torch.equal(batch.audios[1, 0], stereo[0])
        assert torch.equal(before, stereo)

    @pytest.mark.parametrize(
        ("anchors", "says"),
        [
            ([("+", 0.5, 0.2)], "ends before it starts"),
            ([("+", 0.5, 0.5)], "ends before it starts"),
            ([("+", 0.5, 2.5)], "after the recording"),
            ([("+", -0.5, 0.5)], "start"),
            ([("+", float("nan"), 0.5)], "start"),
            ([("*", 0.1, 0.2)], "sign"),
            ([("<pad>", 0.1, 0.2)], "sign"),
            ([("+", 0.1, 0.4), ("-", 0.3, 0.6)], "overlap"),
            ([("+", "soon", 0.2)], "cannot be read"),
            ([("+", 0.1)], "cannot be read"),
        ],
    )
    def test_bad_anchors(self, anchors, says):
        with pytest.raises(PromptError, match=says) as error:
            make_batch([2.0], anchors=[anchors], strict_anchors=True)
        one_sentence(error)

    @pytest.mark.parametrize(
        "anchor", [("*", 0.1, 0.2), ("+", float("nan"), 0.5), ("+", 0.1), ("-", "soon", 1)]
    )
    def test_what_is_no_anchor_is_always_refused(self, anchor):
        with pytest.raises(PromptError) as error:
            make_batch([2.0], anchors=[[anchor]])
        one_sentence(error)

    def test_anchors_as_published_overwrite_and_are_cut_off(self):
        given = [[("+", 0.0, 0.2), ("-", 0.12, 9.0)]]
        batch = make_batch([0.4], anchors=given)
        assert batch.anchor_ids.tolist() == [[0, 3, 1, 2]]
        assert batch.anchor_alignment.tolist() == [[2, 2, 2, 3, 3, 3, 3, 3, 3, 3]]

    def test_times_go_up_to_the_next_frame(self):
        valid = torch.ones(1, 12, dtype=torch.bool)
        single = float(np.float32(0.36))  # as predicted spans have it: a little more than 9 frames
        for start, frame in ((0.36, 9), (single, 10), (0.05, 2)):
            _, alignment = lay_out([[("+", start, 0.48)]], valid, (48000, 1920))
            assert alignment[0].tolist().index(2) == frame

    def test_a_part_of_a_recording(self):
        valid = torch.ones(2, 30, dtype=torch.bool)
        anchors = [[("+", 0.1, 0.5)], [("-", 0.6, 1.1), ("+", 1.1, 1.2)]]
        ids, whole = lay_out(anchors, valid, (48000, 1920))
        for first in (0, 3, 14, 20):
            part_ids, part = lay_out(anchors, valid[:, : 30 - first], (48000, 1920), first)
            assert torch.equal(part, whole[:, first:])
            assert torch.equal(part_ids, ids)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"audios": torch.zeros(1, 500), "descriptions": ["a"]},
            {"audios": [torch.zeros(1, 500)], "descriptions": "a"},
            {"audios": [torch.zeros(1, 500)], "descriptions": ["a", "b"]},
            {"audios": [torch.zeros(1, 500)], "descriptions": ["a"], "anchors": []},
            {"audios": [torch.zeros(1, 500)], "descriptions": ["a"], "masked_videos": []},
            {"audios": [], "descriptions": []},
            {"audios": [torch.zeros(1, 500)], "descriptions": [3]},
        ],
    )
    def test_lists_that_do_not_fit(self, arguments):
        with pytest.raises(PromptError) as error:
            PROCESS(**arguments)
        one_sentence(error)

    @pytest.mark.parametrize("audio", [torch.zeros(1, 0), torch.zeros(2, 2, 2), torch.zeros(1, 9, dtype=int)])
    def test_sound_that_is_none(self, audio):
        with pytest.raises(AudioReadError):
            PROCESS(audios=[audio], descriptions=["a"])

    def test_short_clips(self, model):
        batch = PROCESS(audios=[torch.randn(1, 8)], descriptions=["a"])
        with pytest.raises(AudioReadError, match="too short"):
            model.separate(batch)
        longer = PROCESS(audios=[torch.randn(1, 9), torch.randn(1, 3)], descriptions=["a", "b"])
        assert [len(t) for t in model.separate(longer, seed=0).target] == [16, 16]


class TestVideo:
    def test_masks_black_out_what_they_mark(self):
        video = torch.randint(1, 255, (4, 3, 5, 6), dtype=torch.uint8)
        mask = torch.zeros(4, 5, 6, dtype=torch.bool)
        mask[:, 1:3] = True
        (hidden,) = PROCESS.mask_videos([video], [mask])
        assert not hidden[:, :, 1:3].any()
        assert torch.equal(hidden[:, :, 3:], video[:, :, 3:])
        (kept,) = mask_videos([video], [mask[:, None].float()], keep=True)
        assert torch.equal(hidden + kept, video)
        assert hidden.dtype == torch.uint8

    @pytest.mark.parametrize(
        "shape", [(3, 5, 6), (4, 6, 5), (4, 5), (4, 2, 5, 6)], ids=["frames", "size", "flat", "channels"]
    )
    def test_masks_that_do_not_fit(self, shape):
        video = torch.zeros(4, 3, 5, 6, dtype=torch.uint8)
        with pytest.raises(PromptError, match="mask of video 0") as error:
            mask_videos([video], [torch.zeros(shape)])
        one_sentence(error)
        with pytest.raises(PromptError, match="one for each"):
            mask_videos([video], [])

    @pytest.mark.parametrize(
        "video", [torch.zeros(4, 3, 5, 6), torch.zeros(0, 3, 5, 6, dtype=torch.uint8), "x"]
    )
    def test_videos_that_are_none(self, video):
        with pytest.raises((PromptError, AudioReadError)):
            make_batch([1.0], masked_videos=[video])

    def test_frames_are_spread_evenly(self):
        frames = torch.arange(4)
        assert on_latent_frames(frames, 7).tolist() == [0, 0, 1, 2, 2, 2, 3]  # halves go to the even frame
        assert on_latent_frames(frames, 1).tolist() == [0]
        assert on_latent_frames(frames[:1], 3).tolist() == [0, 0, 0]
        assert list(
            nearest(iter([(0.0, "a"), (0.04, "b"), (0.2, "c")]), [0.0, 0.02, 0.03, 0.12, 0.13])
        ) == list("aabbc")

    def test_files_are_read_at_the_times_of_the_latents(self, tmp_path):
        frames = [np.full((16, 32, 3), 20 * shade, np.uint8) for shade in range(10)]
        path = write_video(tmp_path / "a.mp4", frames, 10)
        (video,) = make_batch([1.0], masked_videos=[path]).masked_video
        assert video.shape == (25, 3, 16, 32)
        shades = (video.float().mean(dim=(1, 2, 3)) / 20).round().int().tolist()
        assert shades == [min(round(0.4 * k - 1e-9), 9) for k in range(25)]
        (hidden,) = mask_videos([path], [torch.ones(10, 16, 32)])
        assert not hidden.any()

    def test_video_changes_the_flow_and_padding_is_zero(self, model):
        videos = [torch.randint(0, 255, (n, 3, 20, 30), dtype=torch.uint8) for n in (9, 4)]
        batch = make_batch(masked_videos=videos)
        assert [len(v) for v in batch.masked_video] == [50, 28]
        features = model.encode_video(batch.masked_video, 50)
        assert features.shape == (2, 40, 50)
        torch.testing.assert_close(features.norm(dim=1), batch.audio_pad_mask.float())
        plain, seen = make_batch(), model.separate(batch, seed=0)
        assert not torch.equal(model.separate(plain, seed=0).latents, seen.latents)


class TestSeparate:
    def test_shapes(self, model):
        result = model.separate(make_batch(), seed=0)
        assert [t.shape for t in result.target] == [(800,), (448,)]
        assert [t.shape for t in result.residual] == [(800,), (448,)]
        assert result.noise.shape == result.latents.shape == (2, 50, 16)

    def test_a_seed_decides_everything(self, model):
        a, b, c = (model.separate(make_batch(), seed=seed) for seed in (1, 1, 2))
        assert torch.equal(a.target[0], b.target[0])
        assert not torch.equal(a.target[0], c.target[0])

    def test_without_a_seed_the_global_generators_are_used(self, model):
        batch = make_batch()
        results = []
        for _ in range(2):
            torch.manual_seed(5)
            results.append(model.separate(batch))
        assert torch.equal(results[0].target[0], results[1].target[0])
        torch.manual_seed(5)
        assert torch.equal(results[0].noise, torch.randn(2, 50, 16))

    def test_watermark_switch(self, model):
        batch = make_batch()
        marked, clean = model.separate(batch, seed=0), model.separate(batch, seed=0, watermark=False)
        assert torch.equal(marked.latents, clean.latents)
        assert not torch.equal(marked.target[0], clean.target[0])
        with pytest.raises(UserError, match="16 bits"):
            model.separate(batch, message=torch.zeros(1, 16))

    def test_a_memory_budget_changes_no_value(self, model):
        batch = make_batch()
        weights = sum(p.numel() * 4 for p in model.parameters())
        tight = 600_000_000 + weights + codec_bytes(model.config)
        assert rows_within(model, 50, tight) < rows_within(model, 50, 2 * tight)
        a, b = (model.separate(batch, seed=0, memory_bytes=n).latents for n in (None, tight))
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
        with pytest.raises(UserError, match="GB") as error:
            model.separate(batch, memory_bytes=10**6)
        one_sentence(error)

    def test_evaluating_rows_apart_changes_no_value(self, model):
        c = model.prepare(make_batch(), torch.randn(2, 50, 8))
        state = torch.randn(2, 50, 16)
        together, apart = (BlendedVelocity(model, c, [(0, 50)], n)(0.4, state) for n in (None, 1))
        torch.testing.assert_close(together, apart, atol=1e-5, rtol=0)

    def test_text_features_can_be_given(self, model):
        batch, text = make_batch(), model.text_encoder(["dog barking", "rain"])
        model.text_encoder = None
        given = model.separate(batch, seed=0, text=text)
        model.text_encoder = tiny_official.FakeText()
        assert torch.equal(given.latents, model.separate(batch, seed=0).latents)
        with pytest.raises(PromptError, match="text features"):
            model.separate(batch, text=(text[0][:1], text[1][:1]))

    def test_wrong_noise(self, model):
        with pytest.raises(UserError, match="noise"):
            model.separate(make_batch(), noise=torch.zeros(1, 50, 16))

    def test_solver_options(self, model):
        steps = []
        options = {"method": "euler", "options": {"step_size": 0.5}}
        coarse = model.separate(make_batch(), seed=0, ode_opt=options, progress=lambda *s: steps.append(s))
        assert steps == [(1, 2), (2, 2)]
        assert not torch.equal(coarse.latents, model.separate(make_batch(), seed=0).latents)

    def test_one_window_is_no_window(self, model):
        batch = make_batch()
        a, b = (model.separate(batch, seed=0, windows=w).latents for w in (None, Windows(50, 10)))
        assert torch.equal(a, b)

    def test_windows_leave_out_what_is_all_padding(self, model):
        result = model.separate(make_batch(), seed=0, windows=Windows(20, 5))
        assert result.latents.isfinite().all()

    def test_nothing_is_built_that_is_not_needed(self, folder, monkeypatch):
        model = SAMAudio.from_pretrained(folder, cache=False)
        monkeypatch.setattr("sam_audio.separator.official.model.read_vision", pytest.fail)
        monkeypatch.setattr("sam_audio.separator.official.model.ranking.build", pytest.fail)
        monkeypatch.setattr("sam_audio.separator.official.model.load_span_predictor", pytest.fail)
        text = tiny_official.FakeText()(["dog barking", "rain"])
        model.separate(make_batch(), seed=0, text=text)
        assert not model.text_encoder.loaded

    def test_a_text_encoder_that_is_not_there(self, tmp_path):
        pytest.importorskip("transformers")
        with pytest.raises(ModelError, match="text encoder") as error:
            TextEncoder(TextConfig(), tmp_path)(["rain"])
        one_sentence(error)


class TestCandidates:
    def test_the_best_is_chosen_for_target_and_residual(self, model):
        seen = {}

        def rank(candidates, mixtures, descriptions):
            seen.update(candidates=candidates, mixtures=mixtures, descriptions=descriptions)
            return torch.tensor([[0.0, 1.0, 0.5], [2.0, 0.0, 1.0]])

        model.text_ranker = rank
        batch = make_batch()
        result = model.separate(batch, reranking_candidates=3, seed=0)
        assert [c.shape for c in seen["candidates"]] == [(3, 800), (3, 448)]
        assert [len(m) for m in seen["mixtures"]] == [800, 448]
        assert seen["descriptions"] == batch.descriptions
        assert torch.equal(result.target[0], seen["candidates"][0][1])
        assert torch.equal(result.target[1], seen["candidates"][1][0])
        assert result.scores.shape == (2, 3)
        # candidate k of item b is row 3 b + k, and its residual belongs to it
        alone = model.separate(batch, noise=result.noise[[1, 3]], watermark=False)
        chosen = model.separate(batch, noise=result.noise, reranking_candidates=3, watermark=False)
        torch.testing.assert_close(alone.residual[0], chosen.residual[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone.target[1], chosen.target[1], atol=1e-5, rtol=0)

    def test_rankers_of_the_judge_choose_too(self, model):
        class Loudest:
            sample_rate = 400

            def rank(self, candidates, mixture, prompt, spans=None):
                assert all(len(candidate) == len(mixture) for candidate in candidates)
                return np.array([np.abs(candidate).mean() for candidate in candidates], np.float32)

        model.text_ranker = as_text_ranker(Ensemble({"loud": (Loudest(), -2.0)}), sample_rate=400)
        result = model.separate(make_batch(), reranking_candidates=3, seed=0, watermark=False)
        assert result.scores.shape == (2, 3)
        quietest = result.scores.max(dim=1).values / -2
        torch.testing.assert_close(torch.stack([t.abs().mean() for t in result.target]), quietest)

    def test_without_a_ranker_the_first_is_taken(self, model):
        batch = make_batch([1.0])
        result = model.separate(batch, reranking_candidates=2, seed=0, watermark=False)
        alone = model.separate(batch, noise=result.noise[:1], watermark=False)
        torch.testing.assert_close(result.target[0], alone.target[0], atol=1e-5, rtol=0)
        assert result.scores is None
        with pytest.raises(UserError, match="candidates"):
            model.separate(batch, reranking_candidates=0)

    def test_video_is_ranked_by_video(self, model):
        model.visual_ranker = lambda candidates, videos: torch.tensor([[0.0, 1.0]])
        model.text_ranker = pytest.fail
        video = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
        batch = make_batch([1.0], masked_videos=[video])
        assert model.separate(batch, reranking_candidates=2, seed=0).scores.tolist() == [[0, 1]]

    def test_ensembles(self, monkeypatch):
        monkeypatch.setattr(ranking, "_BUILDERS", {})
        for kind, score in (("a", 1.0), ("b", 10.0)):
            ranking.register(kind, lambda config, score=score: lambda *inputs: torch.tensor([[score]]))
        members = {"one": [{"kind": "a"}, 5.0], "two": [{"kind": "b"}, 1.0]}
        assert float(ranking.build({"kind": "ensemble", "rankers": members})([], [], [])) == 15
        members["three"] = [{"kind": "imagebind"}, 5.0]
        with pytest.warns(UserWarning, match="imagebind"):
            ranking.build({"kind": "ensemble", "rankers": members})
        with pytest.raises(ModelError, match="imagebind, which no installed plugin brings") as error:
            ranking.build({"kind": "ensemble", "rankers": {"three": [{"kind": "imagebind"}, 5.0]}})
        one_sentence(error)
        for nonsense in ({"a": {"kind": "a"}}, {"a": [{"kind": "a"}, "much"]}, ["a"], {"a": ["a", 1.0]}):
            with pytest.raises(ModelError, match="ensemble of rankers cannot be read"):
                ranking.build({"kind": "ensemble", "rankers": nonsense})

    def test_the_judge_that_the_config_names_is_loaded(self, monkeypatch, tmp_path):
        asked = []

        def load(name, **options):
            asked.append(name)
            raise ModelError("not here")

        monkeypatch.setattr("judge.official.SAMAudioJudgeProcessor.from_pretrained", load)
        (tmp_path / "mine").mkdir()
        for described in (
            {"checkpoint_or_model_id": "someone/judge"},
            {"name": "someone/judge"},
            {},
            {"checkpoint_or_model_id": "mine"},
        ):
            with pytest.raises(ModelError, match="not here"):
                ranking.build({"kind": "judge", **described}, ranking.Place(folder=tmp_path))
        assert asked == ["someone/judge", "someone/judge", "facebook/sam-audio-judge", tmp_path / "mine"]
        with pytest.warns(UserWarning, match="change nothing: model_id"), pytest.raises(ModelError):
            ranking.build({"kind": "judge", "model_id": "someone/judge"})
        with pytest.raises(ModelError, match="name a model"):
            ranking.build({"kind": "judge", "checkpoint_or_model_id": 7})

    def test_a_ranker_that_is_not_available_is_refused_before_anything_is_separated(self, model, monkeypatch):
        config = replace(model.config, text_ranker={"kind": "imagebind"}, visual_ranker={"kind": "nothing"})
        monkeypatch.setattr(model, "config", config)
        monkeypatch.setattr(model, "encode_audio", pytest.fail)
        with pytest.raises(ModelError, match="ranked by imagebind"):
            model.separate(make_batch(), reranking_candidates=2)
        video = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
        with pytest.raises(ModelError, match="ranked by nothing"):
            model.separate(make_batch([1.0], masked_videos=[video]), reranking_candidates=2)

    def test_plugins_rank_by_the_name_in_the_config(self, model, monkeypatch):
        class Quiet:
            sample_rate = 400

            def rank(self, candidates, mixture, prompt, spans=None):
                return np.array([-np.abs(candidate).mean() for candidate in candidates], np.float32)

        known = SimpleNamespace(name="quiet", load=lambda device: Quiet())
        there = SimpleNamespace(all=lambda hook: [known])
        monkeypatch.setattr("sam_audio.extending.registry.registry", lambda: there)
        monkeypatch.setattr(model, "config", replace(model.config, text_ranker={"kind": "quiet"}))
        result = model.separate(make_batch(), reranking_candidates=2, seed=0)
        assert result.scores.shape == (2, 2)
        assert float(result.scores[0].max()) == pytest.approx(-float(result.target[0].abs().mean()), rel=1e-4)
        with pytest.raises(ModelError, match="has one model only"):
            ranking.build({"kind": "quiet", "name": "x"}, ranking.Place(sample_rate=400))
        with pytest.raises(ModelError, match="cannot be ranked by what takes 400 Hz"):
            ranking.build({"kind": "quiet"})


class TestSpans:
    def test_predicted_spans_become_anchors_of_all_candidates(self, model):
        heard = []

        def predict(features, valid, descriptions):
            heard.append((features.shape, valid.shape, list(descriptions)))
            return [[(0.2, 0.6)], []]

        model.span_predictor = predict
        batch = make_batch()
        spanned = model.separate(batch, predict_spans=True, reranking_candidates=2, seed=0)
        assert heard == [((2, 50, 8), (2, 50), batch.descriptions)]
        assert spanned.anchors == [[("+", 0.2, 0.6)], []]
        given = make_batch(anchors=[[("+", 0.2, 0.6)], []])
        assert torch.equal(model.separate(given, reranking_candidates=2, seed=0).latents, spanned.latents)
        plain = model.separate(batch, reranking_candidates=2, seed=0).latents
        assert (plain[:2] != spanned.latents[:2]).any()
        model.separate(given, predict_spans=True)  # the user's anchors come first
        assert len(heard) == 1

    def test_without_a_predictor_there_is_a_warning(self, model):
        with pytest.warns(UserWarning, match="no span predictor"):
            assert model.separate(make_batch([1.0]), predict_spans=True, seed=0).anchors is None


class TestTextCache:
    class Encoder(TextEncoder):
        def encode(self, texts):
            self.asked = [*getattr(self, "asked", []), *texts]
            lengths = torch.tensor([len(text.split()) for text in texts])
            valid = torch.arange(int(lengths.max())) < lengths[:, None]
            return torch.full((len(texts), valid.shape[1], 12), float(len(texts))), valid

    def test_a_text_is_encoded_once(self, tmp_path):
        config = TextConfig(dim=12)
        first = self.Encoder(config, "some-t5", tmp_path)
        features, valid = first(["a dog", "rain", "a dog"])
        assert first.asked == ["a dog", "rain"]
        assert features.shape == (3, 2, 12)
        assert valid.tolist() == [[True, True], [True, False], [True, True]]
        second = self.Encoder(config, "some-t5", tmp_path)
        assert torch.equal(second(["rain"])[0], features[1:2, :1])
        assert not hasattr(second, "asked")
        other = self.Encoder(config, "another-t5", tmp_path)
        other(["rain"])
        assert other.asked == ["rain"]

    def test_a_damaged_entry_is_no_entry(self, tmp_path):
        config = TextConfig(dim=12)
        self.Encoder(config, "some-t5", tmp_path)(["rain"])
        for path in tmp_path.rglob("*.npy"):
            path.write_bytes(b"half")
        again = self.Encoder(config, "some-t5", tmp_path)
        again(["rain"])
        assert again.asked == ["rain"]

    def test_cached_features_separate_alike(self, published_folder, published_batches, tmp_path):
        pytest.importorskip("transformers")
        model = SAMAudio.from_pretrained(published_folder, cache=False)
        batch = published_batches["text"]
        exact = model.separate(batch, seed=0).latents
        encoder = model.text_encoder
        model.text_encoder = TextEncoder(encoder.config, encoder.source, tmp_path)
        torch.testing.assert_close(model.separate(batch, seed=0).latents, exact, atol=2e-5, rtol=0)
        model.text_encoder = TextEncoder(encoder.config, encoder.source, tmp_path)
        torch.testing.assert_close(model.separate(batch, seed=0).latents, exact, atol=2e-5, rtol=0)
        assert not model.text_encoder.loaded

    def test_a_prompt_is_a_text(self):
        with pytest.raises(PromptError):
            TextEncoder(TextConfig(), "t5")([None])
