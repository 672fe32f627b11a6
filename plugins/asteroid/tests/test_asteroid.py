"""A ConvTasNet that is trained here, for seconds, to tell beeps from noise, without being told which comes first."""

import numpy as np
import pytest
import soundfile
import torch
from asteroid.losses import PITLossWrapper, pairwise_neg_sisdr
from asteroid.models import ConvTasNet
from sam_audio_asteroid import Asteroid
from sam_audio_asteroid.model import BlindSeparator

from judge.metrics import si_sdr
from sam_audio.errors import ModelError
from sam_audio.extending.separator_checks import check_separator
from sam_audio.training import blind

RATE = 8000
PROMPTS = ["telephone ringing", "rain falling"]


def sounds(n: int, seed: int, seconds: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    """Warbling bells and noise, (n, T) each."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    bells, noises = [], []
    for _ in range(n):
        low, warble = rng.uniform(900, 1300), rng.uniform(12, 20)
        hertz = np.where(np.sin(2 * np.pi * warble * t) > 0, low, 1.25 * low)
        bells.append(0.3 * np.sin(2 * np.pi * np.cumsum(hertz) / RATE))
        noises.append(0.15 * rng.standard_normal(len(t)))
    return torch.tensor(np.array(bells)).float(), torch.tensor(np.array(noises)).float()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    network = ConvTasNet(
        n_src=2, n_filters=64, kernel_size=16, stride=8, n_blocks=3, n_repeats=1, bn_chan=32, hid_chan=64,
        skip_chan=32, sample_rate=RATE,
    )  # fmt: skip
    loss = PITLossWrapper(pairwise_neg_sisdr, pit_from="pw_mtx")
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for step in range(60):
        truth = torch.stack(sounds(6, step), 1)
        optimizer.zero_grad()
        loss(network(truth.sum(1)), truth).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
    path = tmp_path_factory.mktemp("asteroid") / "best.pth"
    torch.save({"model_name": "ConvTasNet", **network.serialize()}, path)
    return path


@pytest.fixture(scope="module")
def model(checkpoint):
    return Asteroid().load(f"asteroid:{checkpoint}", "cpu", None)


def separated(model, mixture, cuts=()):
    stream = model.open(model.encode(PROMPTS), len(mixture))
    parts = [stream.push(part) for part in np.split(mixture, list(cuts), axis=1)]
    return np.concatenate([*parts, stream.finish()], axis=-1)


def test_it_is_one_of_the_models(model):
    assert Asteroid().answers("asteroid:x.pth") and not Asteroid().answers("nano")
    check_separator(model)


@pytest.mark.parametrize("channels", [1, 2])
def test_each_prompt_gets_its_source(model, channels):
    bell, noise = (x[0].numpy() for x in sounds(1, 999, seconds=12.0))
    mixture = np.stack([bell + noise, bell + 0.7 * noise])[:channels].astype(np.float32)
    stems = separated(model, mixture)
    assert stems.shape == (2, channels, bell.size)
    for stem, truth in zip(stems, (bell, noise), strict=True):
        assert si_sdr(stem[0], truth) > si_sdr(mixture[0], truth) + 5
    # wherever it is cut; and in another order
    again = separated(model, mixture, cuts=(7, 50_001, 70_000))
    np.testing.assert_allclose(again, stems, atol=1e-5)
    stream = model.open(model.encode(PROMPTS[::-1]), channels)
    swapped = np.concatenate([stream.push(mixture), stream.finish()], axis=-1)
    np.testing.assert_allclose(swapped, stems[::-1], atol=1e-5)


def test_end_to_end(checkpoint, tmp_path, monkeypatch, capfd):
    """From the command line, at another rate; what nobody asked for is in the residual."""
    import sam_audio.cli
    from sam_audio.extending.registry import registry

    bell, noise = (x[0].numpy() for x in sounds(1, 5, seconds=1.0))
    t = np.arange(44_100) / 44_100
    mixture = np.interp(t, np.arange(len(bell)) / RATE, bell + noise)
    soundfile.write(tmp_path / "mix.wav", mixture, 44_100)
    if not any(kind.name == "asteroid" for kind in registry().all("separators")):
        pytest.skip("the plugin lies here and is not installed")
    arguments = ["mix.wav", "-p", PROMPTS[0], "--model", f"asteroid:{checkpoint}", "-o", "out", "--float32"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["separate", *arguments])
    with pytest.raises(SystemExit) as ended:
        sam_audio.cli.separate_main()
    assert not ended.value.code
    parts = {path.stem: soundfile.read(path)[0] for path in (tmp_path / "out").rglob("*.wav")}
    assert len(parts) == 2
    np.testing.assert_allclose(sum(parts.values()), soundfile.read(tmp_path / "mix.wav")[0], atol=1e-4)


def test_what_the_recipe_leaves(tmp_path):
    """The network of pit/voices, which asteroid itself does not know."""
    network = blind.MagnitudeMask(2, sample_rate=RATE, kernel_size=256, stride=128, n_blocks=1, n_repeats=1)
    torch.save(network.serialize(), tmp_path / "model.pth")
    found = BlindSeparator.read(str(tmp_path / "model.pth"), "cpu")
    assert found.sample_rate == RATE
    mixture = sum(x[0].numpy() for x in sounds(1, 3, seconds=2.0))
    sources = found.sources(mixture)
    assert sources.shape == (2, len(mixture))
    np.testing.assert_allclose(sources.sum(0), mixture, atol=1e-3)


def test_more_prompts_than_sources(model):
    conditions = model.encode([*PROMPTS, "dog barking"])
    whose = model.whose(np.stack([x[0].numpy() for x in sounds(1, 3)]), conditions)
    assert sorted(k for k in whose if k is not None) == [0, 1] and whose.count(None) == 1


def test_checkpoints_that_are_none(tmp_path, checkpoint):
    (tmp_path / "junk.pth").write_bytes(b"junk")
    with pytest.raises(ModelError, match="no checkpoint of asteroid"):
        BlindSeparator.read(str(tmp_path / "junk.pth"), "cpu")
    stored = torch.load(checkpoint, weights_only=False)  # made above
    torch.save({**stored, "model_name": "os.system"}, tmp_path / "odd.pth")
    with pytest.raises(ModelError, match="no checkpoint of asteroid"):
        BlindSeparator.read(str(tmp_path / "odd.pth"), "cpu")
    with pytest.raises(ModelError, match="there is no checkpoint"):
        BlindSeparator.read("./gone.pth", "cpu")
