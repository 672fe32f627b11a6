"""Effects from plain values, parameters by name, plugins at a safe distance, racks as files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
from typer.testing import CliRunner

from sam_audio.errors import MissingExtraError, UserError
from sam_audio.host.chains import (
    ChainRunner,
    chain_latency,
    effect_names,
    load_plugin,
    load_preset,
    make_effect,
    set_parameter,
)
from sam_audio.host.effects import parameters
from sam_audio.host.files import find_rack, load_rack, ready_made
from sam_audio.host.scan import examine, find_plugins, scan

pedalboard = pytest.importorskip("pedalboard")

VST3_SOURCE = Path(__file__).parents[2] / "assets" / "gain_vst3.cpp"


# ---- effects ---------------------------------------------------------------------------------------------


def test_an_effect_from_plain_values():
    reverb = make_effect({"effect": "Reverb", "room_size": 0.7})
    assert isinstance(reverb, pedalboard.Reverb)
    assert reverb.room_size == pytest.approx(0.7)
    assert {"Reverb", "Compressor", "Gain"} <= set(effect_names())
    assert "VST3Plugin" not in effect_names()
    assert not [name for name in effect_names() if name.startswith("_")]


def test_parameters_have_units():
    knobs = {knob.name: knob for knob in parameters(pedalboard.Compressor(threshold_db=-20, attack_ms=3))}
    assert (knobs["threshold_db"].value, knobs["threshold_db"].unit) == (-20, "dB")
    assert knobs["attack_ms"].unit == "ms"
    compressor = pedalboard.Compressor()
    set_parameter(compressor, "ratio", 4.0)
    assert compressor.ratio == 4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"effect": "Reverbe"}, "did you mean Reverb"),
        ({"room_size": 1}, "without effect"),
        ({"effect": "Reverb", "roomsize": 1}, "did you mean room_size"),
        ({"effect": "Reverb", "room_size": "big"}, "does not take"),
        ({"effect": "Reverb", "room_size": 7.0}, "cannot be set up"),
        ({"plugin": "none.vst3"}, "there is no plugin"),
        ({"plugin": "none.vst3", "gain": 1}, "unknown key 'gain'"),
    ],
)
def test_what_an_effect_does_not_take_is_said(values, message):
    with pytest.raises(UserError, match=message) as caught:
        make_effect(values)
    assert "\n" not in str(caught.value)


def test_unknown_parameters_are_told():
    with pytest.raises(UserError, match="did you mean ratio"):
        set_parameter(pedalboard.Compressor(), "ration", 1)
    with pytest.raises(UserError, match="no preset"):
        load_preset(pedalboard.Gain(0), Path("none.vstpreset"))


@pytest.mark.parametrize("block", [1, 63, 500, 20_000])
@pytest.mark.parametrize("frames", [1, 100, 30_001])
def test_a_chain_gives_every_sample_back(block, frames):
    sound = tiny.noise(2, 1)[:, :frames]
    runner = ChainRunner([pedalboard.BrickwallLimiter(ceiling_db=40)], [], 48_000, 2)
    out = [runner.push(sound[:, i : i + block]) for i in range(0, frames, block)]
    np.testing.assert_allclose(np.concatenate([*out, runner.finish()], axis=-1), sound, atol=1e-6)


def test_latency_covers_what_a_chain_holds_back():
    effects = [pedalboard.MP3Compressor(), pedalboard.Resample(8000)]
    latency = chain_latency(effects, False, 44_100, 2)
    for block in (64, 441, 4096):
        runner = ChainRunner(effects, [], 44_100, 2)
        pushed = given = 0
        for _ in range(40):
            pushed += block
            given += runner.push(np.zeros((2, block), np.float32)).shape[1]
            assert pushed - given <= latency
    assert chain_latency([], False, 44_100, 2) == 0


# ---- plugins ---------------------------------------------------------------------------------------------


def bundle(folder, name):
    """Where the binary of a VST3 bundle for Linux belongs."""
    inner = folder / f"{name}.vst3" / "Contents" / "x86_64-linux"
    inner.mkdir(parents=True)
    return inner / f"{name}.so"


def compile_plugin(source, target, *flags):
    if sys.platform != "linux" or shutil.which("g++") is None:
        pytest.skip("building a plugin needs Linux and g++ (Debian: apt-get install g++)")
    command = ["g++", "-shared", "-fPIC", "-O1", *flags, "-x", "c++", source, "-o", target]
    subprocess.run(command, check=True, capture_output=True)
    return target.parents[2]


def test_a_broken_file_is_reported_in_one_sentence(tmp_path):
    path = tmp_path / "broken.vst3"
    path.write_text("this is no plugin")
    report = examine(path)
    assert report.plugins == () and "is not a plugin that can be loaded" in report.error
    assert "\n" not in report.error
    with pytest.raises(UserError, match="not a plugin"):
        load_plugin(path)


def test_a_plugin_that_crashes_is_reported_in_one_sentence(tmp_path):
    source = tmp_path / "crash.cpp"
    source.write_text(
        '#include <csignal>\nextern "C" bool ModuleEntry(void*) { raise(SIGSEGV); return true; }\n'
    )
    path = compile_plugin(source, bundle(tmp_path, "crash"))
    report = examine(path)
    assert report.error is not None and "crashed while loading (SIGSEGV)" in report.error
    with pytest.raises(UserError, match="crashed"):
        load_plugin(path)


def test_a_scan_goes_on_after_a_bad_plugin(tmp_path):
    for name in ("b.vst3", "a.vst3"):
        (tmp_path / name).write_text("no")
    (tmp_path / "inner.vst3" / "Contents" / "deeper.vst3").mkdir(parents=True)
    assert [p.name for p in find_plugins([tmp_path])] == ["a.vst3", "b.vst3", "inner.vst3"]
    reports = list(scan([tmp_path]))
    assert [Path(report.path).name for report in reports] == ["a.vst3", "b.vst3", "inner.vst3"]
    assert all(report.error for report in reports)
    with pytest.raises(UserError, match="no folder"):
        list(scan([tmp_path / "none"]))


def test_a_plugin_that_hangs_is_given_up(tmp_path):
    source = tmp_path / "hang.cpp"
    source.write_text('#include <unistd.h>\nextern "C" bool ModuleEntry(void*) { sleep(60); return true; }\n')
    path = compile_plugin(source, bundle(tmp_path, "hang"))
    assert "was not loaded after 3 s" in examine(path, timeout_s=3).error


@pytest.fixture(scope="module")
def vst3(tmp_path_factory):
    """A real VST3 plugin: one knob, Level, from -60 to 0 dB... built here."""
    if not VST3_SOURCE.is_file():
        pytest.skip("no VST3 plugin to test with")
    return compile_plugin(VST3_SOURCE, bundle(tmp_path_factory.mktemp("vst3"), "gain"))


def test_a_vst3_plugin_is_found_set_and_heard(vst3, model, tmp_path):
    report = examine(vst3)
    assert report.error is None, report.error
    (info,) = report.plugins
    assert info.name == "Test Gain" and info.kind == "effect"
    (knob,) = [p for p in info.parameters if p["name"].startswith("level")]
    plugin = make_effect({"plugin": str(vst3), "parameters": {knob["name"]: 0.25}})
    sound = tiny.noise(2, 0.5)
    from sam_audio.host import Rack

    rack = Rack(["dog"], model=model)
    rack.master.chain = [plugin]
    np.testing.assert_allclose(rack(sound, 48_000), sound * 0.25, atol=1e-5)
    setattr(plugin, knob["name"], 0.75)
    np.testing.assert_allclose(rack(sound, 48_000), sound * 0.75, atol=1e-5)


# ---- racks as files --------------------------------------------------------------------------------------

RACK = """
prompts = ["guitar", "dog barking"]
strength = 1.5
[strips.guitar]
gain_db = -3
pan = 0.5
bus = "room"
chain = [{ effect = "Compressor", threshold_db = -20, ratio = 3 }]
automation = [{ target = "0.ratio", points = [[0, 1], [2.5, 4]] }]
[strips."dog barking"]
mute = true
[buses.room]
chain = [{ effect = "Reverb", room_size = 0.2 }]
[master]
solo = false
gain_db = 1
"""


def write_rack(folder, text):
    path = folder / "mine.rack.toml"
    path.write_text(text)
    return path


def test_a_rack_from_a_file(tmp_path, model):
    rack = load_rack(write_rack(tmp_path, RACK), model=model)
    assert list(rack.strips) == ["guitar", "dog barking", "residual"]
    assert rack.strength == 1.5
    guitar = rack["guitar"]
    assert (guitar.gain_db, guitar.pan, guitar.bus) == (-3, 0.5, "room")
    assert guitar.chain[0].threshold_db == -20
    assert guitar.automation[0].at(np.array([1.25])) == pytest.approx(2.5)
    assert rack["dog barking"].mute
    assert isinstance(rack["room"].chain[0], pedalboard.Reverb)
    assert rack.master.gain_db == 1
    sound = tiny.noise(2, 0.5)
    assert rack(sound, 48_000).shape == sound.shape


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompts = [", "is not TOML"),
        ("", "lacks prompts"),
        ('prompts = ["a"]\nstrenght = 1', "did you mean strength"),
        ('prompts = ["a"]\n[strips.b]\nmute = true', "no strip b"),
        ('prompts = ["a"]\n[strips.a]\nmute = 1', "true or false"),
        ('prompts = ["a"]\n[strips.a]\ngain_db = "loud"', "write a number"),
        ('prompts = ["a"]\n[strips.a]\nchain = "Reverb"', "write a list"),
        ('prompts = ["a"]\n[strips.a]\nautomation = [{ target = "gain_db" }]', "lacks points"),
        ('prompts = ["a"]\n[buses.master]\nmute = true', "another name"),
        ('prompts = ["a"]\nstrength = 3', "out of range"),
        ('prompts = [""]', "empty"),
    ],
)
def test_what_is_wrong_with_a_rack_file_is_said(tmp_path, model, text, message):
    with pytest.raises(UserError, match=message) as caught:
        load_rack(write_rack(tmp_path, text), model=model)
    assert "\n" not in str(caught.value)


def test_the_ready_made_racks_work(model):
    names = ready_made()
    assert {"karaoke", "podcast", "drumless", "remix", "de-bleed"} <= set(names)
    sound = tiny.noise(2, 0.6, 44_100)
    for name, description in names.items():
        assert description.endswith(".")
        out = load_rack(find_rack(name), model=model)(sound, 44_100)
        assert out.shape == sound.shape and np.isfinite(out).all() and out.any()
    with pytest.raises(UserError, match="karaoke"):
        find_rack("karaokee")


# ---- the commands ----------------------------------------------------------------------------------------


def invoke(*arguments):
    from sam_audio.cli.rack import app

    return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)


def test_run_writes_the_mix_and_its_strips(tmp_path, tiny_weights):
    soundfile.write(tmp_path / "mix.wav", tiny.noise(2, 0.7, 44_100).T, 44_100, subtype="FLOAT")
    rack = write_rack(tmp_path, 'prompts = ["guitar"]')
    options = ["-o", tmp_path / "out", "--stems", "--model", tiny_weights, "-d", "cpu"]
    done = invoke("run", tmp_path / "mix.wav", rack, *options)
    assert done.exit_code == 0
    written = [soundfile.read(line)[0] for line in done.stdout.splitlines()]
    names = [Path(line).relative_to(tmp_path / "out").as_posix() for line in done.stdout.splitlines()]
    assert names == ["mix-mine.wav", "mix-mine/guitar.wav", "mix-mine/residual.wav"]
    np.testing.assert_allclose(written[0], soundfile.read(tmp_path / "mix.wav")[0], atol=1e-6)
    np.testing.assert_allclose(written[1] + written[2], written[0], atol=1e-6)
    with pytest.raises(UserError, match="already exists"):
        invoke("run", tmp_path / "mix.wav", rack, *options)


def test_what_a_rack_made_is_skipped_until_something_that_decides_it_changes(tmp_path, tiny_weights):
    soundfile.write(tmp_path / "mix.wav", tiny.noise(1, 0.3, 44_100).T, 44_100)
    soundfile.write(tmp_path / "room.wav", np.float32([1, 0.5]), 44_100)
    chain = '[strips.guitar]\nchain = [{ effect = "Convolution", impulse_response_filename = "room.wav" }]'
    rack = write_rack(tmp_path, f'prompts = ["guitar"]\n{chain}')

    def run(*more):
        done = invoke(
            "run", tmp_path / "mix.wav", rack, "-o", tmp_path / "out", "--model", tiny_weights, *more
        )
        assert done.exit_code == 0
        return "skipped" in done.stdout

    run("--stems")
    assert run("--stems", "--skip-existing")
    (tmp_path / "out" / "mix-mine" / "residual.wav").unlink()
    assert not run("--stems", "--skip-existing")
    assert run("--stems", "--skip-existing")
    soundfile.write(tmp_path / "room.wav", np.float32([1, 0.5, 0.25]), 44_100)
    assert not run("--stems", "--skip-existing")
    assert not run("--skip-existing")
    with pytest.raises(UserError, match="exclude each other"):
        run("--skip-existing", "--overwrite")
    with pytest.raises(UserError, match="through a pipe"):
        invoke("run", "-", rack, "--skip-existing")


def test_list_and_plugins(tmp_path):
    assert "karaoke" in invoke("list").stdout
    assert {r["name"] for r in json.loads(invoke("list", "--json").stdout)["racks"]} == set(ready_made())
    (tmp_path / "bad.vst3").write_text("no")
    found = json.loads(invoke("plugins", tmp_path, "--json").stdout)["files"]
    assert len(found) == 1 and found[0]["error"]
    assert "Reverb" in invoke("plugins", tmp_path, "--effects").stdout


def test_without_pedalboard_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pedalboard", None)
    with pytest.raises(MissingExtraError, match=r"separate-by-prompt\[daw\]"):
        make_effect({"effect": "Reverb"})
