"""Stage 2: a decoder of transformers, tiny and random here, learns to say what PE-AV perceives, and PE-AV chooses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny_shards
import torch

from sam_audio.errors import UserError
from sam_audio.training import recipe
from sam_audio.training.captions import engine
from sam_audio.training.captions.clips import read_clips
from sam_audio.training.captions.engine import read_lines
from sam_audio.training.data.samples import About, Said
from sam_audio.training.data.shards import read_shard
from sam_audio.training.estimate import estimate
from sam_audio.training.tasks import peav, refine
from sam_audio.training.trainer import train


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return tiny_shards.make(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="module")
def joint(shards, tmp_path_factory):
    """A PE-AV that has learned the three kinds of sounds."""
    folder = tmp_path_factory.mktemp("joint")
    tiny = ("sizes.width=16", "sizes.inner=16", "sizes.heads=2", "sizes.audio_layers=1", "sizes.output=16")
    chosen = recipe.load(
        "peav/nano", [f"data={shards}", "valid=", *tiny, "steps=40", "batch=12", "learning_rate=1e-2"]
    )
    train(recipe.task_of(chosen), chosen, folder)
    return folder


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    """A GPT-2 with random weights that reads words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("decoder")
    words = sorted(
        set(" ".join(tiny_shards.CAPTIONS).split()) | {"notes", ":", ".", ",", "heard", "and", "seen"}
    )
    names = ["<unk>", "<end>", *words]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(names)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unk>").save_pretrained(
        folder
    )
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(names), n_embd=32, n_layer=1, n_head=2, n_positions=64)
    config.bos_token_id = config.eos_token_id = 1
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def chosen(shards, joint, decoder, *changes):
    few = ("steps=60", "batch=12", "learning_rate=1e-2", "warmup_steps=5", "most_tokens=16", "device=cpu")
    given = (f"data={shards}", f"encoder={joint}", f"decoder={decoder}")
    return recipe.load("captions/refiner", [*given, *few, *changes])


@pytest.fixture(scope="module")
def refiner(shards, joint, decoder, tmp_path_factory):
    settings = chosen(shards, joint, decoder, "learns=all")
    run = tmp_path_factory.mktemp("run")
    train(recipe.task_of(settings), settings, run)
    return run


def test_it_says_what_it_hears(shards, refiner):
    """Wrong captions of stage 1 are put right, by the vectors alone: there are no notes."""
    trained = refine.TrainedRefiner(refiner)
    right = 0
    for n, sample in enumerate(read_shard(str(shards / "000.tar"))[:12]):
        about = json.loads(sample["json"])
        wrong = tiny_shards.CAPTIONS[(n + 1) % 3]
        about["captions"] = {"audio": {"text": wrong, "by": "rule"}}
        said = trained.captions({**sample, "json": json.dumps(about).encode()})
        assert set(said) == {"audio"}
        right += said["audio"].text == tiny_shards.CAPTIONS[n % 3]
        assert said["audio"].by.startswith("refiner:") or said["audio"] == Said(wrong, "rule")
    assert right >= 10


def test_what_is_best_already_stays(shards, refiner):
    trained = refine.TrainedRefiner(refiner, drafts=0)
    sample = read_shard(str(shards / "000.tar"))[1]
    again = trained.captions(sample)
    assert again["audio"] == Said("rain falling", "test") and set(again) == {
        "audio",
        "visual",
        "audio_visual",
    }


def test_what_misses_the_label_is_not_believed(shards, refiner):
    trained = refine.TrainedRefiner(refiner)
    sample = read_shard(str(shards / "000.tar"))[2]
    about = json.loads(sample["json"]) | {"label": "dog barking"}
    about["captions"] = {"audio": {"text": "dog barking", "by": "rule"}}
    for label, text in (("dog barking", "dog barking"), ("", "a bell ringing")):
        about["label"] = label
        told = trained.captions({**sample, "json": json.dumps(about).encode()})
        assert told["audio"].text == text


def test_only_the_projector_learns_unless_told_otherwise(shards, joint, decoder):
    task = recipe.task_of(chosen(shards, joint, decoder))
    learning = {name.split(".")[0] for name, p in task.network.named_parameters() if p.requires_grad}
    assert learning == {"projector"}
    batch, _ = next(task.batches(peav.Share(), 6, {}))
    before = task.network(batch)["loss"]
    # what stands in the prompt, and after the end of a caption, is not to be said
    learned = batch["labels"] != refine.NOT_LEARNED
    assert (batch["labels"][learned] == batch["ids"][learned]).all()
    assert (learned.sum(1) >= 3).all() and not learned[:, 0].any()
    batch["labels"][learned] = 0
    assert not torch.isclose(task.network(batch)["loss"], before)
    assert estimate(chosen(shards, joint, decoder)).learning < 20_000


def test_a_prompt():
    notes = About(weak={"audio": [Said("rain", "a"), Said("wind", "b")], "visual": [Said("a cloud", "c")]})
    assert refine.prompt_of("visual", notes) == "notes: rain, wind, a cloud. seen:"
    assert refine.prompt_of("audio_visual", About()) == "heard and seen:"


def test_no_decoder(shards, joint, tmp_path):
    with pytest.raises(UserError, match="no causal language model"):
        recipe.task_of(chosen(shards, joint, tmp_path))
    with pytest.raises(UserError, match="holds no refiner"):
        refine.TrainedRefiner(tmp_path)


def test_from_the_command_line(cli, refiner, tmp_path):
    import soundfile

    rng = np.random.default_rng(1)
    rows = ["path\tlabel"]
    for n in range(3):
        sound = 0.1 * rng.standard_normal(24_000)
        soundfile.write(tmp_path / f"{n}.wav", sound, 48_000)
        rows.append(f"{n}.wav\ta bell ringing")
    (tmp_path / "junk.wav").write_bytes(b"none")
    (tmp_path / "clips.tsv").write_text("\n".join([*rows, "junk.wav\tdog"]) + "\n")
    table, first, second = tmp_path / "clips.tsv", tmp_path / "first", tmp_path / "second"
    assert cli("data", "caption", table, "--captions", first, "--captioner", "tagger").code == 0
    done = cli("data", "refine", table, "--captions", first, "--by", refiner, "--out", second)
    assert done.code == 0 and "4 clips refined" in done.out, done.err
    before, after = read_lines(first), read_lines(second)
    assert [line.key for line in after] == [clip.key for clip in read_clips(table)]
    for one, other in zip(before[:3], after[:3], strict=True):
        assert other.about.weak[engine.STAGE_1] == list(one.about.captions.values())
        assert other.about.weak["audio"] == one.about.weak["audio"] and other.vector == one.vector
        if other.about.captions == one.about.captions:
            assert other.about.agreement == one.about.agreement
    assert after[3].problem == before[3].problem != ""
    again = cli("data", "refine", table, "--captions", first, "--by", refiner, "--out", second)
    assert "0 clips refined" in again.out
    same = cli("data", "refine", table, "--captions", first, "--by", refiner, "--out", first)
    assert same.code == 2 and "stage 1" in same.err
