"""Recordings beyond the manifest: the tables name what exists, train-only, and archives open as named."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import zipfile

import numpy as np
import pytest
import soundfile
import tiny

from sam_audio.errors import UserError
from sam_audio.training.data import collect
from sam_audio.training.data.bank import SAMPLE_RATE, Bank, build_shards, split_of
from sam_audio.training.data.collect import TRAIN_ONLY, Listed, by_package, fetch, locate
from sam_audio.training.data.labels import canonical, load_labels
from sam_audio.training.data.more_sounds import _rows, more_sounds


def wav(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, tiny.noise(1, 0.3, seed=seed)[0], SAMPLE_RATE, format="WAV")
    return buffer.getvalue()


# ---- the tables -------------------------------------------------------------------------------------------


def test_every_label_is_canonical_and_stays_what_it_is():
    for r in more_sounds():
        assert r.label in load_labels()
        assert canonical(r.label, r.category, r.package, r.path) == r.label, r.path


def test_nothing_is_named_twice():
    assert len({r.key for r in more_sounds()}) == len(more_sounds()) > 500


def test_every_package_is_pinned_has_a_licence_and_is_used():
    packages = _rows("more_packages.tsv")
    assert all(row["version"] and row["licence"] for row in packages)
    assert {row["source"] for row in packages} <= {"debian", "npm", "pypi"}
    assert {(row["source"], row["package"]) for row in packages} == set(by_package(more_sounds()))


def test_what_is_kept_out_stays_out():
    assert not any("gcompris" in r.package for r in more_sounds())


def test_they_are_never_held_out():
    assert {split_of(r.key) for r in more_sounds()} == {"train"}
    held_out = [r.key.removeprefix(TRAIN_ONLY) for r in more_sounds()]
    assert {split_of(key) for key in held_out} == {"train", "valid", "test"}


# ---- into the bank ----------------------------------------------------------------------------------------


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A cache folder with one Debian package in it."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed")
    monkeypatch.setattr(collect, "cache_dir", lambda: tmp_path / "cache")
    root = tmp_path / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        "Package: barks\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: x\n"
    )
    (root / "plain.wav").write_bytes(wav(0))
    with zipfile.ZipFile(root / "base.wz", "w") as bundle:
        bundle.writestr("audio/inner.wav", wav(1))
    title = b"Dog by nobody\0"
    sounds = [bytes([len(title)]) + title + wav(2), bytes([len(title)]) + title + wav(3)]
    offsets = np.cumsum([8 * len(sounds), *map(len, sounds)])
    table = [struct.pack("<II", offsets[i], len(sounds[i]) - 1 - len(title)) for i in range(len(sounds))]
    table[0] = struct.pack("<II", offsets[0] | 0x80000000, len(sounds[0]) - 1 - len(title))  # the newer kind
    (root / "fx.cat").write_bytes(b"".join(table + sounds))
    folder = tmp_path / "cache" / "downloads" / "debian"
    folder.mkdir(parents=True)
    subprocess.run(["dpkg-deb", "-b", root, folder / "barks_1_all.deb"], check=True, capture_output=True)
    return tmp_path


MEMBERS = ["plain.wav", "_audio/audio/inner.wav", "_audio/fx.cat/00.wav", "_audio/fx.cat/01.wav"]


def test_files_are_found_in_archives_of_an_archive(registry):
    into = registry / "into"
    into.mkdir()
    files = locate("debian", "barks", [*MEMBERS, "_audio/fx.cat/07.wav"], registry, into, "1")
    assert [files[m].read_bytes() for m in MEMBERS] == [wav(i) for i in range(4)]
    assert len(files) == 4


def test_a_package_may_have_both_kinds_of_recordings(registry):
    rows = [Listed("debian", "barks", m, "dog barking", "animal", "CC0", 0.3) for m in MEMBERS[:1]]
    more = [
        Listed("debian", "barks", m, "dog barking", "animal", "CC0", 0.3, "1", train_only=True)
        for m in MEMBERS[1:]
    ]
    for recordings in (rows, more, more):  # the last time there is nothing to do
        build_shards(recordings, registry, registry / "bank", workers=1)
    assert sorted(p.stem for p in (registry / "bank").glob("*.json")) == ["debian-barks", "more-debian-barks"]
    keys = [clip.key for clip in Bank(registry / "bank").clips]
    assert keys[0] == "debian/barks/plain.wav"
    assert all(key.startswith("train-only/debian/barks/_audio/") for key in keys[1:])
    assert len(keys) == 4


# ---- versions ---------------------------------------------------------------------------------------------


@pytest.fixture
def client(tmp_path, monkeypatch):
    """Registries' clients that only have what ``client.has`` says, and what they were asked for."""

    class Client:
        has: set[str] = set()
        asked: list[str] = []

    client = Client()
    client.asked = []

    def run(command, cwd=None, **_):
        client.asked.append(command[-1])
        if command[-1] in client.has:
            version = command[-1].removeprefix("@a/b").removeprefix("@") or "2"  # 2 is the newest
            (cwd / f"a-b-{version}.tgz").write_bytes(b"")
        return subprocess.CompletedProcess(command, 0, "", "gone")

    monkeypatch.setattr(collect, "cache_dir", lambda: tmp_path)
    monkeypatch.setattr(collect.shutil, "which", lambda name: name)
    monkeypatch.setattr(collect.subprocess, "run", run)
    return client


