"""Evaluation scripts in upstream's shape run on our classes, with nothing but names and paths given to them."""

from __future__ import annotations

import csv
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import official_tiny as tiny
import pytest
import soundfile
import tiny_judge_official
import tiny_t5
import torch
from tiny_video import write_video

from peav import PEAudioFrame, PEAudioVideo

pytest.importorskip("transformers")
torchaudio = pytest.importorskip("torchaudio")

SCRIPTS = Path(__file__).parent / "upstream_scripts"
RATE = 48_000


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAM_AUDIO_CACHE", str(tmp_path / "cache"))

    def save(path, samples, sample_rate):  # newer torchaudio needs torchcodec for it
        soundfile.write(path, samples.T.numpy(), sample_rate, subtype="FLOAT")

    monkeypatch.setattr(torchaudio, "save", save)

    def run(name: str, *arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(SCRIPTS / name), run_name="__main__")

    return run


def clip(path: Path, seed: int, seconds: float = 0.6, mask: bool = False) -> str:
    rng = np.random.default_rng(seed)
    frames = [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(round(8 * seconds))]
    if mask:
        frames = [
            255 * (np.indices((48, 64))[1] > 32).astype(np.uint8)[..., None].repeat(3, 2) for _ in frames
        ]
    write_video(path, frames, fps=8, sound=0.1 * rng.standard_normal(round(seconds * RATE)))
    return path.name


def table(path: Path, rows: list[dict]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_retrieval_with_pe_av(run, tmp_path):
    model = tiny.make(tmp_path / "pe-av-tiny", PEAudioVideo)
    words = ["a dog barking", "loud rain", "car"]
    rows = [
        {"file": clip(tmp_path / f"{n}.mp4", n, 0.6 + 0.2 * n), "caption": text, "label": text.split()[-1]}
        for n, text in enumerate(words)
    ]
    run(
        "evaluate_peav.py",
        "--model",
        model,
        "--data",
        table(tmp_path / "clips.csv", rows),
        "--out",
        "out.json",
    )
    results = json.loads(Path("out.json").read_text())
    assert len(results) == 7
    for direction, figures in results.items():
        assert all(0 <= value <= 1 for value in figures.values()), direction
        if direction != "zero-shot":
            assert figures["R@5"] == 1  # of three


def test_spans_with_pe_a_frame(run, tmp_path, capsys):
    model = tiny.make(tmp_path / "pe-a-frame-tiny", PEAudioFrame)
    rng = np.random.default_rng(0)
    soundfile.write("office.wav", 0.1 * rng.standard_normal(RATE), RATE)
    rows = [
        {"file": "office.wav", "event": event, "onset": 0.2, "offset": 0.6}
        for event in ("dog barking", "rain")
    ]
    data = table(tmp_path / "events.csv", rows)
    run("evaluate_pe_a_frame.py", "--model", model, "--data", data, "--out", "out.json", "--threshold", 0.0)
    results = json.loads(Path("out.json").read_text())
    assert '"rain": [(0.00, 1.00)]' in capsys.readouterr().out  # all is above nothing
    assert [item["overlap"] for item in results] == pytest.approx([0.4, 0.4])


@pytest.mark.parametrize(("setting", "candidates"), [("text", 2), ("span", 1), ("visual", 1)])
def test_separation_with_sam_audio(run, tmp_path, setting, candidates):
    model = tiny_t5.write_model(tmp_path / "sam-audio-tiny")
    judge = tiny_judge_official.write(tmp_path / "judge-tiny", tiny_judge_official.random_tensors())
    config = json.loads((model / "config.json").read_text())
    config["text_ranker"] = {"kind": "judge", "checkpoint_or_model_id": "judge-tiny"}
    (model / "config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(0)
    rows = []
    for n, text in enumerate(["dog barking", "rain", "a loud car"]):
        # whole frames, since the script cuts mixtures to them
        soundfile.write(f"{n}.wav", 0.1 * rng.standard_normal((1920 * (12 + 3 * n), 2)), RATE)
        video = clip(tmp_path / f"clip{n}.mp4", n)
        clip(tmp_path / f"mask{n}.mp4", n, mask=True)
        rows.append({"file": f"{n}.wav", "description": text, "start": 0.1, "end": 9.0, "video": video})
    table(tmp_path / "prompts.csv", rows)
    torch.manual_seed(0)
    arguments = ("--judge", judge, "--data", tmp_path, "--out", "out", "--candidates", candidates)
    with pytest.warns(UserWarning, match="no span predictor") if setting == "text" else _quiet():
        run("evaluate_sam_audio.py", "--model", model, "--setting", setting, *arguments)
    results = json.loads(Path("out/scores.json").read_text())
    assert len(results["items"]) == 3
    assert all(np.isfinite(value) for value in results["means"].values()) and len(results["means"]) == 4
    for n, item in enumerate(results["items"]):
        assert soundfile.info(f"out/{item['file']}").frames == 1920 * (12 + 3 * n)


def _quiet():
    from contextlib import nullcontext

    return nullcontext()
