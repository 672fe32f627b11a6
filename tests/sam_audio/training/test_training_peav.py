"""PE-AV by recipe: a tiny one over the nano towers learns to tell clips apart, and published sizes load and learn."""

from __future__ import annotations

import csv

import official_tiny
import pytest
import tiny_shards
import torch

from peav.joint import JointConfig, JointEncoder, JointSizes
from peav.losses import FINETUNING, PRETRAINING, needed
from peav.official.model import PEAudioVideo
from sam_audio.errors import UserError
from sam_audio.training import recipe
from sam_audio.training.data.shards import read_shard, write_shard
from sam_audio.training.estimate import estimate
from sam_audio.training.tasks import peav
from sam_audio.training.trainer import LOG, train


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return tiny_shards.make(tmp_path_factory.mktemp("shards"))


def nano(shards, *changes):
    tiny = ("sizes.width=16", "sizes.inner=16", "sizes.heads=2", "sizes.audio_layers=1", "sizes.output=16")
    few = ("steps=40", "batch=12", "log_every=1", "validate_every=1000", "device=cpu", "learning_rate=1e-2")
    return recipe.load("peav/nano", [f"data={shards}", f"valid={shards}", *tiny, *few, *changes])


def test_the_vectors_have_the_names_of_the_losses():
    torch.manual_seed(0)
    config = JointConfig(6, 5, 4, JointSizes(width=16, inner=16, heads=2, output=8))
    encoder = JointEncoder(config).eval()
    audio, video = torch.randn(2, 7, 6), torch.randn(2, 3, 5)
    audio_valid = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    video_valid = torch.tensor([[True] * 3, [False] * 3])  # the second has no pictures
    texts = {kind: torch.randn(2, 4) for kind in ("Ta", "Tv", "Tav")}
    vectors = encoder(needed(FINETUNING), audio, audio_valid, video, video_valid, texts)
    assert vectors.keys() == set(needed(FINETUNING))
    for vector in vectors.values():
        torch.testing.assert_close(vector.norm(dim=1), torch.ones(2))
    alone = encoder(["A", "AV"], audio[1:, :4], None, video[:1] * 0, video_valid[1:], texts)
    torch.testing.assert_close(alone["A"][0], vectors["A"][1], rtol=1e-4, atol=1e-5)  # padding is not heard
    assert not torch.allclose(vectors["Ta@A"], vectors["Ta@AV"])  # each kind of pair has a text head
    spoken = encoder(["A+Ta", "Tav@V"], audio, audio_valid, None, None, texts)
    torch.testing.assert_close(spoken["A+Ta"], vectors["A+Ta"])


def test_a_nano_learns_and_is_loaded_again(shards, tmp_path):
    chosen = nano(shards)
    done = train(recipe.task_of(chosen), chosen, tmp_path)
    with (tmp_path / LOG).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert set(PRETRAINING) <= rows[0].keys()
    assert float(rows[-1]["loss"]) < 0.6 * float(rows[0]["loss"])
    encoder, task = peav.load_joint(tmp_path)
    figures = task.validate(peav.Learner(encoder, done.network.loss))
    assert figures == task.validate(done.network)
    assert figures["clips"] == 18
    # each kind has its caption, by which any clip of the kind is right
    assert figures["text_to_audio"] == figures["text_to_video"] == figures["text_to_both"] == 1.0


def test_few_clips_of_which_none_is_held_out_with_all_it_has(shards, tmp_path):
    unseen = [sample for sample in read_shard(str(shards / "000.tar")) if "0.jpg" not in sample]
    write_shard(tmp_path / "valid" / "000.tar", unseen)
    chosen = nano(shards, f"valid={tmp_path / 'valid'}")
    task = recipe.task_of(chosen)
    assert task.validate(task.network) == {"clips": 0.0}


def test_stopped_and_gone_on_with(shards, tmp_path):
    chosen = nano(shards, "steps=6", "stage=finetune")
    train(recipe.task_of(chosen), chosen, tmp_path / "whole")
    train(recipe.task_of(chosen), chosen, tmp_path / "parts", until=3)
    train(recipe.task_of(chosen), chosen, tmp_path / "parts")
    assert (tmp_path / "parts" / LOG).read_text() == (tmp_path / "whole" / LOG).read_text()


def test_pairs_and_captions_are_the_recipes(shards):
    both = {pair: 1.0 for pair in FINETUNING}
    assert nano(shards, "stage=finetune").pairs == both
    task = recipe.task_of(nano(shards, *(f"pairs.{p}=0" for p in PRETRAINING[2:])))
    assert list(task.network.loss.weights) == ["A-V", "A-Ta"]
    batch, _ = next(recipe.task_of(nano(shards, "captions=label")).batches(peav.Share(), 12, {}))
    assert (batch["ids"]["Ta"] == batch["ids"]["Tv"]).all()
    assert 0 < batch["present"]["V"].sum() < 12
    with pytest.raises(UserError, match="no pair 'A-X'"):
        recipe.task_of(nano(shards, "pairs.A-X=1"))


@pytest.fixture(params=[official_tiny.make, official_tiny.make_transformers])
def published(tmp_path, request):
    return request.param(tmp_path / "tiny", PEAudioVideo)


def small(shards, start, *changes):
    given = (f"start={start}", f"data={shards}", f"valid={shards}", "steps=2", "batch=4", "accumulate=1")
    few = ("seconds=0.3", "frames=2", "strategy=ddp", "precision=fp32", "validate_every=2", "device=cpu")
    return recipe.load("peav/small", [*given, *few, "warmup_steps=1", *changes])


def test_a_published_model_goes_on_learning_in_two_stages(shards, published, tmp_path):
    """What the first stage leaves is a model of the published kind, and the second starts from it."""
    before = PEAudioVideo.from_pretrained(published).state_dict()
    first = small(shards, published, "checkpointing=true")
    done = train(recipe.task_of(first), first, tmp_path / "first")
    assert {path.name for path in done.files} == {"model.safetensors", "config.json", "tokenizer.json"}
    between = PEAudioVideo.from_pretrained(tmp_path / "first").state_dict()
    second = small(shards, tmp_path / "first", "stage=finetune")
    train(recipe.task_of(second), second, tmp_path / "second")
    after = PEAudioVideo.from_pretrained(tmp_path / "second").state_dict()

    def changed(one, other):
        return {name.split(".")[0] for name in one if not torch.equal(one[name], other[name])}

    plus = {"audio_plus_text_head", "visual_plus_text_head"}
    learned = {"audio", "video", "fusion", "text", "audio_head", "audio_text_head"}
    assert learned <= changed(before, between) and not plus & changed(before, between)
    assert learned | plus <= changed(between, after)
    assert not {"codec", "vision"} & (changed(before, between) | changed(between, after))
    with pytest.raises(UserError, match="learns names mouth"):
        recipe.task_of(small(shards, published, 'learns=["mouth"]'))


def test_a_nano_is_no_published_model(tmp_path):
    (tmp_path / "joint.json").write_text(
        '{"task": "peav", "model": "small", "start": "x", "steps": 1, "batch": 1, "data": "", "pairs": {}}'
    )
    (tmp_path / "joint.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    with pytest.raises(UserError, match="is no nano"):
        peav.load_joint(tmp_path)


def test_what_a_published_size_takes():
    small = estimate(recipe.load("peav/small", ["start=", "batch=4", "seconds=1.0", "frames=1"]))
    assert 0.84e9 < small.parameters < 0.86e9
    assert 0.3e9 < small.learning < small.parameters - 0.3e9  # the image tower and the codec do not
