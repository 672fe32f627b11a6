"""What stands between an instrument and the record: amplifiers, loudspeakers, pedals, rooms, all drawn at random.

    wet = through("metal guitar", dry, sample_rate, rng)

Loudspeakers are synthetic: a random smooth response with the fall of a guitar or bass cabinet, made minimum-phase.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import soxr
from scipy.signal import butter, oaconvolve, sosfilt

DRY_PEAK = 0.5
CABINET_TAPS = 2048
OVERSAMPLING = 2  # distortion makes harmonics above what the sample rate can hold

Chain = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


def through(family: str, samples: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """A dry part (n,) of an instrument family of `music_tables` as it sounds on a record; float32 (n,)."""
    peak = float(np.abs(samples).max(initial=0.0))
    if peak <= 0:
        return samples
    dry = (samples * (DRY_PEAK / peak)).astype(np.float32)
    wet = _CHAINS.get(family, _plain)(dry, sample_rate, rng)
    return np.nan_to_num(wet).astype(np.float32)


def cabinet(
    sample_rate: int, rng: np.random.Generator, low_hz: float, high_hz: float, rough_db: float
) -> np.ndarray:
    """A loudspeaker before a microphone: impulse response (CABINET_TAPS,), unit energy.

    Args:
        low_hz: where its bass falls off, 12 dB an octave.
        high_hz: where its treble falls off, 24 to 48 dB an octave.
        rough_db: how far the response wanders in between.
    """
    frequency = np.fft.rfftfreq(CABINET_TAPS, 1 / sample_rate)
    octave = np.log2(np.maximum(frequency, 20) / 20)
    knots = np.linspace(0, octave[-1], 14)
    level_db = np.interp(octave, knots, rng.normal(0, rough_db, len(knots)))
    level_db += rng.uniform(0, 6) * np.exp(-((octave - np.log2(rng.uniform(1800, 3500) / 20)) ** 2) / 0.3)
    level_db -= 12 * np.maximum(np.log2(low_hz / np.maximum(frequency, 10)), 0)
    level_db -= rng.uniform(24, 48) * np.maximum(np.log2(np.maximum(frequency, 10) / high_hz), 0)
    response = _minimum_phase(np.maximum(level_db, -90.0))
    if rng.random() < 0.5:  # a second microphone, further away
        delay = int(rng.uniform(0.0002, 0.002) * sample_rate)
        response[delay:] += rng.uniform(-0.5, 0.5) * response[: len(response) - delay]
    return response / np.sqrt(np.square(response).sum())


def room(samples: np.ndarray, sample_rate: int, rng: np.random.Generator, wet: float) -> np.ndarray:
    """Adds a diffuse room: noise that decays, its treble faster; ``wet`` is the tail's energy against the direct."""
    rt60 = rng.uniform(0.2, 1.4)
    n = int(rt60 * sample_rate)
    times = np.arange(n) / sample_rate
    noise = rng.standard_normal(n)
    dull = sosfilt(butter(1, rng.uniform(1500, 5000), fs=sample_rate, output="sos"), noise)
    tail = dull * np.exp(-6.9 * times / rt60) + 0.4 * noise * np.exp(-6.9 * times / (0.4 * rt60))
    tail *= np.sqrt(wet / np.square(tail).sum())
    gap = int(rng.uniform(0.002, 0.025) * sample_rate)
    response = np.concatenate([[1.0], np.zeros(gap), tail]).astype(np.float32)
    return oaconvolve(samples, response)[: len(samples)]


