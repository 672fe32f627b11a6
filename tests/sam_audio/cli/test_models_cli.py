"""``sam-audio models``: lists, information and downloads, with a stand-in for the hub."""

from __future__ import annotations

import json
import sys
from functools import partial

import official_tiny
import parity
import pytest
import tiny_official

from peav import hub
from peav.official import PEAudioFrame, PEAudioVideo
from sam_audio import models as catalogue
from sam_audio.separator.official.about import DTYPES, about

SMALL = "facebook/sam-audio-small"


@pytest.fixture
def cli(run_command):
    """Runs ``sam-audio models``."""
    return partial(run_command, "sam-audio", "models")


@pytest.fixture
def repositories(fake_hub, tmp_path):
    """A SAM-Audio and a PE-A-Frame on the hub."""
    fake_hub.repositories[SMALL] = tiny_official.write(tmp_path / "small")
    text = tmp_path / "text"
    text.mkdir()
    for file in ("config.json", "model.safetensors", "tokenizer.json"):
        (text / file).write_text(file)
    fake_hub.repositories["no-such-t5"] = text
    frame = official_tiny.make(tmp_path / "frame", PEAudioFrame)
    fake_hub.repositories["facebook/pe-a-frame-small"] = frame
    fake_hub.repositories["someone/finetuned"] = official_tiny.make(tmp_path / "tuned", PEAudioVideo)
    return fake_hub


# ---- list ----------------------------------------------------------------------------------------------


def test_list(cli, fake_hub):
    code, out, err = cli("list")
    assert (code, err) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines()[1:]}
    assert {"nano", *catalogue.PUBLISHED} == set(lines)
    assert "1275.0 M" in lines[SMALL] and "5.1 GB" in lines[SMALL] and "SAM License" in lines[SMALL]
    assert lines[SMALL].endswith("not downloaded")
    assert "Apache-2.0" in lines["facebook/pe-av-large-16-frame"]
    entries = json.loads(cli("list", "--json")[1])
    assert entries == catalogue.models()
    assert {entry["gated"] for entry in entries if "pe-" in entry["name"]} == {False}


def test_list_says_what_is_downloaded(cli, repositories):
    assert cli("download", "pe-a-frame-small")[0] == 0
    lines = cli("list")[1].splitlines()
    assert [line.split()[0] for line in lines if line.endswith("  downloaded")] == [
        "facebook/pe-a-frame-small"
    ]


