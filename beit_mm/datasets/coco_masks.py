"""Masks of classes from COCO-style annotations of instances."""

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..component import ConfigError, did_you_mean
from .label_files import narrow
from .reading.limits import refuse_bomb

BACKGROUND = 'background'
# What pixels of no class are in the masks, with up to 255 classes and with more.
IGNORED, IGNORED_16 = 255, 65535
# Numbers of a polygon with three corners.
LEAST = 6
# Sides of an image that a corner may lie outside of it.
FAR = 10
INSTALL = "annotations in JSON take faster-coco-eval: pip install 'beit-mm[coco]'"


class CocoAnnotations(NamedTuple):
    """Annotations of images, as numbers of classes.

    Attributes:
        names: Of the classes, in order.
        sizes: File of an image, as the annotations name it -> (height, width).
        instances: File -> its annotations, as they are in the file.
        numbers: Id of a category -> number of its class.
        background: What pixels of no instance are: 0, or :attr:`ignored` where no class is the
            background.
        ignored: What pixels are that do not count.
        said: What was left out, a line each.
    """

    names: list[str]
    sizes: dict[str, tuple[int, int]]
    instances: dict[str, list[dict]]
    numbers: dict[int, int]
    background: int
    ignored: int
    said: list[str]

    def mask(self, file: str) -> np.ndarray:
        """The mask of an image, see :func:`draw_instances`."""
        return draw_instances(
            self.instances[file], self.sizes[file], self.numbers, self.background, self.ignored
        )


def read_coco(path: str | Path, classes: Sequence[str] | None = None) -> CocoAnnotations:
    """Read annotations of instances.

    Args:
        path: A .json with ``images``, ``annotations`` and ``categories``, as
            https://cocodataset.org/#format-data has it: polygons, and run lengths compressed or
            not.
        classes: Names of categories in the order of their numbers, 'background' among them or not;
            without, the background is 0 and the categories follow in the order of their ids.
            Categories that are not named count as background, and are ignored where no class is
            that.

    Raises:
        ConfigError: If it is no such file, there are no masks in it, or a class is no category.
    """
    known = _read(Path(path))
    by_id = {category['id']: str(category['name']) for category in known['categories']}
    if len(set(by_id.values())) < len(by_id):
        raise ConfigError(f'{path} has two categories of one name: {", ".join(by_id.values())}')
    own = [by_id[number] for number in sorted(by_id)]
    names = list(classes or [BACKGROUND, *(name for name in own if name != BACKGROUND)])
    for name in names:
        if name not in own and name != BACKGROUND:
            raise ConfigError(f'{name!r} is no category of {path}{did_you_mean(name, own)}')
    ignored = IGNORED if len(names) <= IGNORED else IGNORED_16
    numbers = {key: names.index(name) for key, name in by_id.items() if name in names}
    files = {image['id']: str(image['file_name']) for image in known['images']}
    if len(set(files.values())) < len(files):
        raise ConfigError(f'{path} has an image twice')
    instances: dict[str, list[dict]] = {file: [] for file in files.values()}
    without = others = 0
    for annotation in known['annotations']:
        if not annotation.get('segmentation'):
            without += 1
        elif annotation['category_id'] not in numbers and not annotation.get('iscrowd'):
            others += 1
        elif annotation.get('image_id') in files:
            instances[files[annotation['image_id']]].append(annotation)
    if not any(instances.values()):
        raise ConfigError(
            f'{path} has {len(known["annotations"])} annotations, of which none has a mask: '
            'segmentation must be polygons or run lengths'
        )
    nowhere = 'count as background' if BACKGROUND in names else 'are ignored'
    told = {
        'annotations without a mask, boxes or points alone, are left out': without,
        f'annotations of categories that are not among the classes {nowhere}': others,
        f'images without an annotation {nowhere}, as a whole': sum(
            not inside for inside in instances.values()
        ),
        'regions of crowds are ignored': sum(
            bool(one.get('iscrowd')) for inside in instances.values() for one in inside
        ),
    }
    sizes = {str(i['file_name']): (int(i['height']), int(i['width'])) for i in known['images']}
    return CocoAnnotations(
        names,
        sizes,
        instances,
        numbers,
        names.index(BACKGROUND) if BACKGROUND in names else ignored,
        ignored,
        [f'{count} {what}' for what, count in told.items() if count],
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text(encoding='utf-8-sig'))
        for image in known['images']:
            hash(image['id']), image['file_name']
            refuse_bomb(int(image['height']), int(image['width']))
        for annotation in known['annotations']:
            hash(annotation['image_id']), hash(annotation['category_id'])
        for category in known['categories']:
            hash(category['id']), category['name']
        # Classes are numbered in the order of these.
        sorted(category['id'] for category in known['categories'])
    # A list in a list in a list ... ends in the last.
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f'{path} has no annotations of instances as COCO has them, with images, annotations '
            f'and categories ({type(error).__name__}: {error})'
        ) from error
    return known


