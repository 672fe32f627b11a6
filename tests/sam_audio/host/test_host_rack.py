"""The rack: with nothing in its chains it is a wire; faders, buses and latency do what they say."""

from __future__ import annotations

import numpy as np
import pytest
import tiny

from sam_audio.errors import UserError
from sam_audio.host import Automation, Rack
from sam_audio.separator.base import SeparationModel

pedalboard = pytest.importorskip("pedalboard")


@pytest.fixture(scope="module")
def sound():
    return tiny.noise(2, 3.1, 44_100)


def in_blocks(rack, samples, rate, block):
    """What process() gives, its delay taken off; the delay itself must be silence."""
    out = [
        rack.process(samples[:, i : i + block], rate, reset=False) for i in range(0, samples.shape[1], block)
    ]
    assert [o.shape[1] for o in out[:-1]] == [block] * (len(out) - 1)
    latency = rack.latency_samples
    joined = np.concatenate([*out, rack.flush()], axis=-1)
    assert joined.shape[1] == samples.shape[1] + latency
    assert not joined[:, :latency].any()
    return joined[:, latency:]


def rack(model, **options):
    return Rack(["guitar", "dog"], model=model, **options)


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_an_empty_rack_is_a_wire(model, rate, live):
    mixture = tiny.noise(2, 3.1, rate)
    out = rack(model, live=live)(mixture, rate)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, mixture, atol=1e-6)


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("block", [64, 441, 512, 4096])
def test_an_empty_rack_is_a_wire_in_blocks(model, sound, block, live):
    np.testing.assert_allclose(in_blocks(rack(model, live=live), sound, 44_100, block), sound, atol=1e-6)


def test_windows_in_blocks_past_the_first_window(model):
    mixture = tiny.noise(1, 33, 48_000)
    np.testing.assert_allclose(in_blocks(rack(model), mixture, 48_000, 4096), mixture, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_any_channel_count(model, channels):
    mixture = tiny.noise(channels, 0.7, 48_000)
    board = rack(model, chains={"dog": [pedalboard.Gain(0)]})
    np.testing.assert_allclose(board(mixture, 48_000), mixture, atol=1e-6)


def effects():
    return [
        pedalboard.BrickwallLimiter(ceiling_db=-20),  # looks ahead: late by itself
        pedalboard.Reverb(room_size=0.3),
        pedalboard.Compressor(threshold_db=-30, ratio=3),
    ]


@pytest.mark.parametrize("block", [64, 441, 4096])
def test_blocks_do_not_matter_with_effects(model, sound, block):
    board = rack(model, chains={"guitar": effects()}, live=True)
    board["dog"].chain = [pedalboard.HighpassFilter(200)]
    board["dog"].automation = [
        Automation("0.cutoff_frequency_hz", ((0.0, 50.0), (3.0, 4000.0))),
        Automation("gain_db", ((0.5, 0.0), (1.0, -20.0))),
        Automation("pan", ((0.0, -1.0), (3.0, 1.0))),
    ]
    whole = board(sound, 44_100)
    np.testing.assert_allclose(in_blocks(board, sound, 44_100, block), whole, atol=1e-6)


def test_latency_of_a_chain_is_made_up_for(model, sound):
    """A limiter that never limits is only a delay; the residual beside it must not notice."""
    board = rack(model, chains={"guitar": [pedalboard.BrickwallLimiter(ceiling_db=40, lookahead_ms=10)]})
    board.strips["guitar"].gain_db = 0
    out = board(sound, 44_100)
    np.testing.assert_allclose(out, sound, atol=1e-5)
    assert board.latency(44_100) >= rack(model).latency(44_100) + 441


def test_faders_weigh_the_stems(model, sound):
    board = rack(model)
    parts = {name: None for name in board.strips}
    for name in parts:
        for strip in board.strips.values():
            strip.solo = False
        board[name].solo = True
        parts[name] = board(sound, 44_100)
        board[name].solo = False
    np.testing.assert_allclose(sum(parts.values()), sound, atol=1e-6)
    board["guitar"].mute = True
    board["dog"].gain_db = 20 * np.log10(0.5)
    board["residual"].pan = 1.0
    expected = 0.5 * parts["dog"] + parts["residual"] * np.array([[0.0], [1.0]])
    np.testing.assert_allclose(board(sound, 44_100), expected, atol=1e-6)


def test_buses_carry_what_is_sent_to_them(model, sound):
    board = rack(model, buses=["band", "all"])
    for name in board.strips:
        board[name].bus = "band"
    board["band"].bus = "all"
    board["all"].gain_db = -6
    np.testing.assert_allclose(board(sound, 44_100), sound * 10 ** (-6 / 20), atol=1e-6)
    board["all"].mute = True
    assert not board(sound, 44_100).any()


def test_solo_of_a_bus_lets_its_strips_through(model, sound):
    board = rack(model, buses=["band"])
    board["dog"].bus = "band"
    board["band"].solo = True
    soloed = board(sound, 44_100)
    board["band"].solo = False
    board["dog"].solo = True
    np.testing.assert_array_equal(board(sound, 44_100), soloed)


def test_a_gain_follows_its_automation(model, sound):
    board = rack(model)
    board.master.automation = [Automation("gain_db", ((1.0, 0.0), (2.0, -40.0)))]
    times = np.arange(sound.shape[1]) / 44_100
    expected = sound * 10 ** (np.interp(times, [1, 2], [0, -40]) / 20)
    np.testing.assert_allclose(board(sound, 44_100), expected, atol=1e-6)


def test_an_effect_follows_its_automation(model, sound):
    board = rack(model)
    board.master.chain = [pedalboard.Gain(0)]
    board.master.automation = [Automation("0.gain_db", ((0.0, 0.0), (1.0, -100.0)), "hold")]
    out = board(sound, 44_100)
    np.testing.assert_allclose(out[:, :44_000], sound[:, :44_000], atol=1e-6)
    assert np.abs(out[:, 50_000:]).max() < 1e-3


def test_every_strip_can_be_had(model, sound):
    board = rack(model, chains={"dog": [pedalboard.Gain(-6)]})
    parts = list(board.stream_parts(iter([sound]), 44_100, 2))
    whole = {name: np.concatenate([p[name] for p in parts], axis=-1) for name in parts[0]}
    assert set(whole) == {"guitar", "dog", "residual", "master"}
    np.testing.assert_allclose(whole["guitar"] + whole["dog"] + whole["residual"], whole["master"], atol=1e-6)


def test_the_callers_samples_are_kept(model):
    mixture = tiny.noise(2, 0.5)
    before = mixture.copy()
    board = rack(model)
    board.master.gain_db = -6
    board(mixture, 48_000)
    np.testing.assert_array_equal(mixture, before)


def test_mono_arrays_keep_their_shape(model):
    mixture = tiny.noise(1, 0.5)[0]
    assert rack(model)(mixture, 48_000).shape == mixture.shape
    assert rack(model)(np.zeros((2, 0), np.float32), 48_000).shape == (2, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: setattr(r["dog"], "bus", "none"), "which is no bus"),
        (lambda r: setattr(r["band"], "bus", "band"), "goes back"),
        (lambda r: setattr(r["dog"], "pan", 2), "out of range"),
        (lambda r: setattr(r["dog"], "gain_db", float("nan")), "out of range"),
        (
            lambda r: setattr(r["dog"], "automation", [Automation("3.x", ((0.0, 1.0),))]),
            "cannot be automated",
        ),
        (lambda r: r["none"], "no strip none"),
    ],
)
def test_what_cannot_work_is_said(model, change, message):
    board = rack(model, buses=["band"])
    with pytest.raises(UserError, match=message):
        change(board)
        board(np.zeros((2, 100), np.float32), 48_000)


