"""``beit-mm segment``: a segmentor of one's own masks."""

import colorsys
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..component import ConfigError
from ..datasets.decoding import decode_image
from ..engine.starting.stages import Progress, Stage
from ..engine.starting.stages import minutes as as_minutes
from ..visualization import draw_curves, draw_segmentations, read_scalars
from .choices import Machine, this_machine
from .filling import config_of, fill_recipe, with_options
from .how_to_read import PHOTOS
from .lengths import (
    check_dry_run,
    check_length,
    check_same_folder,
    choose_length,
    with_length,
)
from .photos import Photos, existing_folder, find_and_tell, hold_out, short_side
from .run_folder import RunFolder, best_checkpoint, write_bare_weights
from .starting_weights import check_same_weights, values_of_weights
from .trained import load_trained, predict_files

EPOCHS = 100
# EXIF's tag of how an image is turned; from 5 on it lies on its side.
EXIF_ORIENTATION = 0x0112
# Formats that keep no numbers.
LOSSY = ('.jpg', '.jpeg')
# In masks: pixels that belong to no class.
IGNORED = 255
# Of the panel at the end; pixels of the long side.
SHOWN, EDGE = 6, 320


def segment(
    images: str | Path,
    masks: str | Path,
    weights: str | Path,
    out: str | Path | None = None,
    *,
    classes: Sequence[str] | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    size: int | None = None,
    resume: bool = False,
    track: str | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    dry_run: bool = False,
) -> Path:
    """Train a segmentor, starting from pre-trained weights.

    Args:
        images: Folder of images.
        masks: Folder of a .png for each image, under the same name: the number of a class in each
            pixel, 255 for none; or 0 and 255 for background and object.
        weights: What ``beit_mm.load`` takes, or 'none' to start from scratch.
        out: Folder of the run; by default ``work_dirs/<name of the images>_segment``.
        classes: Names of the classes 0, 1, ...; without, as many as the masks show.
        steps, minutes, size, resume, track, cfg_options, dry_run: See
            :func:`beit_mm.commands.finetuning.finetune`; ``size`` is that of a crop.

    Returns:
        The folder, with ``segmentor.pth``, ``segmentations.png`` and ``report.md`` in it.

    Raises:
        ConfigError: If there are no pairs of image and mask, or a choice cannot be.
        SystemExit: If training fails, with the end of its log.
    """
    start = time.monotonic()
    check_length(steps, minutes)
    check_dry_run(dry_run, resume)
    pairs = _Pairs(existing_folder(images), existing_folder(masks))
    label_map, names = _classes(pairs, classes)
    run = RunFolder(out or Path('work_dirs', f'{pairs.images.name}_segment'), 'segment.py')
    machine = this_machine()
    options = dict(cfg_options or {})
    photos = pairs.photos()
    if dry_run:
        own = values_of_weights(str(weights), photos, machine, size)
        values = _values(run, pairs, photos, machine, own, label_map, names)
        print(config_of(_text(values, steps or 1000), options).pretty_text)
        return run.path
    if run.begin(resume):
        known = run.known(minutes=minutes, size=size, classes=classes)
        check_same_weights(known.weights, str(weights))
        check_same_folder(known.image_root, pairs.images)
        check_same_folder(known.mask_root, pairs.masks)
        photos = photos._replace(train=run.lines_of('train.txt'), val=run.lines_of('val.txt'))
        run.change(with_length(options, steps))
    else:
        with run.removed_if_refused():
            own = values_of_weights(str(weights), photos, machine, size)
            values = _values(run, pairs, photos, machine, own, label_map, names)
            for side, stems in (('train', photos.train), ('val', photos.val)):
                run.write(f'{side}.txt', '\n'.join(stems) + '\n')
            print(f'{len(photos.train)} images to train with and {len(photos.val)} held out, from '
                  f'{pairs.images}; classes: {", ".join(names)}')  # fmt: skip
            cfg = config_of(_text(values, 1000), options)
            steps = choose_length(cfg, photos, machine, steps, minutes, start, EPOCHS)
            run.write('segment.py', with_options(_text(values, steps), options))
    stage = Stage('Train a segmentor', run.path / 'segment.py', 1.0)
    run.train(stage, Progress([stage]), track, machine)
    write_bare_weights(best_checkpoint(run.path / 'segment'), run.path / 'segmentor.pth',
                       run.path / 'segment.py')  # fmt: skip
    print(_look_back(run, pairs, photos, start))
    return run.path


