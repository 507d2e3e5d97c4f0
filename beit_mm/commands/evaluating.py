"""``beit-mm evaluate``: what frozen weights know of classes."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..component import ConfigError
from ..engine.measuring.feature_evaluation import knn_top1, linear_top1
from ..engine.measuring.several_labels_evaluation import knn_mean_precision, linear_mean_precision
from .changed_images import Changes
from .classifier_runs import name_of
from .features import Extractor, extractor, features_in_order
from .few_shot_evaluation import check_shots, evaluate_few_shot, few_shot_picture
from .photos import Photos
from .sharded_photos import labelled_photos


def evaluate(
    source: str | Path,
    weights: str | Path,
    *,
    size: int | None = None,
    bands: str | None = None,
    value_range: str | None = None,
    no_data: float | None = None,
    neighbors: int | None = None,
    multi_label: bool | str | None = None,
    few_shot: Sequence[int] | None = None,
    seeds: int | None = None,
    out: str | Path | None = None,
) -> dict[str, float]:
    """k-NN and a linear classifier on the mean of the patches' last hidden states.

    With ``few_shot`` a linear classifier in closed form in their place, which learns from few
    images of each class: :class:`beit_mm.engine.measuring.few_shot.LeastSquares`.

    Args:
        source: See :func:`beit_mm.commands.finetuning.finetune`.
        weights: What ``beit_mm.load`` takes.
        size: Height and width of an image; without, that of the weights.
        bands, value_range, no_data: See :func:`beit_mm.commands.embedding.embed`.
        neighbors: How many vote, 20 by default; all if there are fewer.
        multi_label: See :func:`beit_mm.commands.finetuning.finetune`.
        few_shot: How many images of each class are learned from; each number by itself.
        seeds: How many choices of the images of ``few_shot``, 5 by default.
        out: Of ``few_shot``, the picture to write, .png; the figures lie beside it as .csv, .json
            and .npz. By default ``work_dirs/<name of the source>_evaluate/few_shot.png``.

    Returns:
        ``knn``, ``linear`` and ``chance``, of the images held out in per cent: top-1, or where
        images have several labels mean average precision. With ``few_shot`` top-1 as ``1-shot``
        and so on, means over the choices, and ``chance``.

    Raises:
        ConfigError: If there are not two classes, a class has fewer images than are asked for, or
            scikit-learn is missing, or an option is of the classifier that is not asked for.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            'a linear classifier takes scikit-learn: pip install scikit-learn'
        ) from error
    if few_shot is None:
        if out is not None:
            raise ConfigError('--out is where the picture of --few-shot goes, which is not given')
        if seeds is not None:
            raise ConfigError('--seeds is for --few-shot, which is not given')
    elif neighbors is not None:
        raise ConfigError(
            '--neighbors is of k-NN, in whose place --few-shot stands: leave one of them out'
        )
    seeds, neighbors = 5 if seeds is None else seeds, 20 if neighbors is None else neighbors
    photos = labelled_photos(source, multi_label)
    if few_shot is not None:
        check_shots(photos, few_shot, seeds)
        path = few_shot_picture(out, name_of(source, photos))
    take = extractor(weights, size).for_images(
        photos.lies_in, photos.train, bands, value_range, no_data
    )
    print(f'{len(photos.train)} images to learn from, {len(photos.val)} held out, of '
          f'{len(photos.classes)} classes, {take.size} x {take.size} pixels')  # fmt: skip
    if few_shot is not None:
        return evaluate_few_shot(take, photos, few_shot, seeds, path)
    train, train_labels = _features(take, photos, photos.train)
    test, test_labels = _features(take, photos, photos.val)
    sets = train, train_labels, test, test_labels
    if photos.several is not None:
        figures = dict(
            knn=knn_mean_precision(*sets, neighbors=neighbors),
            linear=linear_mean_precision(*sets),
            chance=100 * float(test_labels.float().mean()),
        )
        unit, chance = 'mAP', 'chance               '
    else:
        figures = dict(
            knn=knn_top1(*sets, neighbors=neighbors),
            linear=linear_top1(*sets),
            chance=100 * float(test_labels.bincount().max()) / len(test_labels),
        )
        unit, chance = 'top-1', 'commonest class      '
    print(f'{min(neighbors, len(train))} nearest neighbours  {figures["knn"]:5.1f} % {unit}')
    print(f'linear classifier      {figures["linear"]:5.1f} % {unit}')
    print(f'{chance}  {figures["chance"]:5.1f} %')
    return figures


def _features(take: Extractor, photos: Photos, names: Sequence[str]) -> tuple[Tensor, Tensor]:
    numbers = {name: index for index, name in enumerate(photos.classes)}
    rows: list[Tensor] = []
    labels: list[Any] = []
    changes = Changes()
    for kept, features in features_in_order(take, photos.lies_in, names, 64, _tell, changes):
        rows.append(torch.from_numpy(features))
        if photos.several is not None:
            labels += [[c in photos.several[name] for c in photos.classes] for name in kept]
        else:
            labels += [numbers[photos.labels[name]] for name in kept]
    changes.tell()
    return torch.cat(rows), torch.tensor(labels)


def _tell(name: str, why: str) -> None:
    print(f'{name}: left out, {why}', file=sys.stderr)
