"""The streaming separator: what goes in comes out, wherever blocks and windows end."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import tiny
import torch

from peav.nano import precision
from sam_audio.errors import ModelError, UserError
from sam_audio.separator import load
from sam_audio.separator.nano import torch_engine
from sam_audio.separator.nano.bands import HOP, N_BANDS, N_FFT, SAMPLE_RATE
from sam_audio.separator.nano.loading import load_engine
from sam_audio.separator.nano.overhearing import alone, opinion
from sam_audio.separator.nano.stream import OVERLAP_FRAMES, WINDOW_FRAMES
from sam_audio.separator.nano.synthesis import band_energies, hedged, share_out, spectra
from sam_audio.types import Anchor, Condition, Span

RATE = SAMPLE_RATE


def separate(model, mixture, prompts=("guitar", "dog"), blocks=None, strength=1.0, conditions=None):
    """(C, T) -> (N, C, T), cut at the given block lengths."""
    stream = model.open(conditions or model.encode(list(prompts)), len(mixture), strength)
    out, position = [], 0
    for n in blocks or [mixture.shape[-1]]:
        out.append(stream.push(mixture[:, position : position + n]))
        position += n
    assert position >= mixture.shape[-1]
    return np.concatenate([*out, stream.finish()], axis=-1)


@pytest.fixture(scope="module")
def long_sound():
    return tiny.noise(1, 40, RATE)


# ---- lengths, blocks, windows -----------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [1, 2, HOP, 479, 480, 2048, 10_001, WINDOW_FRAMES * HOP])
def test_as_many_samples_come_out_as_go_in(model, frames):
    mixture = tiny.noise(1, 16, RATE)[:, :frames]
    with tiny.constant_mask(model, 20):
        stem = separate(model, mixture, ["guitar"])
    assert stem.shape == (1, 1, frames)
    np.testing.assert_allclose(stem[0], mixture, atol=1e-5)


def test_a_whole_mask_gives_the_mixture_across_windows_and_to_the_last_sample(model, long_sound):
    with tiny.constant_mask(model, 20):
        np.testing.assert_allclose(separate(model, long_sound, ["guitar"])[0], long_sound, atol=1e-5)


def test_an_empty_mask_gives_silence(model, long_sound):
    with tiny.constant_mask(model, -20):
        assert np.abs(separate(model, long_sound, ["guitar"])).max() < 1e-5


@pytest.mark.parametrize(
    ("seconds", "block"),
    [(40, 48_000), (40, 441 * 50), (2, 441), (0.05, 1)],
    ids=["48000", "22050", "441", "1"],
)
def test_blocks_do_not_matter(model, long_sound, seconds, block):
    whole = separate(model, long_sound)
    cut = round(seconds * RATE)
    blocks = [block] * (cut // block) + [long_sound.shape[-1] - cut // block * block]
    np.testing.assert_allclose(separate(model, long_sound, blocks=blocks), whole, atol=1e-5)


def test_output_starts_before_the_recording_ends(model, long_sound):
    stream = model.open(model.encode(["dog"]), 1)
    cut = (WINDOW_FRAMES + 1) * HOP
    first = stream.push(long_sound[:, :cut]).shape[-1]
    assert first > (WINDOW_FRAMES - OVERLAP_FRAMES - 4) * HOP
    second = stream.push(long_sound[:, cut:]).shape[-1]
    assert first + second + stream.finish().shape[-1] == long_sound.shape[-1]


def test_nothing_in_nothing_out(model):
    stream = model.open(model.encode(["dog", "cat"]), 3)
    assert stream.push(np.zeros((3, 0), np.float32)).shape == (2, 3, 0)
    assert stream.finish().shape == (2, 3, 0)


# ---- listening along --------------------------------------------------------------------------------------


def test_what_is_overheard_is_what_each_prompt_by_itself_would_hear(precise, long_sound):
    vectors = np.stack([condition.vector for condition in precise.encode(["dog", "rain"])])
    stream = precise.open(precise.encode(["guitar"]), 1)
    overheard = stream.overhear(precise.engine, vectors)
    stream.push(long_sound)
    stream.finish()
    first = overheard.take(WINDOW_FRAMES)
    half = np.pad(long_sound, ((0, 0), (N_FFT // 2, 0)))[:, : (WINDOW_FRAMES - 1) * HOP + N_FFT]
    sound = long_sound[:, : WINDOW_FRAMES * HOP]
    heard = precise.engine.listen(sound, band_energies(spectra(half)))
    settled = WINDOW_FRAMES - OVERLAP_FRAMES
    np.testing.assert_allclose(
        first.masks[..., :settled], opinion(heard, alone(vectors)).masks[..., :settled], atol=1e-5
    )
    np.testing.assert_allclose(
        first.when[:, : settled // 2], opinion(heard, alone(vectors)).when[:, : settled // 2], atol=1e-3
    )
    np.testing.assert_allclose(
        first.vectors.frames[: settled // 2], heard.vectors.frames[: settled // 2], atol=1e-5
    )
    masks, when, (frames, steps, scores) = overheard.take(10**6)
    total = WINDOW_FRAMES + masks.shape[-1]
    assert total >= long_sound.shape[-1] // HOP
    assert WINDOW_FRAMES // 2 + len(frames) == -(-total // 2)
    assert WINDOW_FRAMES // 2 + when.shape[-1] == total // 2
    assert WINDOW_FRAMES // 16 + len(steps) == -(-total // 16) and len(scores) == len(steps)


@pytest.mark.parametrize(("prompts", "times"), [(["dog"], 1), (["dog", "rain"], 2)])
def test_whoever_listens_along_to_a_single_prompt_costs_no_second_answer(
    precise, long_sound, monkeypatch, prompts, times
):
    asked = []
    heard_of = precise.engine.listen

    def listen(*window):
        heard = heard_of(*window)
        for way in ("masks", "answer"):
            answer = getattr(heard, way)
            told = lambda question, answer=answer: asked.append(question) or answer(question)  # noqa: E731
            monkeypatch.setattr(heard, way, told)
        return heard

    conditions = precise.encode(prompts)
    plain = precise.open(conditions, 1)
    expected = np.concatenate([plain.push(long_sound), plain.finish()], axis=-1)
    monkeypatch.setattr(precise.engine, "listen", listen)
    stream = precise.open(conditions, 1)
    stream.overhear(precise.engine, np.stack([condition.vector for condition in conditions]))
    stems = np.concatenate([stream.push(long_sound), stream.finish()], axis=-1)
    windows = 1 + -(-(long_sound.shape[-1] // HOP - WINDOW_FRAMES) // (WINDOW_FRAMES - OVERLAP_FRAMES))
    assert len(asked) == times * windows
    np.testing.assert_array_equal(stems, expected)


def test_only_the_same_weights_and_at_most_two_channels_can_be_overheard(model, precise):
    vectors = np.zeros((1, 384), np.float32)
    conditions = model.encode(["dog"])
    for engine in (model.engine, precise.engine):
        assert model.open(conditions, 1).overhear(engine, vectors) is not None
    assert model.open(conditions, 1).overhear(load_engine(), vectors) is None
    assert model.open(conditions, 2).overhear(model.engine, vectors) is not None
    assert model.open(conditions, 3).overhear(model.engine, vectors) is None


def test_what_is_shipped_is_loaded_once():
    from judge.nano import NanoJudge

    loaded = load("nano")
    assert loaded.engine is load("nano").engine is NanoJudge().engine


# ---- what comes out ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_silence_stays_silence(model, channels):
    assert not separate(model, np.zeros((channels, 30_000), np.float32)).any()


def test_a_source_on_the_left_stays_on_the_left(model):
    mixture = tiny.noise(2)
    mixture[1] = 0
    stems = separate(model, mixture)
    assert stems[:, 0].std() > 1e-3
    assert np.abs(stems[:, 1]).max() == 0


@pytest.fixture
def precise(tiny_weights, monkeypatch):
    """Without bfloat16, whose rounding a random network makes much of."""
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: False)
    return load(str(tiny_weights))


def test_gains_are_the_same_in_all_channels(precise):
    model = precise
    mono = tiny.noise(1)
    np.testing.assert_allclose(
        separate(model, np.concatenate([mono, 0.5 * mono])), separate(model, mono) * [[1.0], [0.5]], atol=1e-3
    )


def test_channels_that_cancel_in_mono_are_heard(precise):
    model = precise
    mono = tiny.noise(1)
    stems = separate(model, np.concatenate([mono, -mono]))
    np.testing.assert_allclose(stems[:, :1], separate(model, mono), atol=1e-5)
    np.testing.assert_allclose(stems[:, 1], -stems[:, 0], atol=1e-6)


def test_the_level_does_not_matter(precise):
    model = precise
    mixture = tiny.noise(1)
    np.testing.assert_allclose(separate(model, mixture / 64) * 64, separate(model, mixture), atol=1e-3)


def test_stems_of_one_prompt_do_not_depend_on_how_often_it_is_opened(model):
    mixture = tiny.noise(1)
    np.testing.assert_array_equal(separate(model, mixture), separate(model, mixture))


def test_a_prompt_without_text_needs_only_spans(model):
    mixture = tiny.noise(1)
    here, there = (
        separate(model, mixture, conditions=[Condition("x", None, (Anchor(Span(start, start + 0.3)),))])
        for start in (0.1, 0.8)
    )
    assert np.isfinite(here).all()
    assert np.abs(here - there).max() > 1e-4


def test_spans_are_counted_from_the_start_of_the_recording(model, long_sound, monkeypatch):
    """The network is told of them window by window."""
    marked = [Condition("x", None, (Anchor(Span(20.0, 21.0)), Anchor(Span(0.5, 1.0), present=False)))]
    told = []
    listen = model.engine.listen

    def listened(sound, energies):
        heard = listen(sound, energies)
        masks = heard.masks
        heard.masks = lambda question: told.append(question.spans) or masks(question)
        return heard

    monkeypatch.setattr(model.engine, "listen", listened)
    separate(model, long_sound, conditions=marked)
    step, frame = WINDOW_FRAMES - OVERLAP_FRAMES, 20 * RATE // HOP
    assert not told[0][0, 0].any() and told[0][0, 1].nonzero()[0].tolist() == list(range(25, 50))
    assert (told[1][0, 0].nonzero()[0] + step).tolist() == list(range(frame, frame + 50))


# ---- sharing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("n_prompts", [1, 2, 5])
def test_prompts_never_take_more_than_there_is(strength, n_prompts):
    shared = share_out(torch.rand(n_prompts, N_BANDS, 20), strength)
    assert shared.min() >= 0
    assert shared.sum(0).max() <= 1 + 1e-6


def test_masks_that_leave_room_are_left_alone():
    masks = torch.rand(3, N_BANDS, 20) / 3
    torch.testing.assert_close(share_out(masks, 1.0), masks, atol=0, rtol=0)


def test_strength_cuts_ever_more():
    masks = torch.rand(2, N_BANDS, 20)
    totals = [share_out(masks, strength).sum(0) for strength in (0, 0.5, 1, 1.5, 2)]
    torch.testing.assert_close(totals[0], torch.ones_like(totals[0]))
    for more, less in zip(totals[:-1], totals[1:], strict=True):
        assert (more >= less - 1e-6).all()


def test_strength_is_monotone_in_the_sound(model):
    mixture = tiny.noise(1)
    energies = [float(np.square(separate(model, mixture, ["dog"], strength=s)).sum()) for s in (0, 0.5, 1, 2)]
    np.testing.assert_allclose(energies[0], np.square(mixture).sum(), rtol=1e-4)
    assert energies == sorted(energies, reverse=True)
    assert energies[0] > 1.1 * energies[2] > 1.2 * energies[3]


# ---- loading ----------------------------------------------------------------------------------------------


def test_loading_leaves_the_random_numbers_alone(tiny_weights):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    load(str(tiny_weights))
    torch.testing.assert_close(torch.rand(3), expected, atol=0, rtol=0)


def test_what_is_saved_is_what_is_loaded(precise):
    loaded, original = precise.engine.network.state_dict(), tiny.network().state_dict()
    assert loaded.keys() == original.keys()
    for name, tensor in original.items():
        torch.testing.assert_close(loaded[name], tensor.half().float(), atol=0, rtol=0)


@pytest.fixture
def copied(tiny_weights, tmp_path):
    """A copy of the checkpoint, to be damaged."""
    for suffix in (".safetensors", ".json"):
        shutil.copy(tiny_weights.with_suffix(suffix), tmp_path / f"copy{suffix}")
    return tmp_path / "copy.safetensors"


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-100])


def empty(path):
    path.write_bytes(b"")


def another_config(path):
    config = path.with_suffix(".json")
    config.write_text(config.read_text().replace('"n_bases": 4', '"n_bases": 5'))


def unknown_setting(path):
    config = path.with_suffix(".json")
    config.write_text(config.read_text().replace('"n_bases"', '"m_bases"'))


def nonsense_setting(path):
    config = path.with_suffix(".json")
    config.write_text(config.read_text().replace('"n_bases": 4', '"n_bases": "four"'))


def no_model(path):
    path.with_suffix(".json").write_text('{"format": 1, "tower": "separator", "model": 3}')


def no_config(path):
    path.with_suffix(".json").unlink()


def text_tower(path):
    config = path.with_suffix(".json")
    config.write_text(config.read_text().replace('"separator"', '"text"'))


@pytest.mark.parametrize(
    "damage",
    [cut_short, empty, another_config, unknown_setting, nonsense_setting, no_model, no_config, text_tower],
)
def test_damaged_models_are_refused_in_one_sentence(copied, damage):
    damage(copied)
    with pytest.raises(ModelError) as caught:
        load(str(copied))
    message = str(caught.value)
    assert "copy" in message
    assert "\n" not in message
    assert not message.endswith(".")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("huge", "no model called huge"),
        ("gone.safetensors", "no separator checkpoint"),
        ("/", "has no config.json"),
    ],
)
def test_models_that_are_not_there_are_named(name, says):
    with pytest.raises(ModelError, match=says):
        load(name)


# ---- predicted spans --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def listening(tiny_weights):
    """A separator that asks PE-A-Frame nano when each prompt sounds."""
    return load(str(tiny_weights), options={"predict_spans": True})


def test_blocks_do_not_matter_when_spans_are_predicted(listening, long_sound):
    whole = separate(listening, long_sound)
    pieces = separate(listening, long_sound, blocks=[100_001] * (long_sound.shape[-1] // 100_001 + 1))
    assert np.abs(whole - pieces).max() < 1e-5


def test_predicted_spans_are_where_the_sound_is(listening, monkeypatch):
    """Speech after quiet noise: the activity that the network is given says so, on its own frames."""
    from pathlib import Path

    from sam_audio.conditioning.embedding import mono_windows

    example = Path(__file__).parents[3] / "examples" / "speech.ogg"
    speech = np.concatenate(list(mono_windows(example, RATE)))[None, : 4 * RATE]
    sound = np.concatenate([0.0003 * tiny.noise(1, 4, RATE), speech], axis=1)
    stream = listening.open(listening.encode(["person speaking"]), 1)
    stream.push(sound)
    told = []
    original = listening.engine.network.respond

    def listened(analysis, conditions, *others):
        told.append(conditions.tracks)
        return original(analysis, conditions, *others)

    monkeypatch.setattr(listening.engine.network, "respond", listened)
    stream.finish()
    activity, known = told[0][0, 0, :2]
    assert known.all() and len(activity) >= 8 * RATE // HOP
    assert activity[220:].mean() > 0.5 > 0.2 > activity[:180].mean()


def test_options_of_other_models_are_refused(tiny_weights):
    with pytest.raises(UserError, match="no --steps"):
        load(str(tiny_weights), options={"steps": 4})


def test_casting_once_changes_nothing(tiny_weights, monkeypatch):
    """bfloat16 weights under autocast: bit by bit what torch's own casting at every call gives."""
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: True)
    mixture = tiny.noise(2, 3, RATE)
    cast = load(str(tiny_weights))
    assert cast.engine.network.trunk.stem.weight.dtype == torch.bfloat16
    monkeypatch.setattr(torch_engine, "cast_once", lambda network: network)
    plain = load(str(tiny_weights))
    assert plain.engine.network.trunk.stem.weight.dtype == torch.float32
    np.testing.assert_array_equal(separate(cast, mixture), separate(plain, mixture))