class _Pairs:
    """Images and their masks, by the path below both folders without its ending.

    Raises:
        ConfigError: If there are fewer than four, or endings differ.
    """

    def __init__(self, images: Path, masks: Path) -> None:
        self.images, self.masks = images, masks
        found, drawn = find_and_tell(images), find_and_tell(masks)
        stems = {str(Path(name).with_suffix('')): Path(name).suffix for name in found}
        marks = {str(Path(name).with_suffix('')): Path(name).suffix for name in drawn}
        self.stems = sorted(stem for stem in stems if stem in marks)
        if len(self.stems) < 4:
            example = found[0] if found else 'cat.jpg'
            raise ConfigError(
                f'{images} and {masks} have {len(self.stems)} images with a mask; four is the '
                f'least: the mask of {example} is {Path(example).with_suffix(".png")}'
            )
        if left := len(stems) - len(self.stems):
            print(f'{left} of {len(stems)} images have no mask and are left out')
        self.image_ending = _only_ending(images, {stems[stem] for stem in self.stems})
        self.mask_ending = _only_ending(masks, {marks[stem] for stem in self.stems})
        if self.mask_ending.lower() in LOSSY:
            raise ConfigError(
                f'{masks} has masks that end in {self.mask_ending}, which changes the numbers in '
                'them; they must be .png'
            )
        if len(stems) < len(found):
            raise ConfigError(f'{images} has images that differ in their ending alone')

    def photos(self) -> Photos:
        """Every fifth is held out."""
        train, val = hold_out(self.stems, min(200, max(1, len(self.stems) // 5)))
        names = [f'{stem}{self.image_ending}' for stem in train]
        return Photos(self.images, train, val, {}, short_side(self.images, names), PHOTOS)

    def image(self, stem: str) -> Path:
        """The file of an image."""
        return self.images / f'{stem}{self.image_ending}'

    def check_size(self, stem: str, labels: np.ndarray) -> None:
        """Hold the size of a mask against that of its image.

        Raises:
            ConfigError: If they differ.
        """
        with Image.open(self.image(stem)) as image:
            turned = image.getexif().get(EXIF_ORIENTATION, 1) >= 5
            size = image.size if turned else image.size[::-1]
        if labels.shape != size:
            raise ConfigError(
                f'the mask of {self.image(stem)} is {labels.shape[0]} x {labels.shape[1]} pixels '
                f'and the image {size[0]} x {size[1]}; they must be of one size'
            )

    def mask(self, stem: str) -> np.ndarray:
        """The labels of an image, (H, W).

        Raises:
            ConfigError: If it has colours in place of numbers.
        """
        path = self.masks / f'{stem}{self.mask_ending}'
        with Image.open(path) as image:
            labels = np.asarray(image)
        if labels.ndim != 2:
            raise ConfigError(
                f'{path} has {labels.shape[2]} channels; a mask has one, with the number of a '
                'class in each pixel'
            )
        if not 0 <= labels.min() <= labels.max() <= IGNORED:
            raise ConfigError(
                f'{path} has numbers from {labels.min()} to {labels.max()}; classes are 0 to '
                f'{IGNORED - 1}, and {IGNORED} is no class'
            )
        return labels.astype(np.int64)


def _only_ending(folder: Path, endings: set[str]) -> str:
    if len(endings) > 1:
        raise ConfigError(
            f'{folder} has files that end in {" and in ".join(sorted(endings))}; all must end alike'
        )
    return endings.pop()


def _classes(pairs: _Pairs, given: Sequence[str] | None) -> tuple[dict[int, int], list[str]]:
    """Labels that stand for others, and the names of the classes.

    Raises:
        ConfigError: If the masks show one class alone, or more than there are names for.
    """
    seen: set[int] = set()
    for stem in pairs.stems:
        labels = pairs.mask(stem)
        pairs.check_size(stem, labels)
        seen |= set(np.flatnonzero(np.bincount(labels.ravel())).tolist())
    label_map = {}
    if seen == {0, IGNORED}:
        print('masks of 0 and 255: background, and an object, which becomes class 1')
        label_map, seen = {IGNORED: 1}, {0, 1}
    highest = max(seen - {IGNORED}, default=0)
    if len(seen - {IGNORED}) < 2:
        raise ConfigError(
            f'the masks in {pairs.masks} show class {highest} alone; there must be two at least'
        )
    if given is None:
        names = [f'class {number}' for number in range(highest + 1)]
        return label_map, ['background', 'object'] if label_map else names
    if len(given) <= highest:
        raise ConfigError(
            f'--classes has {len(given)} names, and the masks have the number {highest}: there '
            f'must be {highest + 1}, from 0 on'
        )
    return label_map, list(given)


def _values(
    run: RunFolder,
    pairs: _Pairs,
    photos: Photos,
    machine: Machine,
    own: Mapping[str, Any],
    label_map: dict[int, int],
    names: list[str],
) -> dict[str, Any]:
    """Variables of ``own/segment.py``."""
    # Short side of an image: as much as a crop, or half as much again.
    crop = own['image_size']
    with Image.open(pairs.image(photos.train[0])) as image:
        ratio = max(image.size) / min(image.size)
        wide = image.width >= image.height
    short = min(photos.short_side, round(1.4 * crop))
    long = round(short * ratio)
    batch = max(2, min(16 // machine.processes, own['batch_size'] // 4))
    seen = batch * machine.processes
    rate = 1e-3 * min(1.0, seen / 16 * 768 / own['embed_dims'])
    values = dict(
        image_root=str(pairs.images),
        mask_root=str(pairs.masks),
        image_ending=pairs.image_ending,
        mask_ending=pairs.mask_ending,
        train_list=str(run.path / 'train.txt'),
        val_list=str(run.path / 'val.txt'),
        classes=names,
        palette=colours(len(names)),
        label_map=label_map or None,
        stride=max(own['patch_size'], crop * 3 // 4),
        scale=(long, short) if wide else (short, long),
        learning_rate=float(f'{rate:.1e}'),
        num_workers=machine.workers,
    )
    return {**values, **own, 'batch_size': batch}


def _text(values: Mapping[str, Any], steps: int) -> str:
    """The config of the run."""
    lengths = dict(
        max_iters=steps,
        warmup_iters=max(1, steps // 10),
        val_interval=max(1, -(-steps // 4)),
    )
    return fill_recipe('own/segment.py', {**values, **lengths}, 'A beit-mm segment.')


def colours(count: int) -> list[list[int]]:
    """As many colours, black first, the others apart from each other."""
    found = [[0, 0, 0]]
    for index in range(1, count):
        # Steps of the golden ratio never come close to one another for long.
        hue, value = index * 0.618034 % 1, (0.95, 0.7)[index // 8 % 2]
        found.append([round(255 * c) for c in colorsys.hsv_to_rgb(hue, 0.75, value)])
    return found


def _look_back(run: RunFolder, pairs: _Pairs, photos: Photos, start: float) -> str:
    """Draw some of what was held out, write the report, and return what the user is told."""
    trained = load_trained(run.path)
    palette = trained.cfg.val_dataloader.dataset.metainfo.palette
    label_map = trained.cfg.label_map or {}
    rows: tuple[list, list, list] = ([], [], [])
    shown = photos.val[:: max(1, len(photos.val) // SHOWN)][:SHOWN]
    files = [pairs.image(stem) for stem in shown]
    for (_, sample), stem in zip(predict_files(trained, files), shown, strict=True):
        if sample is None:
            continue
        truth = pairs.mask(stem)
        for old, new in label_map.items():
            truth = np.where(truth == int(old), new, truth)
        predicted = sample.pred_sem_seg.data[0].cpu().numpy()
        for row, picture in zip(
            rows, (np.asarray(decode_image(pairs.image(stem))), truth, predicted), strict=True
        ):
            row.append(_reduced(picture))
    draw_segmentations(*rows, trained.classes, palette, run.path / 'segmentations.png')
    scalars = read_scalars(run.path / 'segment')
    draw_curves({'loss': (run.path / 'segment', 'loss'),
                 'mIoU of the held out': (run.path / 'segment', 'mIoU')},
                run.path / 'curves.png')  # fmt: skip
    best = max((value for _, value in scalars.get('mIoU', [])), default=float('nan'))
    seconds = time.monotonic() - start
    figures = dict(mIoU=best, seconds=round(seconds, 1), classes=trained.classes)
    run.write('report.json', json.dumps(figures, indent=2, ensure_ascii=False) + '\n')
    told = '\n'.join(
        [
            f'{best:.1f} mIoU on the {len(photos.val)} images held out',
            f'{as_minutes(seconds)} in all',
            'next:',
            f'  look                {run.path}: segmentations.png, curves.png',
            f'  paint masks         beit-mm predict {run.quoted} IMAGES',
            f'  take it elsewhere   beit-mm export {run.quoted} segmentor.onnx',
        ]
    )
    run.write('report.md', f'# What came out\n\n```\n{told}\n```\n')
    return f'\n{told}'


def _reduced(picture: np.ndarray) -> np.ndarray:
    """Every so many pixels, so that a panel is no larger than a page."""
    step = max(1, max(picture.shape[:2]) // EDGE)
    return picture[::step, ::step]
