"""The training objective of PE-AV: sigmoid contrastive loss (SigLIP, arXiv 2303.15343)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def sigmoid_contrastive_loss(logits: Tensor) -> Tensor:
    """Pulls the pairs on the diagonal together and pushes all others apart.

    Labels are +1 and -1. (With 0 for the others, as transformers has it, they would not be pushed apart at all.)

    Args:
        logits: (B, B), of row b with column c; see `PEAudioVideoOutput.logits`.

    Returns:
        A scalar: the sum over all pairs, divided by B.

    Raises:
        ValueError: the logits are not square.

    >>> bool(sigmoid_contrastive_loss(20 * torch.eye(3) - 10) < 1e-3)
    True
    """
    if logits.ndim != 2 or logits.shape[0] != logits.shape[1]:
        raise ValueError(f"logits must have shape (B, B), not {tuple(logits.shape)}")
    labels = 2 * torch.eye(len(logits), device=logits.device) - 1
    return -F.logsigmoid(labels * logits.float()).sum() / len(logits)
