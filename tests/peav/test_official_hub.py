"""Finding and reading published models: folders, the hub, and files that are not what they should be."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import official_tiny as tiny
import pytest
import torch
from safetensors.torch import load_file, save_file

from peav import hub
from peav.checkpoints import CheckpointError
from peav.hub import TensorFile
from peav.official import PEAudioFrame, PEAudioFrameProcessor, PEAudioVideo


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("whole"), PEAudioFrame)


@pytest.fixture
def folder(whole, tmp_path):
    """A copy of the model, to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


def refused(path, match, kind=PEAudioFrame):
    with pytest.raises(CheckpointError, match=match) as caught:
        kind.from_pretrained(path)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


# ---- folders -------------------------------------------------------------------------------------------


def rewrite(folder, change):
    path = folder / "model.safetensors"
    stored = load_file(path)
    change(stored)
    save_file(stored, path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.pop("logit_scale"), "does not fit its config: logit_scale is missing"),
        (lambda t: t.update(extra=torch.zeros(1)), "extra should not be there"),
        (
            lambda t: t.update({"text_head.proj.weight": torch.zeros(3, 24)}),
            r"text_head.proj.weight has shape \(3, 24\) instead of \(24, 24\)",
        ),
        (lambda t: t.clear() or t.update(x=torch.zeros(1)), r"is missing, .* is missing, .* and \d+ more"),
        (lambda t: t.pop("text_model.layers.3.attn.Wo.weight"), "layers.3.attn.Wo.weight is missing"),
    ],
)
def test_other_tensors_than_expected(folder, change, match):
    rewrite(folder, change)
    refused(folder, match)


def test_a_truncated_file(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    refused(folder, "is damaged: fetch the model again")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_garbage(folder, name):
    (folder / name).write_bytes(b"\x00not at all")
    refused(folder, "is damaged|not a readable JSON")


@pytest.mark.parametrize(
    ("name", "match"), [("config.json", "has no config.json"), ("model.safetensors", "model.safetensors or")]
)
def test_a_missing_file(folder, name, match):
    (folder / name).unlink()
    refused(folder, match)


def test_a_model_of_another_kind(folder):
    refused(folder, "this is a model of another kind", PEAudioVideo)


def test_a_file_that_changes_after_it_was_opened(folder):
    model = PEAudioFrame.from_pretrained(folder)
    rewrite(folder, lambda t: t.update(logit_scale=torch.zeros(2)))
    with pytest.raises(CheckpointError, match="has changed since it was opened"):
        model.load("logit")
    rewrite(folder, lambda t: t.pop("logit_scale"))
    with pytest.raises(CheckpointError, match="is damaged"):
        model.load("logit")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        model.load("text")


def test_a_damaged_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="not a readable tokenizer"):
        PEAudioFrameProcessor.from_pretrained(folder)


def as_pickle(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "checkpoint.pt")
    (folder / "model.safetensors").unlink()


def as_shards(folder):
    stored = list(load_file(folder / "model.safetensors").items())
    parts = {"model-1.safetensors": dict(stored[::2]), "model-2.safetensors": dict(stored[1::2])}
    for name, tensors in parts.items():
        save_file(tensors, folder / name)
    names = {tensor: name for name, tensors in parts.items() for tensor in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize("change", [as_pickle, as_shards])
def test_other_forms_of_files_give_the_same(whole, folder, change):
    expected = PEAudioFrame.from_pretrained(whole).state_dict()
    change(folder)
    found = PEAudioFrame.from_pretrained(folder).state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


class _Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code from a file ran')",))


@pytest.mark.parametrize("content", [_Bomb(), {"logit_scale": _Bomb()}, {"logit_scale": 3}, [1, 2]])
def test_no_code_runs_from_a_file(folder, content):
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "checkpoint.pt")
    refused(folder, "more than tensors|does not hold tensors by name")
    (folder / "checkpoint.pt").write_bytes(pickle.dumps(content))
    refused(folder, "damaged")


def test_tensors_are_mapped_not_read(whole):
    file = TensorFile.open(whole / "model.safetensors")
    name = "text_head.proj.weight"
    assert file.shapes[name] == (24, 24)
    assert list(file.read([name])) == [name]


def test_weights_stored_as_halves_are_float32_in_memory(folder):
    path = folder / "model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(path).items()}, path)
    assert {p.dtype for p in PEAudioFrame.from_pretrained(folder).load().parameters()} == {torch.float32}


# ---- the hub, with a stand-in for it -------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache and no network."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def unreachable(repository, file, revision=None):
        raise AssertionError("the network was asked")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", unreachable)
    return tmp_path / "hub"


def answer(monkeypatch, error):
    def download(repository, file, revision=None, **options):
        raise error

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)


def http(kind):
    import huggingface_hub.errors as errors

    library = sys.modules[errors.HfHubHTTPError.__mro__[1].__module__.split(".")[0]]
    response = library.Response(403, request=library.Request("GET", "https://huggingface.co/x"))
    return getattr(errors, kind)("no", response=response)


def fill(cache, files, revision="perception_models"):
    """Puts files into the cache as a download would."""
    repository = cache / "models--facebook--pe-a-frame-small"
    snapshot = repository / "snapshots" / "0123abc"
    shutil.copytree(files, snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / revision).write_text("0123abc")


@pytest.mark.parametrize("name", ["facebook/pe-a-frame-small", "pe-a-frame-small"])
def test_what_is_cached_needs_no_network(cache, whole, name):
    fill(cache, whole)
    model = PEAudioFrame.from_pretrained(name)
    assert model.config == PEAudioFrame.from_pretrained(whole).config
    assert PEAudioFrameProcessor.from_pretrained(name)(["dog"])["input_ids"].shape == (1, 3)


