"""How much frozen features say of classes with a few labelled images: least squares, solved."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# big_vision's strength of the regularisation, and what it adds to each feature's spread.
L2, LEAST_SPREAD = 2.0**10, 1e-5


class LinearClassifier(NamedTuple):
    """A linear map from features to a score of each class.

    Attributes:
        weight: (C, K) float64.
        bias: (K,) float64.
    """

    weight: Tensor
    bias: Tensor

    def scores(self, features: Tensor) -> Tensor:
        """(N, K) float64 of features (N, C); the class with the highest is predicted."""
        return features.double() @ self.weight + self.bias


class LeastSquares:
    """Regularised least squares from features to {-1, 1}^K, of features that come in batches.

    ViT, arXiv 2010.11929, section 4.1: targets are 1 at an image's class and -1 at all others, and
    the solution is exact. What the paper leaves open is as in its authors' big_vision: each
    feature is brought to mean 0 and spread 1 over the labelled images, and l2 is 2^10. The bias is
    free, as in scikit-learn's ``Ridge``; big_vision's is that of a constant feature of 100, almost
    free. With as many images of each class all classes have one bias, and predictions are the same.

    Only the mean, the Gram matrix of the centred features (C x C) and the sum of each class
    (K x C) are kept, in float64. Means of batches are joined as Chan, Golub and LeVeque (1979) do:
    features far from zero lose no digits.

    Args:
        dims: C, of the features.
        num_classes: K.
    """

    def __init__(self, dims: int, num_classes: int) -> None:
        self.mean = torch.zeros(dims, dtype=torch.float64)
        self.gram = torch.zeros(dims, dims, dtype=torch.float64)
        self.sums = torch.zeros(num_classes, dims, dtype=torch.float64)
        self.counts = torch.zeros(num_classes, dtype=torch.float64)

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Take in labelled images.

        Args:
            features: (N, C), N may be 0.
            labels: (N,) int64 in [0, K).
        """
        if not len(features):
            return
        features = features.double().cpu()
        before, count = self.counts.sum(), len(features)
        mean = features.mean(dim=0)
        apart = mean - self.mean
        total = before + count
        self.mean += apart * count / total
        centred = features - mean
        self.gram += centred.T @ centred + torch.outer(apart, apart) * before * count / total
        self.sums.index_add_(0, labels.cpu(), features)
        self.counts += labels.cpu().bincount(minlength=len(self.counts))

    def solve(self, l2: float = L2) -> LinearClassifier:
        """The classifier that minimises the squared errors plus ``l2`` times the squared weights.

        Args:
            l2: Above 0.

        Raises:
            ValueError: If no image has been added, or l2 is not above 0.
        """
        count = self.counts.sum()
        if not count or l2 <= 0:
            raise ValueError(f'{int(count)} images and l2 {l2:g}; both must be above 0')
        spread = (self.gram.diagonal() / count).sqrt() + LEAST_SPREAD
        gram = self.gram / torch.outer(spread, spread)
        gram.diagonal().add_(l2)
        # Of centred features all targets of -1 add up to nothing: twice the class is left.
        classes = (self.sums - self.counts[:, None] * self.mean) / spread
        weight = torch.cholesky_solve(2 * classes.T, torch.linalg.cholesky(gram))
        weight /= spread[:, None]
        return LinearClassifier(weight, 2 * self.counts / count - 1 - self.mean @ weight)


def order_of_shots(by_class: Mapping[str, Sequence[str]], seed: int) -> dict[str, list[str]]:
    """The images of each class in the order in which a seed takes them.

    Fewer images a class are always among more of the same seed.

    Args:
        by_class: Class -> its images.
        seed: Decides the order.
    """
    rng = np.random.default_rng(seed)
    return {
        label: [names[place] for place in rng.permutation(len(names))]
        for label, names in by_class.items()
    }


def hits_of(classifiers: Sequence[LinearClassifier], features: Tensor, labels: Tensor) -> Tensor:
    """How many images each of S classifiers names rightly: (S,) int64.

    Args:
        classifiers: Of as many classes each.
        features: (N, C).
        labels: (N,) int64.
    """
    return torch.tensor(
        [int((c.scores(features).argmax(dim=1) == labels).sum()) for c in classifiers]
    )


def interval_of_mean(values: Sequence[float], level: float = 0.95) -> float:
    """Half of the width of Student's interval for the mean of some values; nan of a single one.

    Args:
        values: Of independent draws.
        level: How probably the interval holds the mean.
    """
    if len(values) < 2:
        return float('nan')
    from scipy.stats import t

    spread = float(np.std(values, ddof=1)) / len(values) ** 0.5
    return float(t.ppf((1 + level) / 2, len(values) - 1)) * spread
