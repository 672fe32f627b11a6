"""A checkpoint of asteroid as a separation model.

window of the mixture -> network -> sources, in any order -> PE-AV: which is which prompt's -> masks -> stems
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn

from sam_audio.errors import ModelError
from sam_audio.separator.base import SeparationModel, SeparationStream
from sam_audio.separator.windowed import WindowedStream
from sam_audio.types import Condition, Samples

WINDOW_S, FADE_S = 8.0, 1.0
N_FFT, HOP = 1024, 256
_WEIGHTS = "pytorch_model.bin"


class BlindSeparator(SeparationModel):
    """Sources of a network, each given to the prompt that it fits.

    Args:
        name: how reports call it.
        network: (B, n) -> (B, K, n) at ``sample_rate``.
    """

    takes = frozenset({"vector"})

    def __init__(self, name: str, network: nn.Module, sample_rate: int, device: str = "cpu") -> None:
        from sam_audio.conditioning.embedding import load_embedder

        self.name, self.sample_rate, self.device = name, sample_rate, device
        self.network = network.to(device).eval().requires_grad_(False)
        self.embedder = load_embedder()

    @classmethod
    def read(cls, name: str, device: str) -> BlindSeparator:
        """A checkpoint by path or hub id.

        Raises:
            ModelError: it is none, cannot be read, or is of a model that asteroid does not know.
        """
        from sam_audio.training.blind import network as network_of

        try:
            with torch.serialization.safe_globals(
                [torch.torch_version.TorchVersion]
            ):  # asteroid notes torch's
                stored = torch.load(_find(name), "cpu", weights_only=True)
            arguments = stored["model_args"]
            network = network_of(stored["model_name"])(**arguments)
            network.load_state_dict(stored["state_dict"])
        except ModelError:
            raise
        except Exception as error:  # a pickle of anything, arguments of anything
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise ModelError(f"{name} is no checkpoint of asteroid ({first}): name another") from None
        rate = arguments.get("sample_rate") or getattr(network, "sample_rate", None)
        if not rate:
            raise ModelError(
                f"{name} does not say its sample rate: save it again with sample_rate in model_args"
            )
        return cls(f"asteroid:{name}", network, int(rate), device)

    def encode(self, texts: list[str]) -> list[Condition]:
        vectors = self.embedder.embed_text(texts)
        return [Condition(text, vector, text=text) for text, vector in zip(texts, vectors, strict=True)]

    def open(self, conditions: list[Condition], channels: int, strength: float = 1.0) -> SeparationStream:
        return _Stream(self, conditions, channels)

    def sources(self, mono: Samples) -> Samples:
        """What the network makes of mono sound (n,), at the level it has there: (K, n)."""
        level = max(float(np.abs(mono).max()), 1e-9)
        with torch.inference_mode():
            missing = max(0, self.sample_rate - len(mono))  # a second is long enough for any network
            given = torch.from_numpy(np.pad(mono / level, (0, missing)))[None].to(self.device)
            found = self.network(given)[0, :, : len(mono)].float().cpu().numpy()
        # trained without regard to level: those levels that add up to the mixture best
        gains = np.linalg.lstsq(found.T.astype(np.float64), mono.astype(np.float64), rcond=1e-6)[0]
        return (found * gains[:, None]).astype(np.float32)

    def whose(self, sources: Samples, conditions: list[Condition]) -> list[int | None]:
        """The source of each prompt; None if there are too few, or if there is nothing to go by."""
        vectors = np.stack([self.embedder.embed_audio(self._at_48k(source)) for source in sources])
        asked = [c.vector for c in conditions]
        fits = np.array([np.zeros(len(sources)) if v is None else vectors @ v for v in asked])
        found = dict(zip(*map(list, linear_sum_assignment(-fits)), strict=True))
        return [found.get(i) if v is not None else None for i, v in enumerate(asked)]

    def _at_48k(self, mono: Samples) -> Samples:
        import soxr

        return soxr.resample(mono, self.sample_rate, self.embedder.sample_rate).astype(np.float32)


class _Stream(WindowedStream):
    def __init__(self, model: BlindSeparator, conditions: list[Condition], channels: int) -> None:
        rate = model.sample_rate
        super().__init__(len(conditions), channels, round(WINDOW_S * rate), round(FADE_S * rate))
        self.model, self.conditions = model, conditions

    def separated(self, mixture: Samples) -> Samples:
        """Shape: (channels, n) -> (N, channels, n)."""
        stems = np.zeros((len(self.conditions), *mixture.shape), np.float32)
        mono = mixture.mean(axis=0)
        if not mono.any():
            return stems
        sources = self.model.sources(mono)
        whose = self.model.whose(sources, self.conditions)
        if self.channels == 1:
            for stem, k in zip(stems, whose, strict=True):
                if k is not None:
                    stem[0] = sources[k]
            return stems
        spectra = _stft(sources).abs().square()
        shares = spectra / spectra.sum(0).clamp(min=1e-12)
        channels = _stft(mixture)
        for stem, k in zip(stems, whose, strict=True):
            if k is not None:
                stem[:] = _istft(channels * shares[k], mixture.shape[1])
        return stems


def _stft(sound: Samples) -> torch.Tensor:
    window = torch.hann_window(N_FFT)
    padded = nn.functional.pad(torch.from_numpy(sound), (0, max(0, N_FFT - sound.shape[1])))
    return torch.stft(padded, N_FFT, HOP, window=window, return_complex=True)


def _istft(spectrum: torch.Tensor, n: int) -> Samples:
    sound = torch.istft(spectrum, N_FFT, HOP, window=torch.hann_window(N_FFT), length=max(n, N_FFT))
    return sound[..., :n].numpy()


def _find(name: str) -> Path:
    """A path, or a file of the hub, which is fetched once."""
    if Path(name).is_file():
        return Path(name)
    if name.count("/") != 1 or name.startswith((".", "/")):
        raise ModelError(f"there is no checkpoint {name}: name a file, or OWNER/MODEL on the hub")
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(name, _WEIGHTS))
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{name} cannot be fetched ({first}): name a file, or look at the hub") from None
