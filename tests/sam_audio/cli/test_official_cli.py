"""``separate --model FOLDER`` with a published model: what it writes, how it fails, what memory it takes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny_t5
import torch

pytest.importorskip("transformers")

RATE = tiny_t5.RATE
QUICK = ("--steps", "1", "--no-judge", "--device", "cpu")


def write_sound(path: Path, seconds: float, channels: int = 2, rate: int = RATE) -> Path:
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", rate, channels, "FLOAT") as file:
        left = round(seconds * rate)
        while left > 0:
            n = min(left, rate)
            file.write(rng.normal(0, 0.1, (n, channels)).astype(np.float32))
            left -= n
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tiny_t5.write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def folder(whole, tmp_path):
    """A copy, to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAM_AUDIO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def cli(run_command):
    """Runs ``separate``."""
    return partial(run_command, "separate", *QUICK)


@pytest.fixture
def refused(refused):
    """Runs ``separate``, which has to fail with one sentence and write nothing; gives the sentence."""

    def run(*arguments):
        says = refused(*arguments)
        assert not list(Path("separated").rglob("*.*"))
        return says

    return run


def read(path: str | Path) -> np.ndarray:
    return soundfile.read(path, always_2d=True)[0].T


RUN = """
import resource, sys
from sam_audio.cli import separate_main
sys.argv = ["separate", *sys.argv[1:]]
try:
    separate_main()
finally:
    print("transformers" in sys.modules, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def run_apart(*arguments) -> tuple[bool, int]:
    """Runs ``separate`` in a process of its own: was transformers imported, and the peak memory."""
    command = [sys.executable, "-c", RUN, *QUICK, *map(str, arguments)]
    # freed memory goes back at once: what malloc keeps for later differs from run to run
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    imported, peak = done.stdout.splitlines()[-1].split()
    return imported == "True", int(peak)


@pytest.mark.parametrize(("channels", "rate"), [(2, 48_000), (1, 44_100), (3, 8_000)])
def test_stems_sum_to_the_mixture_at_its_own_rate(cli, whole, channels, rate):
    mix = write_sound(Path("mix.wav"), 1.3, channels, rate)
    code, _, err = cli(mix, "-p", "dog", "-p", "rain@0.2-0.9", "--model", whole, "--float32")
    assert (code, err) == (0, "")
    stems = [read(path) for path in sorted(Path("separated/mix").iterdir())]
    assert len(stems) == 3 and {stem.shape for stem in stems} == {read(mix).shape}
    np.testing.assert_allclose(sum(stems), read(mix), atol=1e-6)
    assert soundfile.info("separated/mix/dog.wav").samplerate == rate
    assert np.abs(stems[0] - stems[1]).max() > 1e-3


def test_raw_is_the_models_own_mono_sound(cli, whole):
    from sam_audio import SAMAudio, SAMAudioProcessor

    mix = write_sound(Path("mix.wav"), 1.0)
    assert cli(mix, "-p", "dog", "--model", whole, "--float32", "--raw", "--seed", "3")[0] == 0
    batch = SAMAudioProcessor.from_pretrained(whole)(audios=[mix], descriptions=["dog"])
    one_step = {"options": {"step_size": 1.0}}
    # in the numbers that the device is fast in, as the command by default
    model = SAMAudio.from_pretrained(whole, cache=False, dtype="auto")
    result = model.separate(batch, seed=3, ode_opt=one_step)
    for channel in read("separated/mix/dog.wav"):
        np.testing.assert_allclose(channel, result.target[0].numpy(), atol=1e-5)


def test_a_text_that_was_encoded_once_needs_no_text_encoder(cli, folder, refused):
    mix = write_sound(Path("mix.wav"), 0.5)
    assert cli(mix, "-p", "dog", "--model", folder)[0] == 0
    (cached,) = Path("cache/text").rglob("*.npy")
    assert not run_apart(mix, "-p", "dog", "--model", folder, "--overwrite")[0]
    cached.write_bytes(b"damaged")
    assert cli(mix, "-p", "dog", "--model", folder, "--overwrite")[0] == 0
    shutil.rmtree("separated")
    shutil.rmtree(folder / "t5")
    assert "text encoder t5 cannot be loaded" in refused(mix, "-p", "rain", "--model", folder)


def test_bad_anchors(refused, whole):
    mix = write_sound(Path("mix.wav"), 2.0)
    for asked, says in (
        (("-p", "dog@1.5-0.5"), "1.5-0.5"),
        (("-p", "dog@0.5-9"), "beyond the end"),
        (("-p", "dog", "--span", "one-two"), "not a time"),
        (("-p", "dog", "--span", "0.2-1", "--not-span", "0.5-1.5"), "at once"),
        (("--not-span", "0.5-1.5"), "where the sound is not"),
    ):
        assert says in refused(mix, *asked, "--model", whole)


def test_bad_options(refused, whole):
    mix = write_sound(Path("mix.wav"), 0.5)
    for asked, says in (
        (("--method", "dopri5"), "dopri5"),
        (("--steps", "0"), "solver steps"),
        (("--dtype", "int8"), "int8"),
        (("--memory", "1MB"), "needs about 0.6 GB"),
        (("--memory", "lots"), "not an amount of memory"),
        (("--span", "0-0.2", "--predict-spans"), "predict"),
    ):
        arguments = [mix, "-p", "dog", "--model", whole, *asked]
        assert says in refused(*arguments)


def damage(folder, change):
    tensors = torch.load(folder / "checkpoint.pt", weights_only=True)
    change(tensors)
    torch.save(tensors, folder / "checkpoint.pt")


def test_checkpoints_that_do_not_fit(refused, folder):
    mix = write_sound(Path("mix.wav"), 0.5)
    asked = (mix, "-p", "dog", "--model", folder)
    damage(folder, lambda t: t.pop("proj.bias"))
    assert "proj.bias is missing" in refused(*asked)
    damage(folder, lambda t: t.update({"proj.bias": torch.zeros(3)}))
    assert "proj.bias has shape (3,) instead of (32,)" in refused(*asked)
    damage(folder, lambda t: t.update({"proj.bias": torch.zeros(32), "more": torch.zeros(1)}))
    assert "more is not part of such a model" in refused(*asked)


def test_damaged_checkpoints_and_code_in_them(refused, folder):
    class Evil:
        def __reduce__(self):
            return os.mkdir, ("ran",)

    mix = write_sound(Path("mix.wav"), 0.5)
    asked = (mix, "-p", "dog", "--model", folder)
    torch.save({"proj.bias": Evil()}, folder / "checkpoint.pt")
    assert "could run code" in refused(*asked)
    assert not Path("ran").exists()
    (folder / "checkpoint.pt").write_bytes(b"PK\x03\x04 half of it")
    assert "checkpoint.pt is damaged" in refused(*asked)
    (folder / "checkpoint.pt").unlink()
    assert "has no checkpoint.pt" in refused(*asked)
    (folder / "config.json").write_text("{")
    assert "not a readable JSON" in refused(*asked)


def test_a_model_that_is_not_there(refused):
    mix = write_sound(Path("mix.wav"), 0.5)
    says = refused(mix, "-p", "dog", "--model", "facebook/sam-audio-small")
    assert "has not been downloaded yet, and HF_HUB_OFFLINE is set" in says


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="measures with getrusage")
def test_three_minutes_take_the_memory_of_one_window(whole):
    def peak(seconds: float) -> int:
        mix = write_sound(Path(f"{seconds:g}.wav"), seconds)
        return run_apart(mix, "-p", "dog", "--model", whole, "--float32", "-q")[1]

    peak(1)  # encodes the text
    window, long = peak(30), peak(180)
    assert long < 1.1 * window
    mix, parts = read("180.wav"), [read(f"separated/180/{name}.wav") for name in ("dog", "residual")]
    assert parts[0].shape == mix.shape == (2, 180 * RATE)
    np.testing.assert_allclose(sum(parts), mix, atol=1e-6)
