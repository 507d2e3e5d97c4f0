"""``beit-mm check``: what is in the images of a folder, and how they are best read."""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track

from ..datasets.broken_photos import check_photos
from ..datasets.reading.measuring import Looked, visible
from ..datasets.reading.proposing import Proposal, propose
from .output_files import output_file
from .photos import existing_folder, find_and_tell

# Kinds of sizes, and pairs of images that are alike, that are told one by one.
MOST_TOLD = 5


class Checked(NamedTuple):
    """What was found in a folder.

    Attributes:
        looked: Path inside the folder -> what is in the image.
        broken: Path -> why the image cannot be decoded.
        alike: Groups of images with the same pixels.
        proposal: How they are best read; None where none can be.
    """

    looked: dict[str, Looked]
    broken: dict[str, str]
    alike: list[list[str]]
    proposal: Proposal | None


def check(
    folder: str | Path,
    list: str | Path | None = None,
    *,
    workers: int | None = None,
    no_data: float | None = None,
) -> Checked:
    """Read every image of a folder, and say what is in them.

    Sizes, depths, bands, values, means and spreads, images that are alike, those that cannot be
    decoded, and lines for a config.

    Args:
        folder: Images, in it and in all folders inside.
        list: File to write, for ``exclude`` of a data set: a line an image that cannot be decoded,
            its path inside the folder, a tab, what is wrong.
        workers: Processes; one a core by default.
        no_data: The value of pixels that hold no measurement, where the files do not say.

    Raises:
        ConfigError: If there is no such folder, or ``list`` cannot be written.
    """
    root = existing_folder(folder)
    target = None if list is None else output_file('the list', list)
    names = find_and_tell(root)
    checked = check_photos(root, names, workers or os.cpu_count(), no_data)
    looked, broken = {}, {}
    for name, found in _with_bar(checked, len(names)):
        if isinstance(found, str):
            broken[name] = found
            print(f'{name}\t{found}')
        else:
            looked[name] = found
    if target is not None:
        lines = ''.join(f'{name}\t{why}\n' for name, why in broken.items())
        target.write_text(lines, 'utf-8')
    alike = _alike(looked)
    proposal = propose([*looked.values()]) if any(len(e.sample) for e in looked.values()) else None
    for line in _report(looked, alike, proposal, no_data):
        print(line)
    print(f'{len(broken)} of {len(names)} images cannot be decoded', file=sys.stderr)
    return Checked(looked, broken, alike, proposal)


def _with_bar(checked: Iterable, total: int) -> Iterable:
    return track(checked, 'Decoding', total=total, console=Console(stderr=True))


def _alike(looked: dict[str, Looked]) -> list[list[str]]:
    """Groups of images with the same pixels."""
    groups: dict[str, list[str]] = {}
    for name, each in looked.items():
        if each.digest is not None:
            groups.setdefault(each.digest, []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _report(
    looked: dict[str, Looked],
    alike: Sequence[Sequence[str]],
    proposal: Proposal | None,
    no_data: float | None,
) -> Iterator[str]:
    """Lines on the images that can be decoded."""
    every = [*looked.values()]
    if not every:
        return
    yield f'sizes       {_sizes(every)}'
    yield f'depths      {_counted(each.dtype.name for each in every)}'
    bands = (f'{len(each.bands)} ({", ".join(each.bands)})' for each in every)
    yield f'bands       {_counted(bands)}'
    yield from _values(every)
    if void := sum(each.void for each in every):
        yield f'no value    {void} pixels of {sum(1 for e in every if e.void)} images'
    if alike:
        copies = sum(len(group) - 1 for group in alike)
        shown = '; '.join(' = '.join(group[:3]) for group in alike[:MOST_TOLD])
        yield f'alike       {copies} images have the pixels of another: {shown}'
    for change, count in Counter(c for e in every for c in e.changes).most_common():
        yield f'changed     {change}: {count} images'
    if proposal is not None:
        yield from _lines_of_config(proposal, no_data)


def _sizes(every: Sequence[Looked]) -> str:
    counts = Counter(each.size for each in every)
    common = [f'{h} x {w} ({n})' for (h, w), n in counts.most_common(MOST_TOLD)]
    if len(counts) <= MOST_TOLD:
        return ', '.join(common)
    small, large = (kind(counts, key=lambda size: size[0] * size[1]) for kind in (min, max))
    return (
        f'{len(counts)} kinds, from {small[0]} x {small[1]} to {large[0]} x {large[1]}; most '
        f'often {", ".join(common[:3])}'
    )


def _counted(values: Iterable[str]) -> str:
    return ', '.join(f'{value}: {n} images' for value, n in Counter(values).most_common())


def _values(every: Sequence[Looked]) -> Iterator[str]:
    """Of each type and number of bands, from where to where values go."""
    kinds: dict[tuple[str, int], list[Looked]] = {}
    for each in every:
        if len(each.sample):
            kinds.setdefault((each.dtype.name, visible(each.bands)), []).append(each)
    for (kind, count), some in sorted(kinds.items()):
        smallest = np.min([each.smallest for each in some], axis=0)
        largest = np.max([each.largest for each in some], axis=0)
        low, high = (np.median([getattr(e, n) for e in some], axis=0) for n in ('low', 'high'))
        bands = ', '.join(
            f'{name} {a:g} to {b:g}'
            for name, a, b in zip(some[0].bands[:count], smallest, largest, strict=True)
        )
        yield f'values      {kind}: {bands}'
        if kind != 'uint8':
            most = ', '.join(f'{a:g} to {b:g}' for a, b in zip(low, high, strict=True))
            yield f'            of the middle image without its hottest pixels: {most}'


def _lines_of_config(proposal: Proposal, no_data: float | None) -> Iterator[str]:
    """What to write into a recipe."""
    yield 'for a config (mean and std are those in [0, 255] that a preprocessor takes):'
    yield f'  bands = {proposal.bands!r}'
    yield f'  value_range = {proposal.value_range!r}'
    if no_data is not None:
        yield f'  no_data = {no_data!r}'
    yield f'  in_channels = {len(proposal.names)}'
    yield f'  mean = {proposal.mean!r}'
    yield f'  std = {proposal.std!r}'
    if proposal.others:
        yield f'  ({proposal.others} images have other bands)'
