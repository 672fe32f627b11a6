"""Nano's classes are saved, shared and loaded as the published ones are; the hub is faked."""

from __future__ import annotations

import doctest
import re
import shutil
from dataclasses import astuple

import numpy as np
import pytest
import tiny_judge
import torch

from judge.nano import NanoJudge
from peav import (
    AudioTower,
    NanoAudioFrame,
    NanoAudioVideo,
    NanoProcessor,
    TextTower,
    VideoTower,
    checkpoints,
    load_audio_frame,
    load_audio_video,
)
from peav.checkpoints import CheckpointError
from peav.nano import sharing
from sam_audio.errors import ModelError, UserError
from sam_audio.selection.judging import load_judge
from sam_audio.separator import load
from sam_audio.separator.nano.model import NanoSeparator

SOUND = torch.randn(1, 24_000, generator=torch.Generator().manual_seed(0))
FRAMES = torch.arange(3 * 30 * 40).remainder(255).to(torch.uint8).reshape(1, 1, 3, 30, 40)
MIXTURE = SOUND[0].numpy() / 4
TOWERS = [AudioTower, TextTower, VideoTower]
ALL = [*TOWERS, NanoAudioVideo, NanoAudioFrame, NanoProcessor, NanoSeparator, NanoJudge]
REPOSITORY = "me/tuned"


def answers(model) -> list[np.ndarray]:
    """What a model of any of the classes makes of the same inputs."""
    match model:
        case AudioTower():
            return [part.numpy() for part in model(SOUND)]
        case TextTower():
            return [model.embed(["a dog", "rain on a tin roof"]).numpy()]
        case VideoTower():
            return [model(FRAMES).numpy()]
        case NanoAudioVideo():
            ids, mask = model.towers.text.tokenize(["a dog"])
            out = model(ids, mask, SOUND[None], None, FRAMES)
            return [vector.numpy() for vector in vars(out).values() if vector is not None]
        case NanoAudioFrame():
            return [model(*model.towers.text.tokenize(["a dog"]), SOUND[None]).logits.numpy()]
        case NanoProcessor():
            return [t.numpy() for t in model(["a dog"], list(SOUND), list(FRAMES), 48_000).values()]
        case NanoSeparator():
            stream = model.open(model.encode(["a dog"]), 1)
            return [np.concatenate([stream.push(MIXTURE[None]), stream.finish()], axis=-1)]
        case NanoJudge():
            return [np.array(astuple(model.judge(MIXTURE, [MIXTURE / 2], ["a dog"])[0]), float)]
    raise AssertionError(model)


def same(one, other) -> bool:
    """Whether two models answer bit by bit the same; of one its answers will do."""
    before = one if isinstance(one, list) else answers(one)
    return bool(before) and all(np.array_equal(a, b) for a, b in zip(before, answers(other), strict=True))


def test_doctests():
    assert doctest.testmod(sharing).failed == 0


@pytest.mark.parametrize("kind", ALL)
def test_what_is_saved_is_loaded_again(kind, tmp_path, fake_hub):
    model = kind.from_pretrained()
    files = model.save_pretrained(tmp_path / "saved")
    assert all(file.is_file() for file in files)
    again = kind.from_pretrained(tmp_path / "saved")
    before = answers(model)
    assert same(before, again)
    again.save_pretrained(tmp_path / "saved")  # over itself
    assert not fake_hub.asked
    # a repository of it, asked by its name; then there is no need to ask
    fake_hub.repositories[REPOSITORY] = tmp_path / "saved"
    options = {"token": "hf_secret", "cache_dir": None}
    assert same(before, kind.from_pretrained(REPOSITORY, revision="v2", **options))
    assert fake_hub.options == {"token": "hf_secret"}
    assert fake_hub.asked[0][2] == "v2" and {file for _, file, _ in fake_hub.asked} == {
        file.name for file in files if file.name != "README.md"
    }
    fake_hub.asked.clear()
    kind.from_pretrained(REPOSITORY, revision="v2", local_files_only=True)
    assert not fake_hub.asked


