"""Models are saved as they can be loaded again, by us and by upstream, and pushed to a hub that is faked here."""

from __future__ import annotations

import base64
import json

import official_tiny as tiny
import pytest
import tiny_judge_official
import tiny_official
import torch

from judge.official import SAMAudioJudgeModel, SAMAudioJudgeProcessor
from peav import PEAudioFrame, PEAudioFrameProcessor, PEAudioVideo
from peav.checkpoints import CheckpointError
from peav.hub import TensorFile
from sam_audio.errors import ModelError
from sam_audio.separator.official.model import SAMAudio

try:
    import httpx2 as httpx  # of newer versions of the hub's client
except ImportError:
    import httpx


def stored(folder) -> dict[str, torch.Tensor]:
    (path,) = [*folder.glob("*.safetensors"), *folder.glob("*.pt")]
    file = TensorFile.open(path)
    return file.read(file.shapes)


@pytest.mark.parametrize("make", [tiny.make, tiny.make_transformers])
@pytest.mark.parametrize("kind", [PEAudioVideo, PEAudioFrame])
def test_what_was_opened_is_saved_as_it_was(tmp_path, kind, make):
    folder = make(tmp_path / "from", kind)
    model = kind.from_pretrained(folder)
    for opened in (False, True):  # with no part built, and with all of them
        if opened:
            model.load()
        files = model.save_pretrained(tmp_path / "to")
        card = [] if opened else ["README.md"]  # one that is there stays
        assert sorted(path.name for path in files) == [*card, "config.json", "model.safetensors"]
        assert len([*(tmp_path / "to").iterdir()]) == 3
        before, after = stored(folder), stored(tmp_path / "to")
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
    assert json.loads((folder / "config.json").read_text()) == json.loads(
        (tmp_path / "to/config.json").read_text()
    )


@pytest.mark.parametrize("kind", [PEAudioVideo, PEAudioFrame])
def test_what_was_changed_is_saved_as_it_is(tmp_path, kind):
    model = kind.from_pretrained(tiny.make_transformers(tmp_path / "from", kind)).load()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(tmp_path / "to")
    again = kind.from_pretrained(tmp_path / "to").load()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, atol=1e-6, rtol=0, msg=name)


@pytest.mark.parametrize("kind", [PEAudioVideo, PEAudioFrame])
def test_random_weights_are_saved_in_the_published_form(tmp_path, kind):
    model = kind(kind.read_config(tiny.CONFIGS[kind][0]))
    model.save_pretrained(tmp_path)
    again = kind.from_pretrained(tmp_path)
    assert again.config == model.config
    state = again.load().state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


def test_a_processor(tmp_path):
    folder = tiny.make(tmp_path / "from", PEAudioFrame)
    processor = PEAudioFrameProcessor.from_pretrained(folder)
    PEAudioFrame.from_pretrained(folder).save_pretrained(tmp_path / "to")
    processor.save_pretrained(tmp_path / "to")
    again = PEAudioFrameProcessor.from_pretrained(tmp_path / "to")
    texts = ["a dog", "loud rain barking"]
    assert torch.equal(again(texts)["input_ids"], processor(texts)["input_ids"])
    assert again.config == processor.config


def test_the_judge(tmp_path):
    folder = tiny_judge_official.write(tmp_path / "from", tiny_judge_official.random_tensors())
    model = SAMAudioJudgeModel.from_pretrained(folder)
    model.save_pretrained(tmp_path / "to")
    SAMAudioJudgeProcessor.from_pretrained(folder).save_pretrained(tmp_path / "to")
    before, after = stored(folder), stored(tmp_path / "to")
    assert before.keys() == after.keys()  # weight norm and all
    again = SAMAudioJudgeModel.from_pretrained(tmp_path / "to")
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, atol=1e-6, rtol=1e-6, msg=name)
    fresh = SAMAudioJudgeModel(model.config)
    fresh.save_pretrained(tmp_path / "fresh")
    assert SAMAudioJudgeModel.from_pretrained(tmp_path / "fresh").config == model.config


def test_sam_audio(tmp_path):
    folder = tiny_official.write(tmp_path / "from")
    model = SAMAudio.from_pretrained(folder, cache=False, text_ranker={"kind": "judge"})
    model.save_pretrained(tmp_path / "to")
    before, after = stored(folder), stored(tmp_path / "to")
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        if not name.startswith("audio_codec."):  # there the magnitudes are put on the directions
            assert torch.equal(after[name], tensor), name
    again = SAMAudio.from_pretrained(tmp_path / "to", cache=False)
    assert again.config == model.config and again.config.text_ranker == {"kind": "judge"}
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, atol=1e-6, rtol=1e-6, msg=name)


