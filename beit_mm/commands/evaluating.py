"""``beit-mm evaluate``: what frozen weights know of classes."""

import sys
from pathlib import Path

import torch
from torch import Tensor

from ..component import ConfigError
from ..engine.measuring.feature_evaluation import knn_top1, linear_top1
from .features import Extractor, extractor, features_in_order
from .photos import Photos, photos_with_labels


def evaluate(
    source: str | Path, weights: str | Path, *, size: int | None = None, neighbors: int = 20
) -> dict[str, float]:
    """k-NN and a linear classifier on the mean of the patches' last hidden states.

    Args:
        source: A folder of images for each class; ``train`` and ``val`` with such folders; or a
            .csv file with the columns path and label.
        weights: What ``beit_mm.load`` takes.
        size: Height and width of an image; without, that of the weights.
        neighbors: How many vote.

    Returns:
        ``knn``, ``linear`` and ``chance``, top-1 of the images held out in per cent.

    Raises:
        ConfigError: If there are not two classes, or scikit-learn is missing.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            'a linear classifier takes scikit-learn: pip install scikit-learn'
        ) from error
    photos = photos_with_labels(source)
    take = extractor(weights, size)
    print(f'{len(photos.train)} images to learn from, {len(photos.val)} held out, of '
          f'{len(photos.classes)} classes, {take.size} x {take.size} pixels')  # fmt: skip
    train, train_labels = _features(take, photos, photos.train)
    test, test_labels = _features(take, photos, photos.val)
    sets = train, train_labels, test, test_labels
    figures = dict(
        knn=knn_top1(*sets, neighbors=neighbors),
        linear=linear_top1(*sets),
        chance=100 * float(test_labels.bincount().max()) / len(test_labels),
    )
    print(f'{neighbors} nearest neighbours  {figures["knn"]:5.1f} % top-1')
    print(f'linear classifier      {figures["linear"]:5.1f} % top-1')
    print(f'commonest class        {figures["chance"]:5.1f} %')
    return figures


def _features(take: Extractor, photos: Photos, names: list[str]) -> tuple[Tensor, Tensor]:
    numbers = {name: index for index, name in enumerate(photos.classes)}
    rows, labels = [], []
    for kept, features in features_in_order(take, photos.root.joinpath, names, 64, _tell):
        rows.append(torch.from_numpy(features))
        labels += [numbers[photos.labels[name]] for name in kept]
    return torch.cat(rows), torch.tensor(labels)


def _tell(name: str, why: str) -> None:
    print(f'{name}: left out, {why}', file=sys.stderr)
