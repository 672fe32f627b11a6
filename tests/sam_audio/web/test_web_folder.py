"""The folder of the page, and the server of it."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import urllib.request

import pytest
from safetensors.numpy import load_file

from peav.nano import sound
from sam_audio.errors import UserError
from sam_audio.web import folder, runtime
from sam_audio.web.serving import opened


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    made = tmp_path_factory.mktemp("web") / "new" / "page"
    folder.write(made)
    return made


def test_the_runtime_is_the_one_that_npm_has():
    for name, digest in runtime.FILES.items():
        assert hashlib.sha256(runtime.content(name)).hexdigest() == digest
    with pytest.raises(ValueError, match=f"not onnxruntime-web {runtime.VERSION}"):
        runtime.bundle(b"another")


def test_all_that_is_fetched_is_there(page):
    manifest = json.loads((page / folder.MANIFEST).read_text())
    for name, size in manifest["bytes"].items():
        assert (page / name).stat().st_size == size
    for graph in manifest["graphs"].values():
        assert {graph["graph"], *(file for file, _ in graph["weights"].values())} <= manifest["bytes"].keys()
    for script in page.glob("*.js"):
        for imported in re.findall(r'from "\./([\w./-]+)"', script.read_text()):
            assert (page / imported).is_file()
    arrays = load_file(page / manifest["arrays"])
    assert (arrays["mel_filters"] == sound.mel_filters()).all()
    assert sum(path.stat().st_size for path in page.rglob("*") if path.is_file()) < 40e6


def test_everybody_may_read_it(page):
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in page.rglob("*"))


def test_nothing_is_overwritten(page, run_command):
    done = run_command("sam-audio", "web", "--write", page)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: {page} is there already: name a folder that is not\n"
    assert not list(page.parent.glob(".*"))


def test_the_server_lets_the_page_have_threads():
    with opened(0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://localhost:{server.server_port}"
        kinds = {}
        for name in ("", "page.js", "runtime/ort.wasm.min.mjs"):
            with urllib.request.urlopen(f"{url}/{name}") as answer:
                kinds[name] = answer.headers.get_content_type()
                assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
                assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        server.shutdown()
        thread.join()
    assert kinds == {
        "": "text/html",
        "page.js": "text/javascript",
        "runtime/ort.wasm.min.mjs": "text/javascript",
    }


def test_a_port_that_is_taken():
    with (
        opened(0) as server,
        pytest.raises(UserError, match=f"port {server.server_port} is in use"),
        opened(server.server_port),
    ):
        pass
