"""Where models go, and in which numbers they compute there."""

from __future__ import annotations

import doctest

import official_tiny as tiny
import pytest
import torch

from peav import PEAudioFrame, devices
from peav.devices import choose_device, choose_dtype, cpu_has_bfloat16

CPU = torch.device("cpu")


def test_doctests():
    assert doctest.testmod(devices).failed == 0


def test_a_model_goes_to_one_device(monkeypatch):
    assert choose_device() == choose_device("cpu", device_map="cuda") == CPU
    assert choose_device(device_map={"": "cpu", "text_model": "cpu"}) == CPU
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert choose_device(device_map="auto").type == "cuda"
    assert choose_device(device_map=0) == torch.device(0)
    with pytest.raises(ValueError, match="on one device"):
        choose_device(device_map={"": "cpu", "text_model": "cuda"})


@pytest.mark.parametrize(
    ("amx", "abilities", "fast"),
    [
        (True, {}, True),
        (False, {"avx512_bf16": True, "cpu_name": "AMD EPYC 9R14"}, True),
        (False, {"avx512_bf16": True, "cpu_name": "Intel Xeon"}, False),  # 2.7 times as long as float32
        (False, {"avx2": True, "cpu_name": "AMD EPYC 7R32"}, False),
    ],
)
def test_auto_is_what_the_device_is_fast_in(monkeypatch, amx, abilities, fast):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities, raising=False)
    assert cpu_has_bfloat16() == fast
    assert choose_dtype("auto", CPU) == (torch.bfloat16 if fast else torch.float32)
    assert choose_dtype("auto", torch.device("mps")) == torch.float32
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: amx)
    assert choose_dtype("auto", torch.device("cuda")) == (torch.bfloat16 if amx else torch.float32)


def test_names_of_numbers():
    assert choose_dtype(None, CPU) == choose_dtype(torch.float32, CPU) == torch.float32
    assert choose_dtype("torch.float16", CPU) == choose_dtype("fp16", CPU) == torch.float16
    with pytest.raises(ValueError, match="cannot run in int8: use auto, float32"):
        choose_dtype("int8", CPU)


def test_a_model_takes_both(tmp_path):
    folder = tiny.make(tmp_path / "frame", PEAudioFrame)
    model = PEAudioFrame.from_pretrained(folder, device_map="cpu", dtype="bfloat16").load()
    kinds = {name: next(part.parameters()).dtype for name, part in model.named_children()}
    assert kinds.pop("codec") == torch.float32 and set(kinds.values()) == {torch.bfloat16}
