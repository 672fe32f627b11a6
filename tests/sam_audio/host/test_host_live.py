"""Live separation: block by block, in step, with a bounded delay."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import soundfile
import tiny
from tiny import constant_mask
from typer import Typer
from typer.testing import CliRunner

from sam_audio.errors import UserError
from sam_audio.host.live import FileSource, run_live
from sam_audio.io import open_audio
from sam_audio.separator.base import SeparationModel
from sam_audio.separator.nano.live import LiveModel, LiveOptions


@pytest.fixture(scope="module")
def live(model):
    return LiveModel(model, model.window, LiveOptions(context=32))


def stems(live, mixture, block=None, prompts=("guitar", "dog")):
    stream = live.open(live.encode(list(prompts)), len(mixture))
    step = block or mixture.shape[1]
    out, pushed, given = [], 0, 0
    for i in range(0, mixture.shape[1], step):
        out.append(stream.push(mixture[:, i : i + step]))
        pushed, given = pushed + mixture[:, i : i + step].shape[1], given + out[-1].shape[-1]
        assert given == live.emitted(pushed)
    return np.concatenate([*out, stream.finish()], axis=-1)


@pytest.mark.parametrize("block", [1, 64, 441, 4096])
def test_blocks_do_not_matter(live, block):
    mixture = tiny.noise(2, 0.3 if block == 1 else 1.7)
    np.testing.assert_allclose(stems(live, mixture, block), stems(live, mixture), atol=1e-5)


@pytest.mark.parametrize("frames", [1, 500, 5000, 81_601])
def test_a_whole_mask_gives_the_mixture(model, live, frames):
    mixture = tiny.noise(2, 2)[:, :frames]
    with constant_mask(model, 20):
        np.testing.assert_allclose(stems(live, mixture, 512, ["guitar"])[0], mixture, atol=1e-5)


def test_only_the_context_matters(live):
    """What lies further back than the context, changes nothing."""
    mixture = tiny.noise(1, 3)
    other = mixture.copy()
    other[:, : 48_000 + 100] = tiny.noise(1, 3, seed=1)[:, : 48_000 + 100]
    settled = 48_000 + 960 * (32 + 8)
    np.testing.assert_allclose(
        stems(live, mixture)[..., settled:], stems(live, other)[..., settled:], atol=1e-5
    )


def test_nothing_is_heard_before_its_time(live):
    """Look-ahead is bounded: what comes later than the delay changes nothing."""
    mixture = tiny.noise(1, 2)
    other = mixture.copy()
    other[:, 48_000:] = 0
    ahead = 960 * (live.options.hop + live.options.lookahead) + 2048
    np.testing.assert_allclose(
        stems(live, mixture)[..., : 48_000 - ahead], stems(live, other)[..., : 48_000 - ahead], atol=1e-6
    )


class Memory:
    def __init__(self):
        self.blocks = []

    def write(self, samples):
        self.blocks.append(samples)


def source(tmp_path, samples, block=512, paced=False):
    path = tmp_path / "in.wav"
    soundfile.write(path, samples.T, 48_000, subtype="FLOAT")
    return FileSource(open_audio(path), block, paced)


def test_a_session_delays_the_sound_by_what_it_says(tmp_path):
    sound, sink = tiny.noise(2, 1), Memory()
    report = run_live(lambda x, rate: x, 0, source(tmp_path, sound, paced=True), sink)
    out = np.concatenate(sink.blocks, axis=-1)
    assert report.dropouts == 0
    margin = round(0.08 * 48_000)
    np.testing.assert_array_equal(out[:, margin:], sound[:, :-margin])
    assert report.latency_s == pytest.approx((margin + 512) / 48_000)
    assert report.seconds == pytest.approx(sound.shape[1] / 48_000)


def test_a_stall_is_a_drop_out_and_the_sound_stays_in_step(tmp_path):
    sound, sink, calls = tiny.noise(1, 1.2), Memory(), []

    def process(samples, rate):
        calls.append(1)
        if len(calls) == 20:
            time.sleep(0.3)
        return samples

    report = run_live(process, 0, source(tmp_path, sound, paced=True), sink)
    out = np.concatenate(sink.blocks, axis=-1)
    margin = round(0.08 * 48_000)
    assert 0 < report.dropouts < 60
    assert report.worst_s >= 0.3
    np.testing.assert_array_equal(out[:, -4800:], sound[:, -4800 - margin : -margin])


def test_an_error_in_the_worker_is_raised(tmp_path):
    def process(samples, rate):
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        run_live(process, 0, source(tmp_path, tiny.noise(1, 2), paced=True), Memory())


def command():
    from sam_audio.cli.live import live as command

    app = Typer()
    app.command()(command)
    return app


def test_the_command_works_on_files(tmp_path, tiny_weights):
    pytest.importorskip("pedalboard")
    soundfile.write(tmp_path / "in.wav", tiny.noise(2, 1.5).T, 48_000, subtype="FLOAT")
    arguments = ["-p", "voice", "--from", str(tmp_path / "in.wav"), "--to", str(tmp_path / "out.wav")]
    arguments += ["--model", str(tiny_weights), "-d", "cpu", "--json"]
    done = CliRunner().invoke(command(), arguments, catch_exceptions=False)
    report = json.loads(done.stdout)
    assert report["latency_s"] < 0.25
    assert soundfile.info(tmp_path / "out.wav").frames == soundfile.info(tmp_path / "in.wav").frames


FILES = ["--from", "in.wav", "--to", "out.wav"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "what to let through"),
        (["-p", "voice", "--from", "x.wav"], "belong together"),
        (["-p", "voice", "--block", "0"], "a block of 0 samples cannot work: use 1 to 65536"),
        (["-p", "voice", "--block", "65537"], "use 1 to 65536"),
        (["--rack", "podcast", "--strength", "1"], "--strength does nothing beside --rack"),
        (["--rack", "podcast", "--remove"], "--remove does nothing beside --rack"),
        (["-p", "voice", *FILES, "--input", "Mic"], "--input does nothing beside --from"),
        (["-p", "voice", *FILES, "--output", "Out"], "--output does nothing beside --from"),
        (["-p", "voice", *FILES, "--sample-rate", "48000"], "--sample-rate does nothing beside --from"),
        (["--rack", "none"], "there is no rack"),
    ],
)
def test_what_cannot_work_is_said(arguments, message):
    with pytest.raises(UserError, match=message):
        CliRunner().invoke(command(), arguments, catch_exceptions=False)


def test_options_are_checked():
    with pytest.raises(UserError, match="16 frames"):
        LiveOptions(context=4)


def test_the_delay_holds_for_a_while_at_other_rates():
    """The converters' blocks drift against those of the network: the latest comes after some seconds."""
    from sam_audio.separation import latency

    class Clock(SeparationModel):
        block_samples, sample_rate, name = LiveModel.block_samples, 48_000, "clock"
        options = LiveOptions()
        emitted = LiveModel.emitted

        def encode(self, prompts): ...
        def open(self, conditions, channels, strength=1.0): ...

    assert latency(Clock(), 48_000) < 0.13 * 48_000
    assert 7_300 <= latency(Clock(), 44_100) < 0.2 * 44_100  # 4 s of playing it through found less