def test_list_without_the_hub_client(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    code, out, _ = cli("list")
    assert code == 0 and out.count("not downloaded") == len(catalogue.PUBLISHED)


@pytest.mark.parametrize("name", catalogue.PUBLISHED)
def test_parameters_are_those_of_the_published_files(name):
    model = catalogue.PUBLISHED[name]
    short = name.removeprefix("facebook/").removesuffix("-tv").removesuffix("-16-frame")
    kits = [
        path
        for path in (parity.parity_dir() / "keys").glob(f"{short}*.json")
        if "transformers" not in path.name and "tiny" not in path.name
    ]
    assert kits
    assert {json.loads(path.read_text())["n_values"] for path in kits} == {model.parameters}


# ---- info ----------------------------------------------------------------------------------------------


def test_info_of_a_published_model_needs_no_network(cli, fake_hub):
    code, out, err = cli("info", "sam-audio-small")
    assert (code, err, fake_hub.asked) == (0, "", [])
    for part in ("1275.0 M", "checkpoint.pt (5.1 GB", "SAM License", "hf auth login", "t5-base for texts"):
        assert part in out
    (entry,) = json.loads(cli("info", SMALL, "--json")[1])
    memory = entry["memory"]
    assert 2.4e9 < memory["float32"] < 4e9 and memory["bfloat16"] < memory["float32"] - 0.9e9


@pytest.mark.parametrize("name", catalogue.PUBLISHED)
def test_info_knows_every_model(fake_hub, name):
    (entry,) = about(name)
    weights = 4 * entry["parameters"]
    assert set(entry["memory"]) == set(DTYPES)
    # parts that are stored and never used, and the vision tower, are not loaded
    assert 0.3 * weights < entry["memory"]["float32"] < weights + 1e9
    assert entry["revision"] and entry["gated"] == (entry["gate"] is not None)


def test_info_of_nano(cli):
    code, out, _ = cli("info", "nano")
    assert code == 0 and out.count("shipped with the package") == len(catalogue.shipped())


@pytest.mark.parametrize(
    ("kind", "write"),
    [
        ("separator", lambda folder: tiny_official.write(folder)),
        ("encoders", lambda folder: official_tiny.make(folder, PEAudioVideo)),
        ("encoders", lambda folder: official_tiny.make_transformers(folder, PEAudioVideo)),
        ("frame encoder", lambda folder: official_tiny.make(folder, PEAudioFrame)),
    ],
)
def test_info_of_a_folder(cli, tmp_path, kind, write):
    folder = write(tmp_path / "model")
    (entry,) = json.loads(cli("info", folder, "--json")[1])
    weights = next(path for path in folder.iterdir() if path.suffix in (".pt", ".safetensors"))
    assert (entry["kind"], entry["bytes"]) == (kind, weights.stat().st_size)
    assert weights.name in entry["files"]
    # headers add a little
    assert 0.9 < 4 * entry["parameters"] / entry["bytes"] < 1


def test_info_of_what_is_no_model(refused, tmp_path):
    assert "models list" in refused("info", "sam-audio-tiny")
    assert "has no config.json" in refused("info", tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert "describes no SAM-Audio" in refused("info", tmp_path)
    folder = tiny_official.write(tmp_path / "model")
    (folder / "checkpoint.pt").write_bytes(b"half")
    assert "checkpoint.pt is damaged" in refused("info", folder)
    (folder / "config.json").write_text('{"audio_codec": 3}')
    assert "audio_codec is 3" in refused("info", folder)


# ---- download ------------------------------------------------------------------------------------------


def test_download_brings_the_text_encoder_with_a_separator(cli, repositories):
    code, out, err = cli("download", "sam-audio-small")
    folder = repositories.cache / "models--facebook--sam-audio-small" / "snapshots" / "0123abc"
    assert (code, out, err) == (0, f"sam-audio-small is in {folder}\n", "")
    assert {path.name for path in folder.iterdir()} == {"config.json", "checkpoint.pt"}
    assert {file for name, file, _ in repositories.asked if name == "no-such-t5"} >= {"tokenizer.json"}
    assert catalogue.downloaded(catalogue.PUBLISHED[SMALL]) == folder
    (entry,) = about(SMALL)
    assert entry["where"] == str(folder)


def test_download_of_encoders_takes_the_revision_that_is_read(cli, repositories):
    assert cli("download", "pe-a-frame-small")[0] == 0
    assert {revision for *_, revision in repositories.asked} == {"perception_models"}
    repositories.asked.clear()
    assert cli("download", "pe-a-frame-small", "--revision", "main")[0] == 0
    assert {revision for *_, revision in repositories.asked} == {"main"}


def test_download_of_another_model_goes_by_its_config(cli, repositories):
    assert cli("download", "someone/finetuned")[0] == 0
    assert [file for _, file, _ in repositories.asked][-1] == "tokenizer.json"


def test_what_arrived_damaged_is_removed(refused, repositories):
    hub.download(SMALL, "checkpoint.pt")
    (blob,) = (repositories.cache / "models--facebook--sam-audio-small" / "blobs").iterdir()
    blob.write_bytes(blob.read_bytes()[:-1])
    assert "arrived damaged and was removed: download it again" in refused("download", SMALL)
    assert not blob.exists()


def test_what_cannot_be_downloaded(refused, fake_hub, tmp_path):
    from huggingface_hub import errors

    assert "shipped with the package" in refused("download", "nano")
    assert "is here already" in refused("download", tmp_path)
    fake_hub.error = errors.LocalEntryNotFoundError("no")
    assert "could not be reached" in refused("download", SMALL)
    library = sys.modules[errors.HfHubHTTPError.__mro__[1].__module__.split(".")[0]]
    response = library.Response(403, request=library.Request("GET", "https://huggingface.co/x"))
    for kind, says in (
        (errors.GatedRepoError, f"is gated: accept its terms at https://huggingface.co/{SMALL} and log in"),
        (errors.RepositoryNotFoundError, "neither a folder nor a model"),
        (errors.RevisionNotFoundError, "has no revision 'v9'"),
    ):
        fake_hub.error = kind("no", response=response)
        assert says in refused("download", SMALL, "--revision", "v9")


def test_offline(refused, fake_hub, monkeypatch):
    from huggingface_hub import errors

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    fake_hub.error = errors.LocalEntryNotFoundError("no")
    assert "HF_HUB_OFFLINE is set" in refused("download", SMALL)
