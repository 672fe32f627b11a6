"""Adapters for published models: the loss falls, and the published weights are what they were."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import tiny_t5
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from judge.official import JudgeConfig, published_shapes
from sam_audio.errors import UserError
from sam_audio.training import recipe
from sam_audio.training.data.shards import flac, write_shard
from sam_audio.training.trainer import LOG, train


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Dogs are low, rain is noise."""
    folder, rng = tmp_path_factory.mktemp("shards"), np.random.default_rng(0)
    t = np.arange(24_000) / 48_000
    samples = []
    for i in range(12):
        dog = 0.3 * np.sin(2 * np.pi * (200 + 10 * i) * t)
        sound = dog if i % 2 else 0.1 * rng.standard_normal(len(t))
        about = {"label": "dog barking" if i % 2 else "rain"}
        samples.append(
            {"__key__": f"{i:03d}", "flac": flac(sound[None].astype(np.float32), 48_000), "json": about}
        )
    write_shard(folder / "000.tar", samples)
    return folder


def judge_folder(folder):
    """A Judge with random weights."""
    generator = torch.Generator().manual_seed(0)
    tower = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {"vocab_size": 4, "hidden_size": 12, "intermediate_size": 8, "num_hidden_layers": 2}
    config = {
        "audio_codec": {"encoder_dim": 2, "latent_dim": 12, "codebook_dim": 6},
        "transformer": tower,
        "finetune_transformer": tower,
        "text_model": {**text, "num_attention_heads": 2, "pad_token_id": 0},
        "nth_text_layer": 1,
        "bottleneck_dim": 10,
    }
    tensors = {
        name: torch.randn(shape, generator=generator) * (shape[-1] ** -0.5 if len(shape) > 1 else 1.0)
        for name, shape in published_shapes(JudgeConfig.of(config)).items()
    }
    tensors = {n: 1 + t.abs() if n.endswith(("weight_g", "alpha", "std")) else t for n, t in tensors.items()}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(tensors, folder / "checkpoint.pt")
    tokenizer = Tokenizer(WordLevel({"[PAD]": 0, "[UNK]": 1, "dog": 2, "rain": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def losses(folder):
    with (folder / LOG).open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def settings(name, start, shards, *changes):
    return recipe.load(
        f"lora/{name}",
        [
            *(f"start={start}", f"data={shards}", "seconds=0.4", "batch=4", "steps=60", "precision=fp32"),
            *("learning_rate=2e-2", "warmup_steps=5", "log_every=1", "rank=4", "device=cpu", *changes),
        ],
    )


def learn(chosen, run):
    task = recipe.task_of(chosen)
    before = {n: p.detach().clone() for n, p in task.network.named_parameters() if "lora_" not in n}
    learning = [n for n, p in task.network.named_parameters() if p.requires_grad]
    assert learning and all("lora_" in name for name in learning)
    files = train(task, chosen, run).files
    after = dict(task.network.named_parameters())
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor), name
    return task, files


def test_sam_audio(shards, tmp_path):
    start = tiny_t5.write_model(tmp_path / "model")
    task, files = learn(settings("sam-audio", start, shards), tmp_path / "run")
    found = losses(tmp_path / "run")
    assert np.mean(found[-15:]) < 0.97 * np.mean(found[:5])
    assert all(path.exists() for path in files)

    # what peft reads is what was learned
    from peft import PeftModel

    from sam_audio.separator.official.model import SAMAudio

    plain = SAMAudio.from_pretrained(start)
    again = PeftModel.from_pretrained(plain, tmp_path / "run")
    own = {n: p for n, p in task.network.adapted.named_parameters() if "lora_" in n}
    read = {n: p for n, p in again.named_parameters() if "lora_" in n}
    assert own.keys() == read.keys()
    for name, tensor in own.items():
        torch.testing.assert_close(read[name], tensor)


def test_the_judge(shards, tmp_path):
    start = judge_folder(tmp_path / "model")
    learn(settings("judge", start, shards), tmp_path / "run")
    found = losses(tmp_path / "run")
    assert np.mean(found[-15:]) < 0.8 * np.mean(found[:5])


def test_targets_that_fit_nothing(shards, tmp_path):
    start = tiny_t5.write_model(tmp_path / "model")
    with pytest.raises(UserError, match="give other targets"):
        recipe.task_of(settings("sam-audio", start, shards, "targets=no_such_layer"))
    with pytest.raises(UserError, match="cannot be fine-tuned"):
        recipe.task_of(settings("sam-audio", tmp_path / "gone", shards))
    whole = settings("sam-audio", start, shards, "strategy=fsdp")
    with pytest.raises(UserError, match="strategy=ddp"):
        train(recipe.task_of(whole), whole, tmp_path / "run")
