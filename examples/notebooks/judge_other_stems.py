# %% [markdown]
# # Judge another system's stems
#
# The Judge hears a mixture, a stem and what was asked for, and says how good the stem is: no true sources
# are needed, and it does not matter what made the stem. `sam-audio judge MIXTURE STEM... --prompt TEXT`
# does the same.

# %%
from pathlib import Path

import numpy as np
import soundfile

from judge.types import AXES
from sam_audio import Separator
from sam_audio.selection.judging import Pair, judge_files, load_judge

examples = next(path for path in (Path("examples"), Path("..")) if (path / "band.wav").is_file())
stems = Path("other-stems")
stems.mkdir(exist_ok=True)

# %% [markdown]
# ## Stems of two systems
#
# Put yours into the folder instead. Here: a crude filter that takes all below 200 Hz for the bass, nano,
# and the mixture itself, as who does nothing.

# %%
mixture, rate = soundfile.read(examples / "band.wav", dtype="float32")
spectrum = np.fft.rfft(mixture, axis=0)
spectrum[np.fft.rfftfreq(len(mixture), 1 / rate) > 200] = 0
soundfile.write(stems / "filter.wav", np.fft.irfft(spectrum, len(mixture), axis=0), rate, subtype="FLOAT")

nano = Separator("nano").separate(mixture.T, ["bass"], sample_rate=rate)
soundfile.write(stems / "nano.wav", nano.stems["bass"].samples.T, rate, subtype="FLOAT")
soundfile.write(stems / "nothing done.wav", mixture, rate, subtype="FLOAT")

# %% [markdown]
# ## Scores from 1 to 5
#
# How good altogether; how much of what was asked for is there (recall); how little else (precision); how
# much it sounds as it did in the mixture (faithfulness). "facebook/sam-audio-judge" in place of "nano"
# loads the published Judge.

# %%
judge = load_judge("nano")
print(f"{'stem':14}", *(f"{axis:>12}" for axis in AXES))
for path in sorted(stems.glob("*.wav")):
    judged = judge_files(judge, Pair(examples / "band.wav", path, "bass"))
    print(f"{path.stem:14}", *(f"{getattr(judged, axis):12.2f}" for axis in AXES))
