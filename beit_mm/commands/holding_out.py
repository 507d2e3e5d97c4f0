"""Which of some images are held out: by chance, but always the same."""

import random
import sys
from collections.abc import Mapping, Sequence

import numpy as np

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
        held_out[_of_whole_files(files, count)] = True
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


def _of_whole_files(files: Mapping[str, Sequence[int]], count: int) -> list[int]:
    """Places of the images of whole files, as many or up to twice as many, if that can be."""
    drawn = random.Random(0).sample(list(files), len(files) - 1)
    # A stack that is longer would take nearly all of what is to be trained with. Where all are,
    # as of few long ones, it is one of the shortest.
    most = max(2 * count, min(len(files[file]) for file in drawn))
    places: list[int] = []
    for file in drawn:
        if len(places) >= count:
            break
        if len(places) + len(files[file]) <= most:
            places += files[file]
    return places


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
