"""``beit-mm segment``: a segmentor of one's own masks."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..component import ConfigError
from ..datasets.coco_masks import CocoAnnotations, read_coco, write_coco_masks
from ..datasets.reading.opening import size_of
from ..engine.starting.stages import Progress, Stage
from ..engine.starting.stages import minutes as as_minutes
from ..visualization import draw_curves, draw_segmentations, read_scalars
from .choices import Machine, this_machine
from .filling import config_of, fill_recipe, with_options
from .how_to_read import picture_of
from .label_numbers import Numbering, classes_of_coco, number_classes
from .lengths import (
    check_dry_run,
    check_same_folder,
    choose_length,
    steps_asked,
    with_length,
)
from .mask_pairs import MaskPairs, find_pairs, pairs_of_coco
from .photos import Photos, existing_folder
from .run_folder import RunFolder, best_checkpoint, write_bare_weights
from .starting_weights import check_same_weights, start_of, values_of_weights
from .trained import load_trained, predict_files, truth_of

EPOCHS = 100
# Which .json the masks of a run are drawn of.
ANNOTATIONS = 'annotations.txt'
# Of the panel at the end; pixels of the long side.
SHOWN, EDGE = 6, 320


def segment(
    images: str | Path,
    masks: str | Path,
    weights: str | Path,
    out: str | Path | None = None,
    *,
    classes: Sequence[str] | None = None,
    colors: str | Path | None = None,
    ignore: Sequence[str | int] | None = None,
    divide_by: int | None = None,
    bands: str | None = None,
    value_range: str | None = None,
    no_data: float | None = None,
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
        masks: Folder of a mask for each image, under the same name: the number of a class in each
            pixel, 255 for none; 0 and 255 for background and object; or a colour for each class.
            Or a .json of instances, as COCO has it, of which masks are drawn.
        weights: What ``beit_mm.load`` takes, or 'none' to start from scratch.
        out: Folder of the run; by default ``work_dirs/<name of the images>_segment``.
        classes: Names of the classes 0, 1, ..., of annotations those of categories that are
            wanted; without, as many as the masks show, or those of a
            classes.txt or labels.txt beside the masks.
        colors: Table with the colour of each class; without, one beside the masks, or the colours
            that they show.
        ignore: Numbers, or colours such as '#000000', that are no class; without, -1, 255 and
            65535.
        divide_by: 1000, where 26001 is the first of class 26.
        bands, value_range, no_data, steps, minutes, size, resume, track, cfg_options, dry_run: See
            :func:`beit_mm.commands.finetuning.finetune`; ``size`` is that of a crop.

    Returns:
        The folder, with ``segmentor.pth``, ``segmentations.png`` and ``report.md`` in it.

    Raises:
        ConfigError: If there are no pairs of image and mask, or a choice cannot be.
        SystemExit: If training fails, with the end of its log.
    """
    start = time.monotonic()
    options = dict(cfg_options or {})
    steps = steps_asked(steps, minutes, options)
    check_dry_run(dry_run, resume, minutes)
    root = existing_folder(images)
    run = RunFolder(out or Path('work_dirs', f'{root.name}_segment'), 'segment.py')
    coco = _coco(masks, classes, colors, ignore, divide_by)
    drawn: dict[str, str] = {}
    if coco is not None:
        pairs, drawn = pairs_of_coco(root, coco, run.path / 'masks')
    else:
        pairs = find_pairs(root, existing_folder(masks))
    begun = not dry_run and run.begin(resume)
    if coco is not None and not (begun or dry_run) and not (run.path / ANNOTATIONS).is_file():
        run.check_free(pairs.masks.name)
    # Of a run that is gone on with the config says it.
    numbering = None if begun else _numbering(pairs, coco, classes, colors, ignore, divide_by)
    machine = this_machine()
    begun_from = start_of(str(weights))
    photos = pairs.photos(begun_from.choose(bands, value_range, no_data))
    if numbering is None:
        known = run.known(
            minutes=minutes, size=size, classes=classes, colors=colors, ignore=ignore,
            divide_by=divide_by, bands=bands, value_range=value_range, no_data=no_data,
        )  # fmt: skip
        check_same_weights(known.weights, str(weights))
        check_same_folder(known.image_root, pairs.images)
        check_same_folder(known.mask_root, pairs.masks)
        # Runs from before this file was written have none.
        if coco is not None and (run.path / ANNOTATIONS).is_file():
            check_same_folder(run.lines_of(ANNOTATIONS)[0], Path(masks).expanduser())
        val = pairs.decodable(run.lines_of('val.txt'), photos.how)
        photos = photos._replace(train=run.lines_of('train.txt'), val=val)
        run.write('val.txt', '\n'.join(val) + '\n')
        run.change(with_length(options, steps))
    elif dry_run:
        own = values_of_weights(begun_from, photos, machine, size)
        values = _values(run, pairs, photos, machine, own, numbering)
        print(config_of(_text(values, steps or 1000), options).pretty_text)
        return run.path
    else:
        photos = photos._replace(val=pairs.decodable(photos.val, photos.how))
        with run.removed_if_refused():
            own = values_of_weights(begun_from, photos, machine, size)
            values = _values(run, pairs, photos, machine, own, numbering)
            if coco is not None:
                # First, as it says that the masks are drawn.
                run.write(ANNOTATIONS, f'{Path(masks).expanduser().resolve()}\n')
                run.note(pairs.masks)
                write_coco_masks(coco, drawn, pairs.masks)
            for side, stems in (('train', photos.train), ('val', photos.val)):
                run.write(f'{side}.txt', '\n'.join(stems) + '\n')
            print(f'{len(photos.train)} images to train with and {len(photos.val)} held out, from '
                  f'{pairs.images}; classes: {", ".join(numbering.names)}; read '
                  f'as {photos.how.line}; brought to {values["scale"][0]} x {values["scale"][1]} '
                  f'pixels, from {photos.short_side} on the short side')  # fmt: skip
            cfg = config_of(_text(values, 1000), options)
            steps = choose_length(cfg, photos, machine, steps, minutes, start, EPOCHS)
            run.write('segment.py', with_options(_text(values, steps), options))
    stage = Stage('Train a segmentor', run.path / 'segment.py', 1.0)
    run.train(stage, Progress([stage]), track, machine)
    write_bare_weights(best_checkpoint(run.path / 'segment'), run.path / 'segmentor.pth',
                       run.path / 'segment.py')  # fmt: skip
    print(_look_back(run, pairs, photos, start))
    return run.path


