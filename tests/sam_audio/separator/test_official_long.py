"""Long recordings and the separator's stream: windows, sections, lifting to channels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny
import tiny_official
import torch

from sam_audio.errors import UserError
from sam_audio.separator.official.lift import MaskLift, soft_masks
from sam_audio.separator.official.long import BlendedVelocity, Continuation, Windows, blend_weights
from sam_audio.separator.official.ode import Solver
from sam_audio.separator.official.options import OfficialOptions
from sam_audio.separator.official.separator import OfficialSeparator
from sam_audio.types import Anchor, Condition, MaskedVideo, Span


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_official.write(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def model(folder):
    return tiny_official.load(folder)


def separator(model, **options) -> OfficialSeparator:
    given = {"steps": 2, "window_s": 4.0, "overlap_s": 1.0, **options}
    return OfficialSeparator(model, "tiny", OfficialOptions(**given))


def run(separator, sound, conditions=None, blocks=(10**9,), strength=1.0):
    conditions = separator.encode(["dog barking"]) if conditions is None else conditions
    stream = separator.open(conditions, len(sound), strength)
    out, start, k = [], 0, 0
    while start < sound.shape[1]:
        out.append(stream.push(sound[:, start : start + blocks[k % len(blocks)]]))
        start, k = start + blocks[k % len(blocks)], k + 1
    out.append(stream.finish())
    return np.concatenate(out, axis=-1)


def noise(seconds: float, channels: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.2, (channels, int(seconds * 400))).astype(np.float32)


class TestWindows:
    @pytest.mark.parametrize("n", [1, 20, 21, 33, 50, 64, 65, 1000])
    def test_they_cover_everything_and_their_weights_sum_to_one(self, n):
        windows = Windows(20, 6).cut(n)
        assert windows[0][0] == 0 and windows[-1][1] == n
        assert len(windows) == 1 or all(stop - start == 20 for start, stop in windows)
        assert all(b[0] < a[1] for a, b in zip(windows[:-1], windows[1:], strict=True))
        total = torch.zeros(n)
        for (start, stop), weight in zip(windows, blend_weights(windows), strict=True):
            assert (weight > 0).all()
            total[start:stop] += weight
        torch.testing.assert_close(total, torch.ones(n))

    def test_the_velocity_is_the_weighted_mean_of_the_windows(self, model):
        torch.manual_seed(0)
        c = model.condition(torch.randn(2, 30, 16), torch.randn(2, 3, tiny_official.TEXT_DIM))
        state, cut = torch.randn(2, 30, 16), [(0, 20), (10, 30)]
        blended = BlendedVelocity(model, c, cut)(0.3, state)
        parts = [
            BlendedVelocity(model, replace(c, base=c.base[:, start:stop]), [(0, 20)])(
                0.3, state[:, start:stop]
            )
            for start, stop in cut
        ]
        ramp = ((torch.arange(10) + 0.5) / 10)[:, None]
        torch.testing.assert_close(blended[:, :10], parts[0][:, :10])
        torch.testing.assert_close(blended[:, 10:20], torch.lerp(parts[0][:, 10:], parts[1][:, :10], ramp))
        torch.testing.assert_close(blended[:, 20:], parts[1][:, 10:])

    def test_a_continued_section_keeps_what_was_settled(self):
        frames = torch.arange(12.0)[None, :, None]

        def velocity(offset):
            return lambda t, y: y * 0.1 + frames[:, offset : offset + y.shape[1]] * t

        solver, start = Solver("rk4", 0.25), torch.randn(1, 12, 3)
        whole = solver.integrate(velocity(0), start)
        first = Continuation(velocity(0), 0, [], 4)
        a = solver.integrate(first, start[:, :8])
        second = Continuation(velocity(4), 4, first.kept, 0)
        b = solver.integrate(second, start[:, 4:])
        # where both sections have the same velocities, joining them is no change at all
        torch.testing.assert_close(torch.cat([a[:, :4], b], dim=1), whole)


class TestLift:
    def test_a_full_mask_is_the_mixture_and_an_empty_one_silence(self):
        torch.manual_seed(0)
        mixture, one, zero = torch.randn(2, 9000), torch.randn(1, 9000), torch.zeros(1, 9000)
        lift = MaskLift(2, 2)
        parts = [
            lift.push(
                mixture[:, i : i + 700],
                torch.cat([one, zero])[:, i : i + 700],
                torch.cat([zero, one])[:, i : i + 700],
            )
            for i in range(0, 9000, 700)
        ]
        out = torch.cat([*parts, lift.finish()], dim=-1)
        assert out.shape == (2, 2, 9000)
        torch.testing.assert_close(out[0], mixture, atol=1e-5, rtol=0)
        assert out[1].abs().max() < 1e-6

    def test_a_panned_tone_keeps_its_place(self):
        t = torch.arange(48000) / 48000
        tone, other = torch.sin(2 * torch.pi * 440 * t), torch.sin(2 * torch.pi * 3000 * t)
        mixture = torch.stack([0.8 * tone + 0.3 * other, 0.2 * tone - 0.5 * other])
        lift = MaskLift(1, 2)
        out = torch.cat([lift.push(mixture, tone[None], other[None]), lift.finish()], dim=-1)[0]
        expected = torch.stack([0.8 * tone, 0.2 * tone])
        assert (out - expected)[:, 4000:-4000].abs().max() < 1e-3

    def test_masks_of_several_prompts_never_take_more_than_there_is(self):
        torch.manual_seed(0)
        same = torch.randn(1, 5000)
        lift = MaskLift(2, 1)
        parts = lift.push(same, same.expand(2, -1), torch.zeros(2, 5000)), lift.finish()
        torch.testing.assert_close(torch.cat(parts, dim=-1).sum(0), same, atol=1e-5, rtol=0)

    def test_silence_has_no_part(self):
        zeros = torch.zeros(1, 3, dtype=torch.complex64)
        assert not soft_masks(zeros, zeros).any()


class TestStream:
    @pytest.mark.parametrize("seconds", [0.005, 0.03, 0.5, 3.9, 4.0, 4.1, 9.7, 23.0])
    @pytest.mark.parametrize("raw", [True, False])
    def test_every_sample_comes_out(self, model, seconds, raw):
        sound = noise(seconds)
        out = run(separator(model, raw=raw), sound)
        assert out.shape == (1, *sound.shape)
        assert out.dtype == np.float32
        assert np.isfinite(out).all()

    def test_nothing_in_nothing_out(self, model):
        assert run(separator(model), np.zeros((2, 0), np.float32)).shape == (1, 2, 0)

    @pytest.mark.parametrize("windows_at_once", [1, 3])
    def test_blocks_do_not_matter(self, model, windows_at_once):
        sound = noise(17.3)
        one = separator(model, windows_at_once=windows_at_once)
        a, b = run(one, sound), run(one, sound, blocks=(1, 333, 2000))
        np.testing.assert_allclose(a, b, atol=1e-5)

    def test_one_window_is_the_model_itself(self, model):
        from sam_audio.separator.official.batch import SAMAudioProcessor

        sound = noise(3.7)
        batch = SAMAudioProcessor(400, 16)(audios=[sound], descriptions=["dog barking"])
        whole = model.separate(batch, seed=0, ode_opt={"options": {"step_size": 0.5}})
        out = run(separator(model, raw=True), sound)
        np.testing.assert_allclose(out[0, 0], whole.target[0][: sound.shape[1]].numpy(), atol=1e-5)
        np.testing.assert_array_equal(out[0, 0], out[0, 1])

    def test_what_is_seen_reaches_the_model_as_in_a_batch(self, model):
        from sam_audio.separator.official.batch import SAMAudioProcessor

        sound = noise(3.0)
        frames = torch.randint(0, 255, (75, 3, 20, 30), dtype=torch.uint8)
        batch = SAMAudioProcessor(400, 16)(
            audios=[sound], descriptions=["dog barking"], masked_videos=[frames]
        )
        whole = model.separate(batch, seed=0, ode_opt={"options": {"step_size": 0.5}})
        one = separator(model, raw=True)
        (spoken,) = one.encode(["dog barking"])
        video = MaskedVideo(tuple(k / 25 for k in range(75)), frames.numpy())
        out = run(one, sound, [replace(spoken, video=video)])
        np.testing.assert_allclose(out[0, 0], whole.target[0][: sound.shape[1]].numpy(), atol=1e-5)
        assert np.abs(out - run(one, sound, [spoken])).max() > 1e-5

    def test_pictures_are_told_by_their_times_in_every_window(self, model):
        """Half the pictures, twice as long each, in a recording of several windows; a stem beside it sees nothing."""
        sound = noise(9.0)
        frames = np.random.default_rng(0).integers(0, 255, (225, 3, 20, 30), np.uint8)
        frames[1::2] = frames[:-1:2]
        times = [k / 25 for k in range(225)]
        every = MaskedVideo(tuple(times), frames)
        fewer = MaskedVideo(tuple(t + 0.01 for t in times[::2]), frames[::2])
        one = separator(model, raw=True)
        spoken = one.encode(["dog barking", "rain"])
        a, b = (run(one, sound, [replace(spoken[0], video=v), spoken[1]]) for v in (every, fewer))
        np.testing.assert_allclose(a, b, atol=1e-5)
        plain = run(one, sound, spoken)
        assert np.abs(a[0] - plain[0]).max() > 1e-5
        np.testing.assert_allclose(a[1], plain[1], atol=1e-5)

    def test_cutting_shows_neither_in_encoding_nor_in_decoding(self, model):
        """The stream gives what encoding and decoding the whole recording at once would give."""
        sound, length, overlap = noise(17.3, channels=1), 100, 25
        codec = model.audio_codec
        features = model.encode_audio(torch.from_numpy(sound)[None])
        features = torch.cat([features, features], dim=-1)
        n_frames, first, settled, kept = features.shape[1], 0, [], []
        generator = torch.Generator().manual_seed(0)
        start = torch.zeros(1, 0, 16)
        while True:
            last = sound.shape[1] < (first + length + codec.context) * 16
            n = n_frames - first if last else length
            start = torch.cat([start, torch.randn(1, n - start.shape[1], 16, generator=generator)], dim=1)
            c = model.condition(
                features[:, first : first + n],
                *model.text_encoder(["dog barking"]),
                video=model.align_masked_video.without_video(),
                anchors=(torch.tensor([[0, 3]]), torch.zeros(1, n, dtype=torch.int64)),
            )
            velocity = BlendedVelocity(model, c, Windows(length, overlap).cut(n))
            joined = Continuation(velocity, overlap if first else 0, kept, 0 if last else overlap)
            end = Solver("midpoint", 0.5).integrate(joined, start)
            kept = joined.kept
            settled.append(end if last else end[:, :-overlap])
            if last:
                break
            start, first = start[:, -overlap:], first + n - overlap
        assert first > 0
        expected = model.decode(torch.cat(settled, dim=1), watermark=False)[:, 0, : sound.shape[1]]
        out = run(separator(model, raw=True, watermark=False), sound)
        np.testing.assert_allclose(out[:, 0], expected.numpy(), atol=2e-5)

    def test_a_seed_decides_everything(self, model):
        sound = noise(6.0)
        a, b, c = (run(separator(model, raw=True, seed=seed), sound) for seed in (1, 1, 2))
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)

    def test_anchors_stay_where_they_are(self, model, monkeypatch):
        seen = []
        original = model.embed_anchors.forward

        def forward(ids, alignment):
            seen.append(ids.gather(1, alignment))
            return original(ids, alignment)

        monkeypatch.setattr(model.embed_anchors, "forward", forward)
        one = separator(model)
        (condition,) = one.encode(["dog"])
        condition = replace(
            condition, anchors=(Anchor(Span(1.0, 3.5)), Anchor(Span(3.6, 9.0), present=False))
        )
        run(one, noise(11.0), [condition])
        expected = torch.zeros(275, dtype=torch.int64)
        expected[25:88], expected[90:225] = 1, 2
        first = 0
        for tokens in seen:
            assert torch.equal(tokens[0], expected[first : first + tokens.shape[1]])
            first += 75  # the section less its overlap
        assert len(seen) == 3

    def test_prompts_share_a_pass_and_the_mixture(self, model):
        one = separator(model)
        sound = noise(9.0)
        out = run(one, sound, one.encode(["dog barking", "rain", "a long description"]))
        assert out.shape == (3, *sound.shape)
        # masks sum to at most one, so no stem is louder than the mixture
        assert np.square(out).sum() < 1.2 * np.square(sound).sum()

    def test_a_prompt_of_anchors_alone(self, model):
        condition = Condition("here", None, (Anchor(Span(0.1, 0.5)),))
        assert run(separator(model), noise(1.0), [condition]).shape == (1, 2, 400)

    def test_in_the_pipeline_stems_and_residual_are_the_mixture(self, model):
        one, sound = separator(model), noise(9.0)
        stems = tiny.separated(one, one.encode(["dog", "rain"]), sound, 400)
        np.testing.assert_allclose(stems.sum(0), sound, atol=1e-6)

    def test_memory_does_not_grow(self, model):
        one = separator(model)
        stream = one.open(one.encode(["dog"]), 2)
        held = []
        for _ in range(12):
            stream.push(noise(4.0))
            tensors = [v for v in vars(stream).values() if isinstance(v, torch.Tensor)] + stream._velocities
            held.append(sum(t.untyped_storage().nbytes() for t in tensors))
        assert max(held[6:]) <= max(held[:6])

    def test_the_callers_samples_stay(self, model):
        sound = noise(1.0)
        before = sound.copy()
        run(separator(model), sound)
        np.testing.assert_array_equal(sound, before)

    def test_strength(self, model):
        sound = noise(2.0)
        energy = [np.square(run(separator(model), sound, strength=s)).sum() for s in (0.0, 1.0, 2.0)]
        assert energy[0] == pytest.approx(np.square(sound).sum(), rel=1e-3)
        assert energy[0] > energy[1] > energy[2]

    @pytest.mark.parametrize(
        "options", [{"steps": 0}, {"method": "dopri5"}, {"overlap_s": 3.0}, {"windows_at_once": 0}]
    )
    def test_impossible_options(self, model, options):
        with pytest.raises(UserError):
            separator(model, **options)