def test_a_folder_that_cannot_be_written(tmp_path):
    folder = tiny_official.write(tmp_path / "from")
    before = sorted(folder.iterdir())
    with pytest.raises(ModelError, match="checkpoint.pt would be read in place of what is saved"):
        SAMAudio.from_pretrained(folder, cache=False).save_pretrained(folder)
    assert sorted(folder.iterdir()) == before
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="cannot be written"):
        SAMAudio.from_pretrained(folder, cache=False).save_pretrained(tmp_path / "file" / "to")


class Hub:
    """Answers as the hub does where a model is pushed; keeps what was committed."""

    def __init__(self, there: tuple[str, ...] = ()) -> None:
        self.there = there
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.token: str | None = None

    def __call__(self, request):
        path = request.url.path
        self.asked.append(f"{request.method} {path}")
        self.token = request.headers.get("authorization")
        if path == "/api/repos/create":
            given = json.loads(request.content)
            name = f"{given.get('organization', 'me')}/{given['name']}"
            return httpx.Response(200, json={"url": f"https://huggingface.co/{name}", "name": name})
        if path == "/api/validate-yaml":  # of the card's metadata
            return httpx.Response(200, json={"errors": [], "warnings": []})
        if "/branch/" in path:
            return httpx.Response(200, json={})
        if "/preupload/" in path:
            asked = json.loads(request.content)["files"]
            how = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            return httpx.Response(200, json={"files": [{"path": f["path"], **how} for f in asked]})
        if "/commit/" in path:
            lines = [json.loads(line) for line in request.content.splitlines()]
            for line in lines:
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = "https://huggingface.co/me/tuned/commit/abc"
            return httpx.Response(200, json={"commitUrl": url, "commitOid": "abc", "success": True})
        if request.method == "HEAD":
            found = path.rsplit("/", 1)[1] in self.there
            headers = {"X-Repo-Commit": "abc", "ETag": '"x"', "Content-Length": "1"} if found else {
                "X-Error-Code": "EntryNotFound"
            }  # fmt: skip
            return httpx.Response(200 if found else 404, headers=headers)
        return httpx.Response(404, json={"error": f"no answer to {path}"})


@pytest.fixture
def connected(monkeypatch):
    """Connects the hub's client to a function in place of the network."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    if not hasattr(huggingface_hub, "set_client_factory"):
        pytest.skip("this huggingface_hub cannot be connected to another transport")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)

    from huggingface_hub.utils._http import default_client_factory as default

    def connect(answer):
        huggingface_hub.set_client_factory(
            lambda: httpx.Client(transport=httpx.MockTransport(answer), follow_redirects=True)
        )
        huggingface_hub.close_session()
        return answer

    yield connect
    huggingface_hub.set_client_factory(default)
    huggingface_hub.close_session()


def test_pushing(tmp_path, connected):
    folder = tiny.make(tmp_path / "from", PEAudioFrame)
    hub = connected(Hub())
    model = PEAudioFrame.from_pretrained(folder)
    url = model.push_to_hub("me/tuned", token="hf_secret", private=True, commit_message="First")
    assert url == "https://huggingface.co/me/tuned/commit/abc"
    assert hub.token == "Bearer hf_secret"
    assert set(hub.files) == {"README.md", "config.json", "model.safetensors"}
    PEAudioFrameProcessor.from_pretrained(folder).push_to_hub("me/tuned", token="hf_secret", revision="v2")
    assert "POST /api/models/me/tuned/branch/v2" in hub.asked
    pushed = tmp_path / "pushed"
    pushed.mkdir()
    for name, content in hub.files.items():
        (pushed / name).write_bytes(content)
    again = PEAudioFrame.from_pretrained(pushed)
    assert again.config == model.config and PEAudioFrameProcessor.from_pretrained(pushed)
    from huggingface_hub import ModelCard

    card = ModelCard(hub.files["README.md"].decode())
    assert card.data.pipeline_tag == "feature-extraction" and card.data.license == "apache-2.0"
    assert "sound-event-detection" in card.data.tags


def test_a_card_that_is_there_stays(tmp_path, connected):
    hub = connected(Hub(there=("README.md",)))
    model = PEAudioFrame.from_pretrained(tiny.make(tmp_path / "from", PEAudioFrame))
    model.push_to_hub("me/tuned", token="hf_secret")
    assert set(hub.files) == {"config.json", "model.safetensors"}


def test_a_hub_that_refuses(tmp_path, connected):
    connected(lambda request: httpx.Response(401, json={"error": "who are you?"}))
    folder = tiny.make(tmp_path / "from", PEAudioFrame)
    with pytest.raises(CheckpointError, match="me/tuned could not be pushed: ") as error:
        PEAudioFrame.from_pretrained(folder).push_to_hub("me/tuned", token="hf_secret")
    assert "\n" not in str(error.value)
    (tmp_path / "sam").mkdir()
    with pytest.raises(ModelError, match="could not be pushed"):
        SAMAudio.from_pretrained(tiny_official.write(tmp_path / "sam"), cache=False).push_to_hub(
            "me/tuned", token="x"
        )
