# %% [markdown]
# # Ten minutes with nano
#
# Pull sounds out of a recording by asking for them. The small model comes with the package: nothing is
# downloaded. Run the cells in an editor that knows `# %%` (VS Code, Spyder, PyCharm, Jupyter with
# jupytext), or the file as a script.

# %%
from pathlib import Path

from sam_audio import Prompt, Separator

examples = next(path for path in (Path("examples"), Path("..")) if (path / "band.wav").is_file())
separator = Separator("nano")  # loaded once, used as often as you like

# %% [markdown]
# ## A band
#
# One call, one stem for each thing that is asked for, and the rest. In a notebook the result shows itself:
# players, waveforms, and what the Judge makes of each stem.

# %%
band = separator.separate(examples / "band.wav", ["guitar", "drums", "bass"])
band

# %%
for name, stem in band.stems.items():
    report = band.report.stem(name)
    print(f"{name:8} {stem.samples.shape} overall {report.scores.overall:.1f} there: {report.in_mixture}")

# %% [markdown]
# Stems and residual sum to the mixture, sample for sample, at its own rate and channel count.

# %%
total = sum(stem.samples for stem in band.stems.values()) + band.residual.samples
print("channels, samples:", total.shape, "at", band.sample_rate, "Hz")

# %% [markdown]
# ## What is not there
#
# The report says so, instead of leaving you with a file of almost nothing.

# %%
wrong = separator.separate(examples / "band.wav", ["dog barking"])
print("not in the mixture:", wrong.report.absent)

# %% [markdown]
# ## When, not only what
#
# A stretch of time beside the words tells which of several sounds is meant; `separate --help-all` lists all
# kinds of clues.

# %%
birds = separator.separate(examples / "scene.ogg", [Prompt("bird singing", spans=["0-2.5"])])
birds

# %% [markdown]
# ## How boldly to cut
#
# A low strength keeps what is doubtful (recall), a high one leaves more out (precision).

# %%
for strength in (0.7, 1.0, 1.4):
    speech = separator.separate(examples / "speech.ogg", ["person speaking"], strength=strength)
    scores = speech.report.stems[0].scores
    print(f"strength {strength}: recall {scores.recall:.2f}, precision {scores.precision:.2f}")

# %% [markdown]
# ## Keep them

# %%
for path in band.save("notebook-stems", overwrite=True):
    print(path)