def _coco(masks: str | Path, classes: Sequence[str] | None, *others: Any) -> CocoAnnotations | None:
    """Annotations, if there is a .json in the place of masks."""
    path = Path(masks).expanduser()
    if path.suffix.lower() != '.json' or not path.is_file():
        return None
    if any(other is not None for other in others):
        raise ConfigError('--colors, --ignore and --divide-by are of masks, and not of annotations')
    coco = read_coco(path, classes)
    for line in coco.said:
        print(f'{path}: {line}')
    return coco


def _numbering(
    pairs: MaskPairs,
    coco: CocoAnnotations | None,
    classes: Sequence[str] | None,
    colors: str | Path | None,
    ignore: Sequence[str | int] | None,
    divide_by: int | None,
) -> Numbering:
    """The classes of annotations, or of masks."""
    if coco is not None:
        return classes_of_coco(coco)
    return number_classes(pairs, classes, colors, ignore, divide_by)


def _values(
    run: RunFolder,
    pairs: MaskPairs,
    photos: Photos,
    machine: Machine,
    own: Mapping[str, Any],
    numbering: Numbering,
) -> dict[str, Any]:
    """Variables of ``own/segment.py``."""
    # Short side of an image: as much as a crop, or half as much again.
    crop = own['image_size']
    height, width = size_of(pairs.image(photos.train[0]))
    ratio, wide = max(height, width) / min(height, width), width >= height
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
        classes=numbering.names,
        palette=numbering.palette,
        **numbering.values,
        stride=max(own['patch_size'], crop * 3 // 4),
        scale=(long, short) if wide else (short, long),
        photo_side=photos.short_side,
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


def _look_back(run: RunFolder, pairs: MaskPairs, photos: Photos, start: float) -> str:
    """Draw some of what was held out, write the report, and return what the user is told."""
    trained = load_trained(run.path)
    palette = trained.cfg.val_dataloader.dataset.metainfo.palette
    truth = truth_of(trained)
    rows: tuple[list, list, list] = ([], [], [])
    shown = photos.val[:: max(1, len(photos.val) // SHOWN)][:SHOWN]
    files = [pairs.image(stem) for stem in shown]
    for (_, sample), stem in zip(predict_files(trained, files), shown, strict=True):
        if sample is None:
            continue
        predicted = sample.pred_sem_seg.data[0].cpu().numpy()
        for row, picture in zip(
            rows,
            (picture_of(pairs.image(stem), photos.how), truth(pairs.mask(stem)), predicted),
            strict=True,
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
