"""Which of some images are held out: by chance, but always the same."""

import random
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from ..datasets.reading.opening import FRAME
from ..datasets.sources.names import ChosenNames
from ..datasets.stacks import file_of

# Of stacks, that some are held out of as a whole.
LEAST_FILES = 5
# Without labels: to look at, and for figures.
MOST_HELD_OUT = 200


def held_out_without_labels(count: int) -> int:
    """How many of so many images are held out where nobody knows a class."""
    return max(5, min(MOST_HELD_OUT, count // 20))


def hold_out(names: Sequence[str], count: int) -> tuple[Sequence[str], Sequence[str]]:
    """The names without so many, drawn by chance but always the same, and those; both in order.

    Of stacks whole ones are held out, as their images are alike, where there are five or more
    files; from half of the count to twice as many. Where stacks differ so much in length that it
    cannot be, images are held out one by one.
    """
    held_out = np.zeros(len(names), bool)
    files: dict[str, list[int]] = {}
    if any(file_of(name) != name for name in names):
        for place, name in enumerate(names):
            files.setdefault(file_of(name), []).append(place)
    if len(files) >= LEAST_FILES:
        for file in _whole_files(files, count):
            held_out[files[file]] = True
        if 2 * held_out.sum() < count:
            print(
                f'stacks are too unequal in length to hold out whole ones: {count} of '
                f'{len(names)} images are held out one by one, and those of one stack are alike',
                file=sys.stderr,
            )
            files, held_out[:] = {}, False
    if len(files) < LEAST_FILES:
        held_out[random.Random(0).sample(range(len(names)), count)] = True
    train, val = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    return ChosenNames(names, train), ChosenNames(names, val)


def _whole_files(files: Mapping[str, Sequence], count: int, keep_one: bool = True) -> list[str]:
    """Files with as many images or up to twice as many, if that can be; not all, if one is kept."""
    drawn = random.Random(0).sample(list(files), len(files) - keep_one)
    # A stack that is longer would take nearly all of what is to be trained with. Where all are,
    # as of few long ones, it is one of the shortest.
    most = max(2 * count, min((len(files[file]) for file in drawn), default=0))
    taken: list[str] = []
    images = 0
    for file in drawn:
        if images >= count:
            break
        if images + len(files[file]) <= most:
            taken.append(file)
            images += len(files[file])
    return taken


def sides_of_stacks(labels: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The side of each image, where stacks have images of several classes.

    Whole stacks are held out for all of their classes, rare classes first, a fifth of each or up to
    twice as many: an image that is trained with has no neighbour that is held out.

    Args:
        labels: Name -> its classes.

    Returns:
        Name -> 'train' or 'val'; empty if each stack has one class, of files below five, and where
        it cannot be that each class is on both sides, which is said.
    """
    # Of a million photos nothing more is asked.
    if not any(FRAME in name for name in labels):
        return {}
    names_of: dict[str, list[str]] = {}
    for name in labels:
        names_of.setdefault(file_of(name), []).append(name)
    stacks = {file: names for file, names in names_of.items() if names != [file]}
    if len(names_of) < LEAST_FILES or all(
        len(labels[names[0]]) == 1 and len({tuple(labels[name]) for name in names}) == 1
        for names in stacks.values()
    ):
        return {}
    by_class: dict[str, dict[str, list[str]]] = {}
    for name, classes in labels.items():
        for label in classes or ('',):
            by_class.setdefault(label, {}).setdefault(file_of(name), []).append(name)
    side: dict[str, str] = {}
    counts = {label: sum(map(len, files.values())) for label, files in by_class.items()}
    for label in sorted(by_class, key=lambda label: (counts[label], label)):
        files = by_class[label]
        held_out = sum(len(names) for file, names in files.items() if side.get(file) == 'val')
        wanted = max(1, counts[label] // 5) - held_out
        left = {file: names for file, names in files.items() if file not in side}
        keep_one = all(side.get(file) != 'train' for file in files)
        drawn = _whole_files(left, wanted, keep_one) if left and wanted > 0 else []
        side |= {file: 'val' if file in drawn else 'train' for file in left}
        if label and len({side[file] for file in files}) < 2:
            print(
                f'of the stacks with {label!r} none can be held out as a whole: images are held '
                'out one by one, and those of one stack are alike',
                file=sys.stderr,
            )
            return {}
    return {name: side[file_of(name)] for name in labels}


def hold_out_several(labels: Mapping[str, Sequence[str]]) -> tuple[list[str], list[str]]:
    """Images to train with and images held out: of each class a fifth, one at least.

    Rare classes come first, so that each has its share (Sechidis et al. 2011, On the
    Stratification of Multi-Label Data).
    """
    by_class: dict[str, list[str]] = {}
    for name, classes in labels.items():
        for label in classes or ('',):
            by_class.setdefault(label, []).append(name)
    side: dict[str, bool] = {}
    for _, names in sorted(by_class.items(), key=lambda item: (len(item[1]), item[0])):
        left = [name for name in names if name not in side]
        wanted = max(1, len(names) // 5) - sum(side.get(name, False) for name in names)
        # One at least is trained with.
        most = len(left) - all(side.get(name, True) for name in names)
        train, val = hold_out(left, max(0, min(wanted, most)))
        side |= dict.fromkeys(train, False) | dict.fromkeys(val, True)
    return [n for n in labels if not side[n]], [n for n in labels if side[n]]