def test_the_pinned_version_is_asked_for_once(client):
    client.has = {"@a/b@1", "@a/b"}
    assert fetch("npm", "@a/b", "1") == fetch("npm", "@a/b", "1")
    assert client.asked == ["@a/b@1"]


def test_a_version_that_is_gone_is_replaced(client):
    client.has = {"@a/b"}
    assert fetch("npm", "@a/b", "1").name == "a-b-2.tgz"
    assert client.asked == ["@a/b@1", "@a/b"]


def test_another_version_in_the_cache_is_not_taken_for_the_pinned_one(client):
    client.has = {"@a/b@1", "@a/b"}
    assert fetch("npm", "@a/b").name == "a-b-2.tgz"
    assert fetch("npm", "@a/b", "1").name == "a-b-1.tgz"
    assert client.asked == ["@a/b", "@a/b@1"]
    assert fetch("npm", "@a/b").name == "a-b-2.tgz"  # and without a version nothing is asked for again
    assert fetch("npm", "@a/b", "1").name == "a-b-1.tgz"
    assert len(client.asked) == 2


@pytest.mark.parametrize("program", [True, False])
def test_a_version_that_is_gone_is_replaced_by_what_is_in_the_cache(client, monkeypatch, program):
    client.has = {"@a/b@1"}
    fetch("npm", "@a/b", "1")
    client.asked.clear()
    if not program:
        monkeypatch.setattr(collect.shutil, "which", lambda name: None)
    assert fetch("npm", "@a/b", "3").name == "a-b-1.tgz"
    assert client.asked == (["@a/b@3"] if program else [])


def test_a_package_whose_name_goes_on_is_another(client, tmp_path):
    client.has = {"@a/b"}
    (tmp_path / "downloads" / "npm").mkdir(parents=True)
    (tmp_path / "downloads" / "npm" / "a-b-extra-1.tgz").write_bytes(b"")
    assert fetch("npm", "@a/b").name == "a-b-2.tgz"


@pytest.mark.parametrize(
    ("source", "version", "name"),
    [
        ("debian", "1:2.3+dfsg-1", "barks_1%3a2.3+dfsg-1_all.deb"),
        ("pypi", "1.0", "barks-1.0-py3-none-any.whl"),
        ("npm", "1.0.0", "barks-1.0.0.tgz"),
    ],
)
def test_archives_are_known_by_their_version(client, tmp_path, source, version, name):
    folder = tmp_path / "downloads" / source
    folder.mkdir(parents=True)
    (folder / name).write_bytes(b"")
    assert fetch(source, "barks", version) == fetch(source, "barks") == folder / name
    assert client.asked == []


def test_what_no_registry_has_is_an_error(client):
    with pytest.raises(UserError, match="@a/b could not be downloaded: gone"):
        fetch("npm", "@a/b", "1")