def test_a_machine_that_is_too_slow_ends_with_a_sentence_and_no_thread():
    class Source:
        sample_rate, channels = 1000, 1

        def read(self, frames):
            return np.zeros((1, frames), np.float32)

        def write(self, samples):
            time.sleep(0.002)

    def slow(samples, rate):
        time.sleep(0.1)
        return samples

    begun = time.monotonic()
    with pytest.raises(UserError, match="too slow to separate live"):
        run_live(slow, 0, Source(), Source(), block=100)
    assert time.monotonic() - begun < 3  # what waited, 5 s of it, would have taken longer
    assert "sam-audio live" not in [thread.name for thread in threading.enumerate()]


def test_a_session_that_is_too_slow_does_not_abort():
    """In a process of its own: threads within C++ when the interpreter ends would take it down (134)."""
    code = """
import sys, numpy, torch
from sam_audio.errors import UserError
from sam_audio.host.live import run_live
class Source:
    sample_rate, channels = 1000, 1
    def read(self, frames): return numpy.zeros((1, frames), numpy.float32)
    def write(self, samples): pass
big = torch.ones(1500, 1500)
def slow(samples, rate):
    for _ in range(3): big @ big
    return samples
try:
    run_live(slow, 0, Source(), Source(), block=100)
except UserError:
    sys.exit(2)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 2