@pytest.mark.parametrize("kind", ALL)
def test_what_is_not_there(kind, tmp_path, fake_hub):
    problem = ModelError if kind in (NanoSeparator, NanoJudge) else CheckpointError
    said = "has not been downloaded yet, and local_files_only is set: unset it, or name a folder"
    with pytest.raises(problem, match=said):
        kind.from_pretrained(REPOSITORY, local_files_only=True)
    fake_hub.repositories[REPOSITORY] = tmp_path
    with pytest.raises(problem, match=r"me/tuned has no nano-\w+\.\w+: it is not a model of this kind"):
        kind.from_pretrained(REPOSITORY)
    with pytest.raises(problem, match=r"has no file called NAME-\w+\.\w+: name another folder"):
        kind.from_pretrained(tmp_path)
    with pytest.raises(problem, match="There is no \\w+ checkpoint 'mine': use a packaged one"):
        kind.from_pretrained("mine")
    with pytest.raises(TypeError, match="unexpected keyword argument 'folder'"):
        kind.from_pretrained(folder="x")


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind is not NanoProcessor])
def test_cards(kind, tmp_path):
    model_card = pytest.importorskip("huggingface_hub").ModelCard
    kind.from_pretrained().save_pretrained(tmp_path)
    text = (tmp_path / "README.md").read_text()
    card = model_card(text)
    assert (card.data.license, card.data.library_name) == ("apache-2.0", "separate-by-prompt")
    assert card.data.pipeline_tag and "audio" in card.data.tags
    assert f"import {kind.__name__}\n" in text and "## Figures" in text
    assert not re.search(r"]\((?!http)", text)  # no link to what is not there
    (tmp_path / "README.md").write_text("my own")
    kind.from_pretrained().save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "my own"


@pytest.mark.parametrize("kind", TOWERS)
def test_what_was_changed_is_saved_exactly(kind, tmp_path):
    tower = kind.from_pretrained()
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.mul_(1.01)
    tower.save_pretrained(tmp_path)
    again = kind.from_pretrained(tmp_path)
    now, before = again.state_dict(), tower.state_dict()
    assert all(torch.equal(now[name], before[name]) for name in before)
    assert same(tower, again) and not same(tower, kind.from_pretrained())
    assert "## Figures" not in (tmp_path / "README.md").read_text()  # those were of other weights


def test_changed_towers_of_a_model(tmp_path):
    model = NanoAudioFrame()
    with torch.no_grad():
        model.towers.text.head.bias.add_(0.1)
    model.save_pretrained(tmp_path)
    NanoProcessor().save_pretrained(tmp_path)
    assert same(model, NanoAudioFrame.from_pretrained(tmp_path)) and not same(model, NanoAudioFrame())
    (frame, processor), (video, _) = load_audio_frame(tmp_path), load_audio_video(f"{sharing.NANO}:nano")
    assert isinstance(processor, NanoProcessor) and same(frame, model) and same(video, NanoAudioVideo())
    with pytest.raises(CheckpointError, match="has no file called NAME-audio.safetensors"):
        (tmp_path / "nano-audio.safetensors").unlink()
        load_audio_video(tmp_path)


def test_folders_with_other_names(tmp_path, tiny_weights):
    for name in ("a", "b"):
        for suffix in (".safetensors", ".json"):
            shutil.copy(tiny_weights.with_suffix(suffix), tmp_path / f"{name}-separator{suffix}")
    with pytest.raises(
        ModelError, match=r"has several separator checkpoints \(a-separator.safetensors, b-sep"
    ):
        NanoSeparator.from_pretrained(tmp_path)
    (tmp_path / "b-separator.safetensors").unlink()
    model = load(str(tmp_path))
    assert isinstance(model, NanoSeparator) and same(model, NanoSeparator(tiny_weights))
    model.save_pretrained(tmp_path / "saved")
    assert "## Figures" not in (tmp_path / "saved" / "README.md").read_text()
    assert same(model, NanoSeparator.from_pretrained(tmp_path / "saved"))


