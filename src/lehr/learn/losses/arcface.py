"""ArcFace (Deng et al., arXiv 1801.07698): softmax over angles, with a margin added to the right class's angle.

Shapes: N items, D embedding, K classes, C centres per class.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody writes it


class ArcFace(nn.Module):
    """The last layer of an angular-margin network: one unit direction (or several) per class.

    Args:
        num_features: length of the embedding.
        num_classes: number of classes.
        scale: length of the logits' vector, s (`angular_scale`).
        margin: radians added to the angle of the right class, m (`angular_margin`).
        centers: directions per class; a class's cosine is that of its nearest one, which makes noisy labels harmless
            (Sub-center ArcFace, Deng et al., ECCV 2020).
        easy: apply the margin only below 90 degrees; gentler where training starts from random weights.
    """

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        *,
        scale: float = 32.0,
        margin: float = 0.5,
        centers: int = 1,
        easy: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, centers, num_features))
        nn.init.normal_(self.weight, std=num_features**-0.5)
        self.scale = scale
        self.margin = margin
        self.easy = easy

    def forward(self, embeddings_ND: Tensor, labels_N: Tensor | None = None, margin: float | None = None) -> Tensor:
        """Logits [N, K], at least float32; without labels there is no margin, as evaluation wants it.

        `margin` overrides the layer's own, for the warm-up.
        """
        with torch.autocast(embeddings_ND.device.type, enabled=False):
            cosines_NK = class_cosines(embeddings_ND, self.weight)
            if labels_N is not None:
                margin = self.margin if margin is None else margin
                cosines_NK = add_margin(cosines_NK, labels_N, margin, easy=self.easy)
            return self.scale * cosines_NK


def class_cosines(embeddings_ND: Tensor, weight_KCD: Tensor) -> Tensor:
    """Cosine [N, K] between each embedding and the nearest centre of each class, at least float32, within [-1, 1]."""
    dtype = torch.promote_types(embeddings_ND.dtype, torch.float32)
    num_classes, num_centers, _ = weight_KCD.shape
    directions = F.normalize(weight_KCD.to(dtype), dim=-1).flatten(0, 1)
    cosines = F.linear(F.normalize(embeddings_ND.to(dtype), dim=-1), directions)
    return cosines.view(-1, num_classes, num_centers).amax(-1).clamp(-1, 1)


def add_margin(
    cosines_NK: Tensor, labels_N: Tensor, margin: float, *, easy: bool = False, epsilon: float = 1e-6
) -> Tensor:
    """Replace each row's cosine of the right class, cos(t), by cos(t + margin).

    Written without acos: its derivative is infinite at 1 and -1, where the true gradient with respect to the embedding
    is bounded. Past t = pi - margin, where cos(t + margin) would rise again, a line keeps the loss falling towards the
    right class: cos(t) - margin * sin(margin).
    """
    right = labels_N[:, None]
    cosine = cosines_NK.gather(1, right)
    sine = (1 - cosine * cosine).clamp_min(epsilon).sqrt()
    turned = cosine * math.cos(margin) - sine * math.sin(margin)
    if easy:
        moved = torch.where(cosine > 0, turned, cosine)
    else:
        moved = torch.where(cosine > math.cos(math.pi - margin), turned, cosine - margin * math.sin(margin))
    return cosines_NK.scatter(1, right, moved)


def warmed_margin(margin: float, step: int, num_steps: int, share: float = 0.15) -> float:
    """The margin to use at a step (from 0): it grows evenly from 0 over the first `share` of the training."""
    return margin * min(1.0, step / max(1.0, share * num_steps))


def default_scale(num_classes: int) -> float:
    """32, and 64 from 1,000 classes on: with few classes a larger scale makes gradients vanish early."""
    return 32.0 if num_classes < 1000 else 64.0
