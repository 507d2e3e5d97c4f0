"""A codebook of vectors that follow the data: VQ-VAE's quantizer (arXiv 1711.00937, 3.1, A.1).

The codes are moving averages of the vectors that they stand for, as in the paper's appendix. What
keeps every code in use on any images is added here: the first codes are found by k-means in the
first batch, and a code that hardly anything falls to is set on a vector that is badly served.
"""

import torch
from mmengine.dist import all_reduce, broadcast
from torch import Tensor, nn

# Lloyd's iterations for the first codes.
KMEANS_STEPS = 10
# A code's weight in the moving averages after a step without use.
DECAY = 0.97
# A code is dead if less than this part of an even share falls to it: after 115 steps without use.
DEAD = 0.03


class Codebook(nn.Module):
    """Codes, and which of them is nearest.

    Args:
        num_codes: V.
        dims: Width D of a code.
    """

    codes: Tensor
    uses: Tensor
    sums: Tensor

    def __init__(self, num_codes: int, dims: int) -> None:
        super().__init__()
        self.register_buffer('codes', torch.randn(num_codes, dims))
        # Moving averages, a step: how many vectors fell to each code, and their sum.
        self.register_buffer('uses', torch.zeros(num_codes))
        self.register_buffer('sums', torch.zeros(num_codes, dims))

    def forward(self, vectors: Tensor) -> Tensor:
        """Logits of the codes: minus the squared distance, up to a constant of the place.

        Args:
            vectors: (B, D, h, w).

        Returns:
            (B, V, h, w).
        """
        weight, bias = 2 * self.codes, -self.codes.square().sum(dim=1)
        weight, bias = weight[..., None, None].to(vectors.dtype), bias.to(vectors.dtype)
        return nn.functional.conv2d(vectors, weight, bias)

    def look_up(self, ids: Tensor) -> Tensor:
        """Codes of ids: (B, h, w) int64 in [0, V) -> (B, D, h, w)."""
        return self.codes[ids].permute(0, 3, 1, 2)

    @torch.no_grad()
    def nearest(self, vectors: Tensor) -> Tensor:
        """Which code is nearest: (B, D, h, w) -> (B, h, w) int64."""
        return self(vectors).argmax(dim=1)

    @torch.no_grad()
    def follow(self, vectors: Tensor) -> None:
        """Move the codes to where the vectors of a training batch are, in all processes alike.

        Vectors that are not finite do not count: their loss leaves the step out, and what is kept
        here would hold them for good.

        Args:
            vectors: (B, D, h, w).
        """
        rows = vectors.float().permute(0, 2, 3, 1).flatten(0, 2)
        # As squares, which distances are made of.
        finite = rows.square().sum(dim=1).isfinite()
        rows = torch.where(finite[:, None], rows, 0)
        if not self.uses.any():
            self._begin(rows, finite)
        ids = self._nearest_rows(rows)
        uses = torch.zeros_like(self.uses).index_add_(0, ids, finite.to(rows.dtype))
        sums = torch.zeros_like(self.sums).index_add_(0, ids, rows)
        all_reduce(uses)
        all_reduce(sums)
        self.uses.lerp_(uses, 1 - DECAY)
        self.sums.lerp_(sums, 1 - DECAY)
        self._restart(rows, ids, finite)
        self.codes.copy_(self.sums / self.uses[:, None].clamp(min=1e-6))

    def _nearest_rows(self, rows: Tensor) -> Tensor:
        """(N, D) -> (N,) int64."""
        scores = torch.addmm(-self.codes.square().sum(dim=1), rows, self.codes.T, alpha=2)
        return scores.argmax(dim=1)

    def _begin(self, rows: Tensor, finite: Tensor) -> None:
        """k-means in the first batch, of the first process where there are several."""
        count = len(self.codes)
        self.codes.copy_(rows[torch.randint(len(rows), (count,), device=rows.device)])
        for _ in range(KMEANS_STEPS):
            ids = self._nearest_rows(rows)
            self.uses.zero_().index_add_(0, ids, finite.to(rows.dtype))
            self.sums.zero_().index_add_(0, ids, rows)
            self._restart(rows, ids, finite)
            self.codes.copy_(self.sums / self.uses[:, None].clamp(min=1e-6))
        for state in (self.codes, self.uses, self.sums):
            broadcast(state)

    def _restart(self, rows: Tensor, ids: Tensor, finite: Tensor) -> None:
        """Set dead codes on vectors, the likelier the farther these are from their codes.

        Without asking a GPU whether there are any.
        """
        share = self.uses.sum() / len(self.uses)
        badly = (rows - self.codes[ids]).square().sum(dim=1) * finite
        chosen = torch.multinomial(badly + 1e-12, len(self.codes), replacement=True)
        # Where none is finite a code stays where it is.
        fresh = torch.where(finite[chosen][:, None], rows[chosen], self.codes)
        broadcast(fresh)
        dead = (self.uses < DEAD * share)[:, None]
        self.sums.copy_(torch.where(dead, fresh * share, self.sums))
        self.uses.copy_(torch.where(dead[:, 0], share, self.uses))