def test_nano_of_the_hub_by_name(tmp_path, fake_hub, tiny_weights):
    """Where the name may be that of a published model too, "nano:" goes before it."""
    NanoSeparator(tiny_weights).save_pretrained(tmp_path / "saved")
    judge = NanoJudge(tiny_judge.save(tmp_path / "x-judge.safetensors"))
    judge.save_pretrained(tmp_path / "saved")
    fake_hub.repositories[REPOSITORY] = tmp_path / "saved"
    assert same(load(f"nano:{REPOSITORY}"), NanoSeparator(tiny_weights))
    assert same(load_judge(f"nano:{REPOSITORY}"), judge)
    assert same(load_judge(str(tmp_path / "saved")), judge)


def test_a_push(tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    pushed = {}

    class Api:
        def __init__(self, token=None):
            pushed["token"] = token

        def create_repo(self, repo_id, private=None, exist_ok=False):
            return hub.RepoUrl(f"https://huggingface.co/{repo_id}")

        def file_exists(self, *_, **__):
            return False

        def upload_folder(self, *, repo_id, folder_path, **_):
            shutil.copytree(folder_path, tmp_path / "pushed")
            return type("Commit", (), {"commit_url": f"https://huggingface.co/{repo_id}/commit/abc"})

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    model = NanoJudge()
    assert model.push_to_hub(REPOSITORY, token="x") == "https://huggingface.co/me/tuned/commit/abc"
    assert pushed == {"token": "x"}
    assert same(model, NanoJudge.from_pretrained(tmp_path / "pushed"))


def test_numbers_and_devices():
    near = answers(NanoAudioVideo.from_pretrained(dtype="bfloat16", device_map="cpu"))
    for vector, exact in zip(near, answers(NanoAudioVideo()), strict=True):
        assert vector.dtype == np.float32 and not np.array_equal(vector, exact)
        assert (vector * exact).sum(-1).min() > 0.99
    assert TextTower.from_pretrained(dtype=torch.float16).embed(["a dog"]).dtype == torch.float32
    with pytest.raises(ValueError, match="cannot run in int8"):
        NanoAudioFrame.from_pretrained(dtype="int8")
    for kind in (NanoSeparator, NanoJudge):
        for dtype in ("auto", "float32", torch.float32):
            kind.from_pretrained(dtype=dtype, device_map={"": "cpu"})
        with pytest.raises(
            UserError, match=r"nano computes in float32 on cpu, and not in \S*bfloat16: leave"
        ):
            kind.from_pretrained(dtype=torch.bfloat16)
        with pytest.raises(UserError, match="a model sits on one device"):
            kind.from_pretrained(device_map={"a": "cpu", "b": "cuda"})
    with pytest.raises(UserError, match="this machine has no mps|Judge nano computes on the CPU"):
        NanoJudge.from_pretrained(device="mps")


@pytest.mark.parametrize("kind", TOWERS)
def test_random_weights(kind, tmp_path):
    tower = kind.from_pretrained()
    fresh = kind(tower.config, tower.words) if kind is TextTower else kind(tower.config)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.copy_(torch.randn_like(parameter) / 10)
    fresh.save_pretrained(tmp_path)
    again = kind.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in fresh.state_dict().items())


def test_a_checkpoint_that_is_a_pickle(tmp_path):
    AudioTower.from_pretrained().save_pretrained(tmp_path)
    torch.save({}, tmp_path / "nano-audio.safetensors")
    with pytest.raises(CheckpointError, match="is a pickle, which could run code"):
        AudioTower.from_pretrained(tmp_path)
    assert checkpoints.settings(tmp_path, "audio").arrays == {}


def test_a_card_tells_nothing_from_elsewhere(tmp_path):
    (tmp_path / "secret").write_text("title\nsecret")
    model = NanoJudge()
    model.save_pretrained(tmp_path / "given")
    (tmp_path / "given" / "nano-judge.md").symlink_to(tmp_path / "secret")
    NanoJudge.from_pretrained(tmp_path / "given").save_pretrained(tmp_path / "saved")
    assert "secret" not in (tmp_path / "saved" / "README.md").read_text()