def test_a_plugin_stands_in_one_place(model):
    gain = pedalboard.Gain(0)
    with pytest.raises(UserError, match="make two"):
        rack(model, chains={"dog": [gain], "guitar": [gain]})(np.zeros((2, 9), np.float32), 48_000)


def test_pan_needs_stereo(model):
    board = rack(model)
    board.master.pan = 0.5
    with pytest.raises(UserError, match="pan needs stereo"):
        board(np.zeros((1, 5000), np.float32), 48_000)


def test_a_recording_keeps_its_rate(model):
    board = rack(model, live=True)
    board.process(np.zeros((2, 512), np.float32), 48_000, reset=False)
    with pytest.raises(UserError, match="reset"):
        board.process(np.zeros((2, 512), np.float32), 44_100, reset=False)


def test_a_model_without_a_clock_works_on_whole_recordings_only(model, sound):
    class Slow(SeparationModel):
        name, sample_rate = "slow", model.sample_rate

        def encode(self, texts):
            return model.encode(texts)

        def open(self, conditions, channels, strength=1.0):
            return model.open(conditions, channels, strength)

    board = Rack(["dog"], model=Slow())
    np.testing.assert_allclose(board(sound, 44_100), sound, atol=1e-6)
    with pytest.raises(UserError, match="does not tell its delay"):
        board.process(sound, 44_100, reset=False)
    with pytest.raises(UserError, match="cannot work live"):
        Slow().live()


@pytest.mark.parametrize("points", [(), ((1.0, 0.0), (1.0, 2.0)), ((-1.0, 0.0),), ((0.0, float("nan")),)])
def test_automations_are_checked(points):
    with pytest.raises(UserError):
        Automation("gain_db", points)
