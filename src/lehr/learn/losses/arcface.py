"""ArcFace (Deng et al., arXiv 1801.07698): softmax over angles, with a margin added to the right class's angle.

Shapes: N items, D embedding, K classes, C centres per class.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody writes it


class ArcFace(nn.Module):
    """The last layer of an angular-margin network: one unit direction (or several) per class.

    Args:
        num_features: length of the embedding.
        num_classes: number of classes.
        scale: length of the logits' vector, s (`angular_scale`).
        margin: radians added to the angle of the right class, m (`angular_margin`); one for all, or one per class.
        centers: directions per class; a class's cosine is that of its nearest one, which makes noisy labels harmless
            (Sub-center ArcFace, Deng et al., ECCV 2020).
        easy: apply the margin only below 90 degrees; gentler where training starts from random weights.
    """

    margins: Tensor

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        *,
        scale: float = 32.0,
        margin: float | Sequence[float] = 0.5,
        centers: int = 1,
        easy: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, centers, num_features))
        nn.init.normal_(self.weight, std=num_features**-0.5)
        self.scale = scale
        margins = torch.as_tensor(margin, dtype=torch.float32).expand(num_classes).clone()
        self.register_buffer("margins", margins, persistent=False)
        self.easy = easy

    def forward(self, embeddings_ND: Tensor, labels_N: Tensor | None = None, share: float = 1.0) -> Tensor:
        """Logits [N, K], at least float32; without labels there is no margin, as evaluation wants it.

        `share` of the margin is applied: see `warm_up`.
        """
        with torch.autocast(embeddings_ND.device.type, enabled=False):
            cosines_NK = class_cosines(embeddings_ND, self.weight)
            if labels_N is not None:
                cosines_NK = add_margin(cosines_NK, labels_N, share * self.margins[labels_N], easy=self.easy)
            return self.scale * cosines_NK


def class_cosines(embeddings_ND: Tensor, weight_KCD: Tensor) -> Tensor:
    """Cosine [N, K] between each embedding and the nearest centre of each class, at least float32, within [-1, 1]."""
    dtype = torch.promote_types(embeddings_ND.dtype, torch.float32)
    num_classes, num_centers, _ = weight_KCD.shape
    directions = F.normalize(weight_KCD.to(dtype), dim=-1).flatten(0, 1)
    cosines = F.linear(F.normalize(embeddings_ND.to(dtype), dim=-1), directions)
    return cosines.view(-1, num_classes, num_centers).amax(-1).clamp(-1, 1)


def add_margin(
    cosines_NK: Tensor, labels_N: Tensor, margins_N: Tensor, *, easy: bool = False, epsilon: float = 1e-6
) -> Tensor:
    """Replace each row's cosine of the right class, cos(t), by cos(t + margin).

    Written without acos: its derivative is infinite at 1 and -1, where the true gradient with respect to the embedding
    is bounded. Past t = pi - margin, where cos(t + margin) would rise again, a line keeps the loss falling towards the
    right class: cos(t) - margin * sin(margin).
    """
    right, margin = labels_N[:, None], margins_N[:, None].to(cosines_NK.dtype)
    cosine = cosines_NK.gather(1, right)
    sine = (1 - cosine * cosine).clamp_min(epsilon).sqrt()
    turned = cosine * margin.cos() - sine * margin.sin()
    if easy:
        moved = torch.where(cosine > 0, turned, cosine)
    else:
        moved = torch.where(cosine > -margin.cos(), turned, cosine - margin * margin.sin())
    return cosines_NK.scatter(1, right, moved)


def warm_up(step: int, num_steps: int, part: float = 0.15) -> float:
    """Share of the margin to apply at a step (from 0): it grows evenly from 0 over the first `part` of the training."""
    return min(1.0, step / max(1.0, part * num_steps))


def dynamic_margins(counts_K: Sequence[int], *, rare: float = 0.5, common: float = 0.1) -> list[float]:
    """A margin per class, in radians: `rare` for classes of one item, `common` for the largest.

    In between it falls with the fourth root of the class's number of items, a * n ** -0.25 + b (Ha et al., arXiv
    2010.05350): rare classes need more room. All are kept within [0.1, 0.9].
    """
    roots = [max(1, count) ** -0.25 for count in counts_K]
    least = min(roots, default=1.0)
    slope = (rare - common) / (1 - least) if least < 1 else 0.0
    return [min(0.9, max(0.1, rare + slope * (root - 1))) for root in roots]


def default_scale(num_classes: int) -> float:
    """32, and 64 from 1,000 classes on: with few classes a larger scale makes gradients vanish early."""
    return 32.0 if num_classes < 1000 else 64.0
