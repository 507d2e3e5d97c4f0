"""Principal components of more vectors than fit in memory."""

import numpy as np
import torch
from torch import Tensor


def with_known_signs(components: Tensor) -> Tensor:
    """Rows (K, C) with the largest value of each positive: the sign of a component is by chance."""
    largest = components.gather(1, components.abs().argmax(dim=1, keepdim=True))
    return components * largest.sign()


class PrincipalComponents:
    """Principal components, fitted to vectors that come in parts.

    Means and covariances are exact and do not depend on the parts (Chan, Golub & LeVeque 1983,
    Algorithms for Computing the Sample Variance, equation 2.1, of matrices): what is kept is a
    matrix of (C, C), however many vectors there are.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(0, dtype=torch.float64)
        self.scatter = torch.zeros(0, 0, dtype=torch.float64)

    def add(self, rows: Tensor) -> None:
        """Take vectors in.

        Args:
            rows: (N, C) float.
        """
        rows = rows.detach().cpu().double()
        if not len(rows):
            return
        mean = rows.mean(dim=0)
        scatter = (rows - mean).T @ (rows - mean)
        total = self.count + len(rows)
        if self.count:
            apart = mean - self.mean
            scatter += self.scatter + torch.outer(apart, apart) * (self.count * len(rows) / total)
            mean = self.mean + apart * (len(rows) / total)
        self.count, self.mean, self.scatter = total, mean, scatter

    def first(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The components of the largest variance.

        Args:
            count: How many; C is the most.

        Returns:
            (count, C) float64 of length one, the largest value of each positive; and
            (count,) float64, the share of the variance of each.
        """
        values, vectors = torch.linalg.eigh(self.scatter)
        values = values.clamp(min=0).flip(0)
        components = vectors.T.flip(0)[:count]
        shares = values[:count] / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
        return with_known_signs(components).numpy(), shares.numpy()
