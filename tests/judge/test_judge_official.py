"""The published Judge: parity with the reference, its files, and how it treats batches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from parity import check, parity_dir, reference
from tiny_judge_official import CONFIG, random_tensors, write

from judge.official import (
    JudgeConfig,
    OfficialJudge,
    SAMAudioJudgeModel,
    SAMAudioJudgeProcessor,
    published_shapes,
)
from judge.types import AXES
from sam_audio.errors import AudioReadError, ModelError, PromptError

RATE, HOP = 48_000, 1920
REFERENCE = "sam-audio-judge-tiny/single"
STAGES = (
    "audio_codec",
    "data_proj",
    "transformer",
    "text_proj1",
    "cat_audio_proj",
    "text_proj2",
    "layer_norm",
    "proj_audio_and_text",
    "finetune_data_proj",
    "finetune_transformer",
    "head",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("judge") / "tiny", random_tensors())


@pytest.fixture(scope="module")
def model(folder):
    return SAMAudioJudgeModel.from_pretrained(folder)


@pytest.fixture(scope="module")
def processor(folder):
    return SAMAudioJudgeProcessor.from_pretrained(folder)


def sound(n: int, seed: int) -> np.ndarray:
    t = np.arange(n) / RATE
    noise = np.random.default_rng(seed).standard_normal(n)
    return (0.3 * np.sin(2 * np.pi * 200 * (seed + 1) * t) + 0.1 * noise).astype(np.float32)


def stacked(out) -> torch.Tensor:
    return torch.cat([getattr(out, axis) for axis in AXES], dim=1)


# ---- parity --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published():
    return SAMAudioJudgeModel.from_pretrained(parity_dir() / "sam-audio-judge-tiny")


def test_processor_as_published():
    processor = SAMAudioJudgeProcessor.from_pretrained(parity_dir() / "sam-audio-judge-tiny")
    stored = reference(REFERENCE)
    text = [str(t) for t in np.atleast_1d(stored["text"])]
    inputs = processor(text, [stored["mixture"]], [stored["separated"]], RATE)
    for name in ("input_ids", "attention_mask", "input_values", "separated_values"):
        check(REFERENCE, name, inputs[name].numpy())
    assert inputs["padding_mask"].all()


@pytest.mark.parametrize("masked", [False, True])
def test_scores_as_published(published, masked):
    stored = {n: torch.from_numpy(a) for n, a in reference(REFERENCE).items() if a.dtype.kind in "fib"}
    seen = {}
    hooks = [
        published.get_submodule(name).register_forward_hook(
            lambda module, inputs, out, name=name: seen.update({name: out})
        )
        for name in STAGES
    ]
    mask = torch.ones(1, stored["input_values"].shape[2], dtype=torch.bool) if masked else None
    with torch.inference_mode():
        out = published(
            stored["input_ids"],
            stored["attention_mask"],
            stored["input_values"],
            stored["separated_values"],
            mask,
        )
    for hook in hooks:
        hook.remove()
    check(REFERENCE, "scores", stacked(out).numpy())
    for name, stage in seen.items():
        stage = stage if isinstance(stage, torch.Tensor) else stage.last_hidden_state
        check(REFERENCE, f"mid_{name}", stage.numpy())
    assert len(seen) == len(STAGES)
    assert out.overall.shape == (1, 1)
    torch.testing.assert_close(out.frame_scores.mean(1), stacked(out))


def test_tiny_keys_as_published():
    folder = parity_dir() / "sam-audio-judge-tiny"
    keys = json.loads((folder / "keys.json").read_text())
    config = JudgeConfig.of(json.loads((folder / "config.json").read_text()))
    assert published_shapes(config) == {name: tuple(shape) for name, shape in keys.items()}


def test_full_size_keys_as_published():
    keys = json.loads((parity_dir() / "keys" / "sam-audio-judge.json").read_text())
    shapes = published_shapes(JudgeConfig.of(keys["config"]))
    assert shapes == {name: tuple(shape) for name, shape in keys["shapes"].items()}
    assert shapes == published_shapes(JudgeConfig())
    assert len(shapes) == keys["n_tensors"]
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == keys["n_values"]


# ---- batches -------------------------------------------------------------------------------------------


def test_items_of_one_length_do_not_hear_each_other(model, processor):
    text = ["a dog barks", "rain falls loudly while a dog barks"]
    mixtures, stems = ([sound(19_000, seed) for seed in seeds] for seeds in ((0, 1), (2, 3)))
    both = stacked(model(**processor(text, mixtures, stems, RATE)))
    for i in range(2):
        one = stacked(model(**processor([text[i]], [mixtures[i]], [stems[i]], RATE)))
        torch.testing.assert_close(both[i : i + 1], one, atol=3e-4, rtol=1e-5)


def test_padding_is_heard_but_not_averaged(model, processor):
    inputs = processor(["rain falls"], [sound(5 * HOP, 0)], [sound(5 * HOP, 1)], RATE)
    alone = stacked(model(**inputs))
    padded = dict(inputs)
    for name in ("input_values", "separated_values"):
        padded[name] = torch.nn.functional.pad(inputs[name], (0, 4 * HOP))
    padded["padding_mask"] = torch.nn.functional.pad(inputs["padding_mask"], (0, 4 * HOP))
    out = model(**padded)
    assert (stacked(out) - alone).abs().max() > 1e-2  # the towers heard the silence
    torch.testing.assert_close(stacked(out), out.frame_scores[:, :5].mean(1))  # the mean did not count it
    unmasked = model(**padded | {"padding_mask": None})
    torch.testing.assert_close(unmasked.frame_scores, out.frame_scores)
    torch.testing.assert_close(stacked(unmasked), out.frame_scores.mean(1))


def test_the_same_item_scores_otherwise_beside_a_longer_one(model, processor):
    short, long = (sound(9_000, 0), sound(9_000, 1)), (sound(30_000, 2), sound(30_000, 3))
    alone = stacked(model(**processor(["rain"], [short[0]], [short[1]], RATE)))
    beside = stacked(model(**processor(["rain"] * 2, [short[0], long[0]], [short[1], long[1]], RATE)))
    assert (beside[:1] - alone).abs().max() > 1e-2
    longer_alone = stacked(model(**processor(["rain"], [long[0]], [long[1]], RATE)))
    torch.testing.assert_close(beside[1:], longer_alone, atol=3e-4, rtol=1e-5)


def test_every_input_matters_and_none_is_swapped(model, processor):
    mixture, stem = sound(9_600, 0), sound(9_600, 1)
    base = stacked(model(**processor(["rain"], [mixture], [stem], RATE)))
    for text, first, second in (("dog", mixture, stem), ("rain", stem, mixture), ("rain", mixture, mixture)):
        other = stacked(model(**processor([text], [first], [second], RATE)))
        assert (other - base).abs().max() > 1e-2


@pytest.mark.parametrize("name", ["input_ids", "separated_values", "attention_mask", "padding_mask"])
def test_wrong_shapes_are_refused(model, processor, name):
    inputs = dict(processor(["rain", "dog"], [sound(9_600, 0)] * 2, [sound(9_600, 1)] * 2, RATE))
    with pytest.raises(ValueError, match="shape"):
        model(**inputs | {name: inputs[name][:1]})


def test_a_row_without_sound_is_refused(model, processor):
    inputs = processor(["rain"], [sound(9_600, 0)], [sound(9_600, 1)], RATE)
    with pytest.raises(ValueError, match="leaves nothing of row 0"):
        model(**inputs | {"padding_mask": ~inputs["padding_mask"]})


def test_bfloat16(folder, model, processor):
    half = SAMAudioJudgeModel.from_pretrained(folder, dtype=torch.bfloat16)
    inputs = processor(["rain"], [sound(9_600, 0)], [sound(9_600, 1)], RATE)
    out = half(**inputs)
    assert out.overall.dtype == torch.float32
    assert half.audio_codec.encoder.block[0].weight.dtype == half.std.dtype == torch.float32
    torch.testing.assert_close(stacked(out), stacked(model(**inputs)), atol=0.3, rtol=0.1)


# ---- processor -----------------------------------------------------------------------------------------


def test_each_item_is_reflected_on_its_own_then_padded(processor):
    lengths = 5_000, 3_000
    mixtures, stems = ([sound(n, seed) for n in lengths] for seed in (0, 1))
    inputs = processor(["a dog", "rain"], mixtures, [s[None] for s in stems], RATE)
    assert inputs["padding_mask"].sum(1).tolist() == [3 * HOP, 2 * HOP]
    for values, sounds in ((inputs["input_values"], mixtures), (inputs["separated_values"], stems)):
        assert values.shape == (2, 1, 3 * HOP)
        for row, samples in zip(values[:, 0].numpy(), sounds, strict=True):
            n, whole = len(samples), -(-len(samples) // HOP) * HOP
            np.testing.assert_array_equal(row[:n], samples)
            np.testing.assert_array_equal(row[n:whole], samples[-2 : -2 - (whole - n) : -1])
            assert not row[whole:].any()
    assert inputs["input_ids"].tolist() == [[2, 4, 5, 3], [2, 8 + 1, 3, 0]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]


def test_tensors_and_arrays_are_alike(processor):
    mixture, stem = sound(5_000, 0), sound(5_000, 1)
    arrays = processor(["a dog"], [mixture], [stem], RATE)
    tensors = processor(["a dog"], [torch.from_numpy(mixture)[None]], [torch.from_numpy(stem)], RATE).to(
        "cpu"
    )
    for name, tensor in arrays.items():
        assert torch.equal(tensor, tensors[name])


def test_a_stem_rounded_up_to_whole_frames_belongs_to_its_mixture(processor):
    inputs = processor(["a dog"], [sound(5_000, 0)], [sound(3 * HOP, 1)], RATE)
    assert inputs["input_values"].shape == inputs["separated_values"].shape


def test_channels_are_averaged(processor):
    left, right = sound(HOP, 0), sound(HOP, 1)
    with pytest.warns(UserWarning, match="2 channels are averaged"):
        inputs = processor(["a dog"], [np.stack([left, right])], [left], RATE)
    np.testing.assert_allclose(inputs["input_values"][0, 0], (left + right) / 2, atol=1e-7)


def test_no_rate_is_a_warning(processor):
    with pytest.warns(UserWarning, match="48000 Hz"):
        processor(["a dog"], [sound(HOP, 0)], [sound(HOP, 1)])


ONE = sound(5_000, 0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((["a"], [ONE], [ONE[:3_000]], RATE), AudioReadError, "3000 samples does not belong to .* of 5000"),
        ((["a"] * 2, [ONE, ONE], [ONE, ONE[:3_000]], RATE), AudioReadError, "give both the same length"),
        ((["a"], [ONE], [ONE], 44_100), AudioReadError, "48000 Hz, not 44100"),
        ((["a"], [ONE[:900]], [ONE[:900]], RATE), AudioReadError, "900 samples are too short"),
        ((["a"], [ONE[:0]], [ONE[:0]], RATE), AudioReadError, "too short"),
        ((["a"], ONE[None], [ONE], RATE), AudioReadError, "input_audio must be a list"),
        ((["a"], [ONE], "stem.wav", RATE), AudioReadError, "separated_audio must be a list"),
        ((["a"], [ONE], ["stem.wav"], RATE), AudioReadError, "read stem.wav first"),
        ((["a"], [ONE], [ONE.astype(np.int16)], RATE), AudioReadError, "floating point"),
        ((["a", "b"], [ONE], [ONE], RATE), PromptError, "2 texts, 1 mixtures and 1 separated"),
        (("a", [ONE], [ONE], RATE), PromptError, "brackets"),
        (([], [], [], RATE), PromptError, "0 texts"),
        (([ONE], [ONE], [ONE], RATE), PromptError, "phrase"),
    ],
)
def test_what_cannot_be_judged_is_one_sentence(processor, arguments, error, message):
    with pytest.raises(error, match=message) as caught:
        processor(*arguments)
    assert "\n" not in str(caught.value)


# ---- files ---------------------------------------------------------------------------------------------


def test_safetensors_load_like_a_checkpoint(folder, model, processor, tmp_path):
    from safetensors.torch import save_file

    other = write(tmp_path / "other", {})
    (other / "checkpoint.pt").unlink()
    save_file(random_tensors(), other / "model.safetensors")
    loaded = SAMAudioJudgeModel.from_pretrained(other)
    inputs = processor(["rain"], [sound(9_600, 0)], [sound(9_600, 1)], RATE)
    torch.testing.assert_close(stacked(loaded(**inputs)), stacked(model(**inputs)), rtol=0, atol=0)


def test_layers_that_are_never_used_are_not_loaded(model):
    assert len(model.text_model.layers) == 2
    assert not any("final_norm" in name or "out_proj" in name for name in model.state_dict())


def spoilt(change) -> dict[str, torch.Tensor]:
    tensors = random_tensors()
    change(tensors)
    return tensors


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (lambda: spoilt(lambda t: t.pop("head.weight")), "head.weight is missing"),
        (
            lambda: spoilt(lambda t: t.pop("text_model.layers.2.mlp.Wo.weight")),
            "layers.2.mlp.Wo.weight is missing",
        ),
        (
            lambda: spoilt(lambda t: t.pop("audio_codec.quantizer.out_proj.weight_g")),
            "out_proj.weight_g is missing",
        ),
        (lambda: spoilt(lambda t: t.update(extra=torch.zeros(1))), "extra should not be there"),
        (lambda: spoilt(lambda t: t.update(std=torch.ones(5))), r"std has shape \(5,\) instead of \(4,\)"),
        (lambda: [1, 2], "does not hold tensors by name"),
    ],
)
def test_wrong_checkpoints(tmp_path, tensors, message):
    with pytest.raises(ModelError, match=message) as caught:
        SAMAudioJudgeModel.from_pretrained(write(tmp_path, tensors()))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"\x80\x04 nor a pickle"])
def test_a_damaged_checkpoint(tmp_path, content):
    write(tmp_path, {})
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(ModelError, match=r"checkpoint\.pt (is damaged|holds more)"):
        SAMAudioJudgeModel.from_pretrained(tmp_path)


def test_a_cut_checkpoint(folder, tmp_path):
    write(tmp_path, {})
    whole = (folder / "checkpoint.pt").read_bytes()
    (tmp_path / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="damaged"):
        SAMAudioJudgeModel.from_pretrained(tmp_path)


class Intruder:
    def __reduce__(self):
        return (Path.touch, (Path("was-here"),))


def test_no_code_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="could run code"):
        SAMAudioJudgeModel.from_pretrained(write(tmp_path / "model", {"mean": Intruder()}))
    assert not Path("was-here").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transformer": None}, "lacks transformer.*sam_audio"),
        ({"finetune_transformer": {"hidden_size": 8}}, "finetune_transformer needs a positive whole number"),
        ({"bottleneck_dim": "wide"}, "bottleneck_dim, not 'wide'"),
        ({"nth_text_layer": 4}, "nth_text_layer is 4, but the text model has 3 layers"),
        ({"nth_text_layer": "last"}, "nth_text_layer, not 'last'"),
        ({"bottleneck_dim": 11}, "does not fit its config"),
    ],
)
def test_wrong_configs(tmp_path, change, message):
    write(tmp_path, random_tensors(), CONFIG | change)
    with pytest.raises(ModelError, match=message):
        SAMAudioJudgeModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "checkpoint.pt"])
def test_a_missing_file_is_named(tmp_path, name):
    write(tmp_path, random_tensors())
    (tmp_path / name).unlink()
    with pytest.raises(ModelError, match=name):
        SAMAudioJudgeModel.from_pretrained(tmp_path)


def test_a_missing_tokenizer_is_named(tmp_path):
    write(tmp_path, {})
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="not a readable tokenizer"):
        SAMAudioJudgeProcessor.from_pretrained(tmp_path)


def test_every_text_layer_and_the_norm_without_an_nth_layer(tmp_path):
    write(tmp_path, random_tensors(), CONFIG | {"nth_text_layer": None})
    loaded = SAMAudioJudgeModel.from_pretrained(tmp_path)
    assert len(loaded.text_model.layers) == 3
    assert loaded.text_model.final_norm is not None


# ---- as a judge ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judge(folder):
    return OfficialJudge.from_pretrained(folder)


def test_judges_like_the_model_itself(judge, model, processor):
    mixture, stems = sound(19_000, 0), [sound(19_000, 1), sound(19_000, 2)]
    prompts = ["a dog", "rain falls loudly"]
    for judgement, stem, prompt in zip(judge.judge(mixture, stems, prompts), stems, prompts, strict=True):
        scores = stacked(model(**processor([prompt], [mixture], [stem], RATE)))[0].tolist()
        assert [getattr(judgement, axis) for axis in AXES] == pytest.approx(scores, abs=3e-4)
        assert judgement.present is None


def test_long_recordings_are_judged_in_windows(judge, model, processor):
    mixture, stem = sound(11 * HOP + 100, 0), sound(12 * HOP, 1)
    windowed = OfficialJudge(model, processor, window_s=6 * HOP / RATE)
    (judgement,) = windowed.judge(mixture, [stem], ["rain"])
    parts = [
        judge.judge(mixture[part], [stem[part]], ["rain"])[0]
        for part in (slice(0, 6 * HOP), slice(6 * HOP, None))
    ]
    assert judgement.overall == pytest.approx(np.mean([p.overall for p in parts]), abs=3e-4)
    assert judgement.overall != pytest.approx(judge.judge(mixture, [stem], ["rain"])[0].overall, abs=1e-2)


def test_silence_has_scores(judge):
    silence = np.zeros(9_600, np.float32)
    for mixture, stem in ((sound(9_600, 0), silence), (silence, silence), (silence, sound(9_600, 0))):
        (judgement,) = judge.judge(mixture, [stem], ["rain"])
        assert np.isfinite([getattr(judgement, axis) for axis in AXES]).all()


def test_nothing_to_judge(judge):
    assert judge.judge(sound(9_600, 0), [], []) == []


@pytest.mark.parametrize(
    ("mixture", "stems", "prompts", "error", "message"),
    [
        (ONE, [ONE[:3_000]], ["a"], AudioReadError, "does not belong"),
        (ONE, [ONE[None]], ["a"], AudioReadError, "mono"),
        (np.full_like(ONE, np.nan), [ONE], ["a"], AudioReadError, "finite"),
        (ONE, [ONE], [], PromptError, "1 stems but 0 prompts"),
        (ONE, [ONE], [np.zeros(384, np.float32)], PromptError, "does not read vectors"),
        (ONE[:500], [ONE[:500]], ["a"], AudioReadError, "500 samples are too short"),
    ],
)
def test_what_the_judge_refuses(judge, mixture, stems, prompts, error, message):
    with pytest.raises(error, match=message):
        judge.judge(mixture, stems, prompts)