def test_nothing_is_cast_where_nothing_would_be(tiny_weights, monkeypatch):
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: False)
    assert load(str(tiny_weights)).engine.network.trunk.stem.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("amx", "abilities", "native"),
    [
        (True, {}, True),
        (False, {"avx512_bf16": True, "cpu_name": "AMD EPYC"}, True),
        (False, {"avx512_bf16": True, "cpu_name": "Intel Xeon"}, False),  # slower there than float32
        (False, {"avx512_bf16": False, "cpu_name": "AMD EPYC"}, False),
        (False, None, False),  # older torch cannot tell
    ],
)
def test_bfloat16_is_used_where_it_is_faster(amx, abilities, native, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    if abilities is None:
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    else:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities, raising=False)
    with precision.autocast():
        assert torch.is_autocast_enabled("cpu") == native


def hedge(masks, energies):
    return torch.from_numpy(hedged(masks.numpy(), energies.numpy()))


def test_doubtful_masks_are_softened_and_keep_their_energy():
    energies = torch.rand(128, 40, generator=torch.Generator().manual_seed(0)) + 0.1
    doubtful = torch.linspace(0.01, 0.3, 128)[:, None].expand(128, 40)
    sure = (doubtful > 0.2).float() * 0.98 + 0.01
    softer = torch.cat([hedge(mask[None], energies) for mask in (doubtful, sure)])  # one call each
    torch.testing.assert_close(softer[1], sure, rtol=0, atol=0)
    assert softer[0, 0, 0] > 2 * doubtful[0, 0] and softer[0, -1, 0] < doubtful[-1, 0]
    assert (softer[0].diff(dim=0) > 0).all()  # in their order
    before, after = ((m.square() * energies).sum() for m in (doubtful, softer[0]))
    torch.testing.assert_close(after, before)
    assert softer.amax() <= 1