def _minimum_phase(level_db: np.ndarray) -> np.ndarray:
    """From a magnitude in dB (n / 2 + 1,) by the real cepstrum; (n,)."""
    cepstrum = np.fft.irfft(level_db * (np.log(10) / 20))
    n = len(cepstrum)
    cepstrum[1 : n // 2] *= 2
    cepstrum[n // 2 + 1 :] = 0
    return np.fft.irfft(np.exp(np.fft.rfft(cepstrum)))


def _guitar(drive_db: tuple[float, float]) -> Chain:
    def chain(samples: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
        samples = _filtered(samples, sample_rate, "highpass", rng.uniform(70, 180))
        samples = _peaks(samples, sample_rate, [(rng.uniform(500, 1100), rng.uniform(0, 10))])
        samples = _overdriven(samples, rng.uniform(*drive_db), rng)
        samples = _peaks(  # the tone stack: mids scooped or raised
            samples,
            sample_rate,
            [(rng.uniform(90, 200), rng.uniform(-3, 5)), (rng.uniform(350, 900), rng.uniform(-9, 4))],
        )
        response = cabinet(sample_rate, rng, rng.uniform(70, 120), rng.uniform(3800, 6500), 2.5)
        samples = oaconvolve(samples, response)[: len(samples)]
        if rng.random() < 0.2:
            samples = _pedals(samples, sample_rate, _modulation(rng))
        if rng.random() < 0.25:
            samples = _pedals(samples, sample_rate, [_delay(rng)])
        return _finished(samples, sample_rate, rng, wet_often=0.45)

    return chain


def _clean_guitar(samples: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.4:
        samples = _overdriven(samples, rng.uniform(-6, 12), rng)
    if rng.random() < 0.7:
        response = cabinet(sample_rate, rng, rng.uniform(60, 110), rng.uniform(4500, 9000), 2.0)
        samples = oaconvolve(samples, response)[: len(samples)]
    if rng.random() < 0.3:
        samples = _pedals(samples, sample_rate, _modulation(rng))
    if rng.random() < 0.12:
        times = np.arange(len(samples)) / sample_rate
        depth, rate_hz = rng.uniform(0.2, 0.6), rng.uniform(3, 8)
        samples = samples * (1 - depth * (0.5 + 0.5 * np.sin(2 * np.pi * rate_hz * times)))
    if rng.random() < 0.25:
        samples = _pedals(samples, sample_rate, [_delay(rng)])
    return _finished(samples, sample_rate, rng, wet_often=0.55)


def _bass(samples: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.35:  # an overdriven amplifier beside the clean signal, as rock basses are recorded
        driven = _filtered(_overdriven(samples, rng.uniform(6, 26), rng), sample_rate, "highpass", 150)
        samples = samples + rng.uniform(0.1, 0.7) * driven
    if rng.random() < 0.6:
        response = cabinet(sample_rate, rng, rng.uniform(35, 60), rng.uniform(2000, 6000), 2.0)
        samples = oaconvolve(samples, response)[: len(samples)]
    samples = _pedals(samples, sample_rate, [_compressor(rng, -22, (3, 8))])
    return _finished(samples, sample_rate, rng, wet_often=0.1)


def _drums(samples: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.75:
        samples = room(samples, sample_rate, rng, rng.uniform(0.03, 0.6))
    if rng.random() < 0.5:
        samples = _pedals(samples, sample_rate, [_compressor(rng, -20, (2, 8))])
    if rng.random() < 0.1:
        samples = _overdriven(samples, rng.uniform(0, 8), rng)
    return _tilted(samples, sample_rate, rng)


def _plain(samples: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.25:
        samples = _pedals(samples, sample_rate, [_compressor(rng, -22, (2, 4))])
    return _finished(samples, sample_rate, rng, wet_often=0.5)


def _electric_keys(samples: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.3:
        samples = _overdriven(samples, rng.uniform(-6, 10), rng)
    if rng.random() < 0.35:
        samples = _pedals(samples, sample_rate, _modulation(rng))
    return _plain(samples, sample_rate, rng)


def _voice(samples: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    samples = _filtered(samples, sample_rate, "highpass", rng.uniform(60, 140))
    samples = _pedals(samples, sample_rate, [_compressor(rng, -26, (3, 8))])
    if rng.random() < 0.3:  # sung twice: a second take is late and out of tune by a little
        cents = rng.choice([-1, 1]) * rng.uniform(4, 14)
        late = int(rng.uniform(0.012, 0.035) * sample_rate)
        copy = soxr.resample(samples, sample_rate, sample_rate * 2 ** (cents / 1200), "LQ")
        second = np.zeros_like(samples)
        length = min(len(copy), len(samples) - late)
        second[late : late + length] = copy[:length]
        samples = samples + rng.uniform(0.4, 0.9) * second
    if rng.random() < 0.35:
        samples = _pedals(samples, sample_rate, [_delay(rng)])
    return _finished(samples, sample_rate, rng, wet_often=0.75)


_CHAINS: dict[str, Chain] = {
    "clean guitar": _clean_guitar,
    "drive guitar": _guitar((10, 30)),
    "metal guitar": _guitar((26, 50)),
    "lead guitar": _guitar((18, 42)),
    "bass": _bass,
    "drums": _drums,
    "electric keys": _electric_keys,
    "organ": _electric_keys,
    "voice": _voice,
}


def _overdriven(samples: np.ndarray, drive_db: float, rng: np.random.Generator) -> np.ndarray:
    """Tubes, transistors or diodes: soft, asymmetric, hard, or two stages."""
    x = soxr.resample(samples, 1, OVERSAMPLING, "MQ") * 10 ** (drive_db / 20)
    kind = rng.choice(["soft", "asymmetric", "hard", "two stages"], p=[0.35, 0.25, 0.15, 0.25])
    if kind == "asymmetric":
        bias = rng.uniform(0.1, 0.5)
        x = np.tanh(x + bias) - np.tanh(bias)
    elif kind == "hard":
        x = np.clip(x, -1, 1)
    elif kind == "two stages":
        x = np.tanh(x * 0.3)
        x = np.tanh((x - x.mean()) * rng.uniform(2, 6))
    else:
        x = np.tanh(x)
    y = soxr.resample(x, OVERSAMPLING, 1, "MQ")[: len(samples)]
    return np.pad(y, (0, len(samples) - len(y))) * DRY_PEAK


def _finished(
    samples: np.ndarray, sample_rate: int, rng: np.random.Generator, wet_often: float
) -> np.ndarray:
    samples = _tilted(samples, sample_rate, rng)
    return room(samples, sample_rate, rng, rng.uniform(0.02, 0.4)) if rng.random() < wet_often else samples


def _tilted(samples: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    from pedalboard import HighShelfFilter, LowShelfFilter

    low = LowShelfFilter(rng.uniform(120, 350), rng.uniform(-5, 4), 0.7)
    high = HighShelfFilter(rng.uniform(2500, 7000), rng.uniform(-6, 5), 0.7)
    return _pedals(samples, sample_rate, [low, high])


def _peaks(samples: np.ndarray, sample_rate: int, bells: list[tuple[float, float]]) -> np.ndarray:
    from pedalboard import PeakFilter

    return _pedals(samples, sample_rate, [PeakFilter(hz, gain_db, 0.8) for hz, gain_db in bells])


def _filtered(samples: np.ndarray, sample_rate: int, kind: str, edge_hz: float) -> np.ndarray:
    return sosfilt(butter(2, edge_hz, kind, fs=sample_rate, output="sos"), samples)


def _compressor(rng: np.random.Generator, threshold_db: float, ratios: tuple[float, float]) -> object:
    from pedalboard import Compressor

    return Compressor(threshold_db, rng.uniform(*ratios), rng.uniform(2, 20), rng.uniform(60, 200))


def _modulation(rng: np.random.Generator) -> list[object]:
    from pedalboard import Chorus, Phaser

    if rng.random() < 0.75:
        return [Chorus(rng.uniform(0.3, 4.0), rng.uniform(0.1, 0.4), 7.0, 0.0, rng.uniform(0.2, 0.5))]
    return [Phaser(rng.uniform(0.2, 2.0), 0.5, 1300.0, 0.0, 0.5)]


def _delay(rng: np.random.Generator) -> object:
    from pedalboard import Delay

    return Delay(rng.uniform(0.1, 0.5), rng.uniform(0.1, 0.4), rng.uniform(0.08, 0.35))


def _pedals(samples: np.ndarray, sample_rate: int, plugins: list) -> np.ndarray:
    from pedalboard import Pedalboard

    return np.asarray(Pedalboard(plugins)(samples.astype(np.float32), sample_rate, reset=True))
