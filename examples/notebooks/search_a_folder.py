# %% [markdown]
# # Search a folder
#
# Words, sounds and pictures live in one space: what is near in it belongs together. An index holds the
# vectors of all files of a folder; it is made once, and later only looks at what is new. `sam-audio search
# FOLDER` does the same.

# %%
from pathlib import Path

from sam_audio.conditioning.embedding import load_embedder
from sam_audio.finding.index import SearchIndex

examples = next(path for path in (Path("examples"), Path("..")) if (path / "band.wav").is_file())
embedder = load_embedder("nano")

# %%
index = SearchIndex("notebook-index", examples, "nano", version=embedder.version)
update = index.update(embedder)
print(f"{update.added} files indexed, {update.unchanged} known, {len(update.problems)} unreadable")

# %% [markdown]
# ## By words


# %%
def find(text: str, k: int = 3) -> None:
    (query,) = embedder.embed_text([text])
    print(text)
    for hit in index.search({"audio": query}, k):
        print(f"  {hit.score:6.3f}  {hit.start_s:.1f}-{hit.end_s:.1f} s  {Path(hit.path).name}")


for text in ("a bird singing", "a band playing", "somebody speaking"):
    find(text)

# %% [markdown]
# ## By an example
#
# The vector of a sound asks for others like it; the mean of a sound and a text asks for both.

# %%
sound = embedder.embed_audio_file(examples / "scene.ogg")
for hit in index.search({"audio": sound}, 2):
    print(f"{hit.score:6.3f}  {Path(hit.path).name}")