def test_what_another_prompt_is_sure_of_is_not_given_to_a_doubtful_one():
    energies = torch.ones(128, 40)
    sure = torch.full((128, 40), 0.001)
    sure[:64] = 0.999
    doubtful = (1 - sure) * 0.2
    alone = hedge(doubtful[None], energies)[0]
    beside = hedge(torch.stack([doubtful, sure]), energies)
    assert alone[0, 0] > 10 * doubtful[0, 0] and beside[0, 0, 0] < 6 * doubtful[0, 0]
    torch.testing.assert_close(beside[1], sure)


def test_hedging_does_not_depend_on_the_level_and_leaves_silence():
    energies = torch.rand(128, 40)
    masks = torch.rand(2, 128, 40) * 0.3
    torch.testing.assert_close(hedge(masks, energies), hedge(masks, energies * 1e-8))
    assert hedge(masks, torch.zeros(128, 40)).isfinite().all()
    assert not hedge(torch.zeros_like(masks), energies).any()
    torch.testing.assert_close(
        hedge(masks * 1e-6, energies).square().mean().sqrt() * 1e6,
        masks.square().mean().sqrt(),
        rtol=0.05,
        atol=0,
    )


def test_when_prompts_sound_is_kept_beside_the_masks(model, long_sound, tmp_path):
    kept = tmp_path / "masks.f32"
    assert model.remembering(kept).sounding(kept, 2) is None  # nothing was separated yet
    marked = Condition("marked", None, anchors=(Anchor(Span(1.0, 2.0), True),))
    conditions = [*model.encode(["guitar"]), marked]
    separate(model.remembering(kept), long_sound, conditions=conditions, blocks=[30 * RATE, 10 * RATE + 1])
    activity, rate = found = model.sounding(kept, 2)
    assert rate == 25 and abs(activity.shape[1] - 40 * 25) <= 2
    assert (activity[0] > 0).all() and (activity[0] < 1).all()
    assert np.isnan(activity[1]).all()  # no words: nothing that it could be compared with
    # what is heard in a window counts until the next begins
    sound = np.pad(long_sound, ((0, 0), (N_FFT // 2, 0)))
    spectrum = spectra(sound)[:, :WINDOW_FRAMES]
    heard = model.engine.listen(long_sound, band_energies(spectrum))
    logits = heard.answer(alone(conditions[0].vector[None])).when[0]
    settled = (WINDOW_FRAMES - OVERLAP_FRAMES) // 2
    evidence = np.fromfile(kept.with_suffix(".when"), np.float32).reshape(-1, 2, 2)
    assert np.corrcoef(evidence[:settled, 0, 0], logits[:settled])[0, 1] > 0.9
    separate(model.remembering(kept), long_sound, conditions=conditions, strength=1.5)  # runs no network
    np.testing.assert_array_equal(model.sounding(kept, 2).activity, found.activity)


def test_a_window_is_asked_once_for_masks_and_when(model, tmp_path, monkeypatch):
    asked = []
    listen = type(model.engine).listen

    class Counted:
        def __init__(self, heard):
            self._heard, self.vectors = heard, heard.vectors

        def masks(self, question):
            asked.append("masks")
            return self._heard.masks(question)

        def answer(self, question):
            asked.append("answer")
            return self._heard.answer(question)

    monkeypatch.setattr(type(model.engine), "listen", lambda *given: Counted(listen(*given)))
    mixture = tiny.noise(1, 2, RATE)
    stems = separate(model, mixture)
    remembered = separate(model.remembering(tmp_path / "masks.f32"), mixture)
    assert asked == ["masks", "answer"]
    np.testing.assert_array_equal(stems, remembered)