def test_revisions_are_kept_apart(cache, whole):
    fill(cache, whole, "main")
    PEAudioFrame.from_pretrained("pe-a-frame-small", revision="main")
    refused("pe-a-frame-small", "could not be fetched: the network was asked")


def test_a_missing_file_is_downloaded_by_its_names_in_turn(cache, whole, monkeypatch):
    import huggingface_hub.errors as errors

    asked = []

    def download(repository, file, revision=None, **options):
        asked.append((repository, file, revision))
        if file == "model.safetensors":
            raise errors.EntryNotFoundError("none")
        return str(whole / "model.safetensors")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert hub.find("pe-av-base", ("model.safetensors", "checkpoint.pt"), "r") == whole / "model.safetensors"
    assert asked == [("facebook/pe-av-base", f, "r") for f in ("model.safetensors", "checkpoint.pt")]


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        ("GatedRepoError", "is gated: accept its terms at https://huggingface.co/a/b and log in with"),
        ("RepositoryNotFoundError", "neither a folder nor a model on the Hugging Face hub called a/b"),
        ("RevisionNotFoundError", "facebook/x has no revision 'perception_models'"),
        ("HfHubHTTPError", "could not be fetched: no"),
    ],
)
def test_what_the_hub_answers(cache, monkeypatch, kind, match):
    answer(monkeypatch, http(kind))
    refused("facebook/x" if kind == "RevisionNotFoundError" else "a/b", match)


def test_the_hub_cannot_be_reached(cache, monkeypatch):
    import huggingface_hub.errors as errors

    answer(monkeypatch, errors.LocalEntryNotFoundError("no"))
    refused("a/b", "could not be reached: connect to the internet, or name a folder")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused("a/b", "has not been downloaded yet, and HF_HUB_OFFLINE is set: unset it")
    answer(monkeypatch, Exception("no route\nto host"))  # whatever its network library raises
    refused("a/b", "could not be fetched: no route.")


def test_a_repository_without_weights(cache, monkeypatch):
    import huggingface_hub.errors as errors

    answer(monkeypatch, errors.EntryNotFoundError("no"))
    refused("a/b", "has no config.json: it is not a model of this kind")


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "a/b/c", "", "a b"])
def test_names_that_can_be_neither(cache, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name:
        refused(name, "is not a folder: name a model's folder, or a model on the hub")


def test_a_file_in_place_of_a_folder(whole):
    refused(whole / "config.json", "is not a folder")


def test_without_the_hub_client(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    refused("a/b", r'pip install "separate-by-prompt\[official\]"')


def test_really_offline(tmp_path):
    code = (
        "from peav.official import PEAudioVideo\n"
        "from peav.checkpoints import CheckpointError\n"
        "try: PEAudioVideo.from_pretrained('pe-av-small')\n"
        "except CheckpointError as e: print(e)"
    )
    env = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.strip() == (
        "facebook/pe-av-small (revision perception_models) has not been downloaded yet, and HF_HUB_OFFLINE is set: "
        "unset it, or name a folder with the model's files."
    )


def test_opening_a_folder_brings_in_no_heavy_library(whole):
    heavy = ["transformers", "timm", "huggingface_hub", "sympy", "torch._dynamo", "torchvision"]
    code = (
        "import sys\nfrom peav.official import PEAudioFrame, PEAudioFrameProcessor\n"
        f"m = PEAudioFrame.from_pretrained({str(whole)!r})\n"
        f"m.encode_text(PEAudioFrameProcessor.from_pretrained({str(whole)!r})(['dog'])['input_ids'])\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["", ".", "..", "../x.safetensors", "/x.safetensors", "x.pt", 3, None])
def test_an_index_lists_plain_names_only(tmp_path, name):
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 10**30}, "weight_map": {"a": name}}))
    with pytest.raises(CheckpointError, match="none of a model's"):
        TensorFile.open(path)


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, "{", '{"weight_map": 3}'])
def test_an_index_that_is_no_json(tmp_path, text):
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(text)
    with pytest.raises(CheckpointError, match="fetch the model again"):
        TensorFile.open(path)


class _Asking:
    """Pickles as a call."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("asked", [_Asking(bytearray, 8 * 10**9), _Asking(os.getpid)])
def test_a_pickle_that_calls_anything_is_not_opened(tmp_path, asked):
    torch.save({"a": torch.zeros(3), "b": asked}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="could run code"):
        TensorFile.open(tmp_path / "a.pt")


def test_a_pt_that_is_damaged_anywhere_is_one_sentence(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"a": torch.zeros(3), "b": torch.ones(2, 2).half()}, path)
    data = path.read_bytes()
    for place in range(0, len(data), 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            TensorFile.open(path).read(["a"])
        except (CheckpointError, KeyError) as error:
            assert isinstance(error, CheckpointError) or error.args == ("a",)  # a byte of the name


def test_the_hubs_own_options(cache, whole, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    fill(elsewhere, whole)
    PEAudioFrame.from_pretrained("pe-a-frame-small", cache_dir=elsewhere, local_files_only=True)
    asked = []

    def download(repository, file, **options):
        asked.append(options)
        return str(whole / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    PEAudioFrameProcessor.from_pretrained("a/b", token="secret", local_files_only=False)
    PEAudioFrameProcessor.from_pretrained("pe-a-frame-large", token="secret")
    # the publisher's special revision, but another's main branch
    assert asked[0] == {"revision": None, "token": "secret", "local_files_only": False}
    assert asked[-1] == {"revision": "perception_models", "token": "secret"}
    import huggingface_hub.errors as errors

    answer(monkeypatch, errors.LocalEntryNotFoundError("no"))
    with pytest.raises(CheckpointError, match="local_files_only is set: unset it"):
        PEAudioFrame.from_pretrained("a/b", local_files_only=True)
