"""``beit-mm evaluate --few-shot``: a few labelled images of a class, and the rest to be named."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..checkpoints.writing import write_whole
from ..component import ConfigError
from ..engine.measuring.few_shot import (
    L2,
    LeastSquares,
    LinearClassifier,
    hits_of,
    interval_of_mean,
    order_of_shots,
)
from ..visualization import draw_shots
from .changed_images import Changes
from .features import Extractor, features_in_order
from .output_files import write_table
from .photos import Photos, decodable
from .picture_files import picture_path, write_picture

BATCH = 64


def check_shots(photos: Photos, shots: Sequence[int], seeds: int) -> None:
    """Hold what is asked for against the images.

    Raises:
        ConfigError: If images have several labels, a class has fewer images to learn from, or
            there is no number of images.
    """
    if not shots:
        raise ConfigError('--few-shot has no number; it must have one at least')
    if photos.several is not None:
        raise ConfigError('--few-shot takes images of one class each; these may have several')
    if seeds < 1 or min(shots) < 1:
        raise ConfigError(f'--few-shot is {shots} and --seeds {seeds}; each must be above 0')
    by_class = _by_class(photos)
    label = min(by_class, key=lambda name: len(by_class[name]))
    if max(shots) > len(by_class[label]):
        raise ConfigError(
            f'--few-shot is {max(shots)}, and class {label!r} has {len(by_class[label])} images '
            'to learn from; it must be no more'
        )


def few_shot_picture(out: str | Path | None, name: str) -> Path:
    """Where the picture goes; see :func:`beit_mm.commands.picture_files.picture_path`.

    Args:
        out: As the user says.
        name: Of what is evaluated.
    """
    if out is None:
        out = Path('work_dirs', f'{name}_evaluate', 'few_shot.png')
        out.parent.mkdir(parents=True, exist_ok=True)
    return picture_path(out, 'few_shot')


def evaluate_few_shot(
    take: Extractor, photos: Photos, shots: Sequence[int], seeds: int, path: Path
) -> dict[str, float]:
    """Top-1 of :class:`beit_mm.engine.measuring.few_shot.LeastSquares` with few images a class.

    The features of all images are never held at once.

    Args:
        take: The backbone.
        photos: Images to learn from, of which some are taken, and images to name.
        shots: How many images of each class are taken; for each number anew.
        seeds: How many choices of images.
        path: Of the picture. The figures lie beside it as .csv, .json and .npz.

    Returns:
        ``'5-shot'`` and so on, and ``chance``, of the images held out in per cent.

    Raises:
        ConfigError: See :func:`check_shots`.
    """
    check_shots(photos, shots, seeds)
    settings = [(k, seed) for k in sorted(set(shots)) for seed in range(seeds)]
    classifiers = _learn(take, photos, settings)
    hits, counts = torch.zeros(len(settings), dtype=torch.int64), torch.zeros(len(photos.classes))
    for _, features, labels in _features(take, photos, photos.val, 'images held out'):
        hits += hits_of(classifiers, features, labels)
        counts += labels.bincount(minlength=len(counts))
    if not counts.sum():
        raise ConfigError(f'{photos.root}: of the images held out none can be read')
    top1: dict[int, list[float]] = {}
    for (k, _), count in zip(settings, hits.tolist(), strict=True):
        top1.setdefault(k, []).append(100 * count / int(counts.sum()))
    chance = 100 * float(counts.max() / counts.sum())
    widths = {k: interval_of_mean(values) for k, values in top1.items()}
    means = {k: float(np.mean(values)) for k, values in top1.items()}
    for k, mean in means.items():
        interval = '' if np.isnan(widths[k]) else f' +- {widths[k]:.1f}'
        print(f'{k:4} of each class     {mean:5.1f} % top-1{interval}')
    print(f'commonest class      {chance:5.1f} %')
    if seeds > 1:
        print(f'means of {seeds} choices of images, with 95 % intervals')
    _write(path, top1, widths, chance, take, photos)
    return {**{f'{k}-shot': mean for k, mean in means.items()}, 'chance': chance}


def _learn(
    take: Extractor, photos: Photos, settings: Sequence[tuple[int, int]]
) -> list[LinearClassifier]:
    """A classifier for each number of images and seed."""
    most = max(k for k, _ in settings)
    # Of each seed, image -> how many of its class are taken before it.
    places = _chosen(take, photos, most, 1 + max(seed for _, seed in settings))
    names = sorted({name for place in places for name in place})
    size = take.model.embed_dims, len(photos.classes)
    learners = [LeastSquares(*size) for _ in settings]
    for kept, features, labels in _features(take, photos, names, 'images to learn from'):
        for learner, (k, seed) in zip(learners, settings, strict=True):
            chosen = torch.tensor([places[seed].get(name, most) < k for name in kept])
            learner.add(features[chosen], labels[chosen])
    return [learner.solve() for learner in learners]


def _chosen(take: Extractor, photos: Photos, most: int, seeds: int) -> list[dict[str, int]]:
    """Of each seed the images taken, and their places in the order of their class.

    In the place of one that cannot be decoded the next is taken.
    """
    by_class = _by_class(photos)
    orders = [order_of_shots(by_class, seed) for seed in range(seeds)]
    known: set[str] = set()
    broken: set[str] = set()
    while True:
        places = []
        for order in orders:
            taken = [[n for n in names if n not in broken][:most] for names in order.values()]
            places.append({name: place for names in taken for place, name in enumerate(names)})
        unknown = sorted({name for place in places for name in place} - known)
        if not unknown:
            break
        readable = set(decodable(photos.lies_in, unknown, take.how))
        known |= readable
        broken |= set(unknown) - readable
    for label, names in by_class.items():
        if (count := len(set(names) - broken)) < most:
            raise ConfigError(
                f'--few-shot is {most}, and of class {label!r} {count} images to learn from can '
                'be decoded; it must be no more'
            )
    return places


def _by_class(photos: Photos) -> dict[str, list[str]]:
    by_class: dict[str, list[str]] = {label: [] for label in photos.classes}
    for name in photos.train:
        by_class[photos.labels[name]].append(name)
    return by_class


def _features(
    take: Extractor, photos: Photos, names: Sequence[str], what: str
) -> Iterator[tuple[list[str], Tensor, Tensor]]:
    """Names, (N, C) features and (N,) labels, a batch at a time; on a terminal, how far it is."""
    numbers = {label: index for index, label in enumerate(photos.classes)}
    changes, done = Changes(), 0
    for kept, features in features_in_order(take, photos.lies_in, names, BATCH, _tell, changes):
        yield (
            kept,
            torch.from_numpy(features),
            torch.tensor([numbers[photos.labels[name]] for name in kept], dtype=torch.int64),
        )
        done = min(done + BATCH, len(names))
        if sys.stderr.isatty():
            end = '\n' if done == len(names) else ''
            print(f'\r{done} of {len(names)} {what}', end=end, file=sys.stderr, flush=True)
    changes.tell()


def _tell(name: str, why: str) -> None:
    print(f'{name}: left out, {why}', file=sys.stderr)


def _write(
    path: Path,
    top1: dict[int, list[float]],
    widths: dict[int, float],
    chance: float,
    take: Extractor,
    photos: Photos,
) -> None:
    """The picture, its arrays, a table of every choice and a report."""
    figure = draw_shots(top1, widths, chance)
    arrays = dict(shots=list(top1), top1=list(top1.values()), chance=chance,
                  interval=list(widths.values()))  # fmt: skip
    rows = [(k, seed, f'{v:.4f}') for k, vs in top1.items() for seed, v in enumerate(vs)]
    write_table(path.with_suffix('.csv'), [('images_of_a_class', 'seed', 'top1'), *rows])
    report = dict(
        source=photos.place,
        size=take.size,
        l2=L2,
        classes=len(photos.classes),
        held_out=len(photos.val),
        chance=round(chance, 4),
        few_shot=[
            dict(
                images_of_a_class=k,
                top1=round(float(np.mean(values)), 4),
                interval=None if np.isnan(widths[k]) else round(widths[k], 4),
                by_seed=[round(v, 4) for v in values],
            )
            for k, values in top1.items()
        ],
    )
    text = json.dumps(report, indent=2, ensure_ascii=False) + '\n'
    write_whole(path.with_suffix('.json'), text.encode())
    write_picture(figure, path, arrays)