def draw_instances(
    annotations: Iterable[Mapping],
    size: tuple[int, int],
    numbers: Mapping[int, int],
    background: int = 0,
    ignored: int = IGNORED,
) -> np.ndarray:
    """The class of each pixel.

    Regions of crowds lie below and are ignored; of instances the smaller one lies on top.

    Args:
        annotations: With ``segmentation``, ``category_id`` and ``iscrowd``, of one image.
        size: (height, width).
        numbers: Id of a category -> number of its class.
        background: Of pixels of no instance.
        ignored: Of pixels that do not count.

    Returns:
        (H, W) uint8, or uint16 where a number is above 255.

    Raises:
        ConfigError: If faster-coco-eval is missing.
        ValueError: If a region is none: run lengths are of another size, or corners far outside.
    """
    try:
        from faster_coco_eval import mask as drawing
    except ImportError as error:
        raise ConfigError(INSTALL) from error
    drawn = []
    for annotation in annotations:
        lengths = _region(annotation['segmentation'], size)
        if lengths is not None:
            crowd = bool(annotation.get('iscrowd'))
            number = ignored if crowd else numbers[annotation['category_id']]
            drawn.append((not crowd, -int(drawing.area(lengths)), number, lengths))
    labels = np.full(size, background, np.uint16)
    # Of two that are equally large the later one lies on top.
    for *_, number, lengths in sorted(drawn, key=lambda one: one[:2]):
        labels[drawing.decode(lengths).astype(bool)] = number
    return narrow(labels)


def _region(segmentation: Any, size: tuple[int, int]) -> Any:
    """:func:`_run_lengths`, of what cannot be drawn an error of one kind."""
    try:
        return _run_lengths(segmentation, size)
    # What is no polygon of numbers makes the library raise errors of several kinds.
    except Exception as error:
        reason = f'{error}'.splitlines()[:1] or ['']
        raise ValueError(f'a region is no polygon and no run lengths: {reason[0]}') from error


def _run_lengths(segmentation: Any, size: tuple[int, int]) -> Any:
    """Compressed run lengths of a region; None of a polygon with less than three corners."""
    from faster_coco_eval import mask as drawing

    if isinstance(segmentation, list):
        polygons = [polygon for polygon in segmentation if len(polygon) >= LEAST]
        # Of a corner far outside the library walks all the way, and keeps every step.
        far = FAR * max(size)
        if not all(abs(float(number)) <= far for polygon in polygons for number in polygon):
            raise ValueError(f'a corner of a polygon is more than {far} pixels away')
        return drawing.merge(drawing.frPyObjects(polygons, *size)) if polygons else None
    if tuple(segmentation['size']) != size:
        raise ValueError(
            f'run lengths are of {segmentation["size"]} pixels, and the image is of {list(size)}'
        )
    if isinstance(segmentation['counts'], list):
        if sum(segmentation['counts']) != size[0] * size[1] or min(segmentation['counts']) < 0:
            raise ValueError(f'run lengths do not add up to {size[0]} x {size[1]} pixels')
        return drawing.frPyObjects(segmentation, *size)
    # Damaged ones come out here.
    drawing.decode(segmentation)
    return segmentation


def write_coco_masks(coco: CocoAnnotations, files: Mapping[str, str], folder: Path) -> None:
    """Write a PNG for each image: what is drawn once is read fast, and alike in every epoch.

    Args:
        coco: Annotations.
        files: File as the annotations name it -> path of its mask below the folder.
        folder: Made if it is not there.

    Raises:
        ConfigError: If a region cannot be drawn.
    """

    def write(file: str) -> None:
        target = folder / files[file]
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            mask = coco.mask(file)
        except Exception as error:
            raise ConfigError(f'{file}: its annotations cannot be drawn: {error}') from error
        Image.fromarray(mask).save(target, compress_level=1)

    # Compressing needs no interpreter: threads suffice.
    with ThreadPoolExecutor() as threads:
        for _ in threads.map(write, files):
            pass
