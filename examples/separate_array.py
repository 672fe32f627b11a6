"""Separates an array: what a program that already holds samples would do."""

from pathlib import Path

import soundfile

from sam_audio import Separator

samples, sample_rate = soundfile.read(Path(__file__).with_name("band.wav"), dtype="float32")

separator = Separator("nano")  # loaded once, used as often as you like
result = separator.separate(samples.T, ["guitar", "drums"], sample_rate=sample_rate)  # (channels, samples)

for name, stem in [*result.stems.items(), ("residual", result.residual)]:
    print(f"{name:10} {stem.samples.shape} peak {abs(stem.samples).max():.3f}")
total = sum(stem.samples for stem in result.stems.values()) + result.residual.samples
print(f"stems + residual - mixture: {abs(total - samples.T).max():.1e} at most")
