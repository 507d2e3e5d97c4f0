"""``beit-mm finetune``: a classifier of one's own classes."""

import csv
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from ..component import ConfigError
from ..engine.starting.stages import Progress, Stage
from ..engine.starting.stages import minutes as as_minutes
from ..visualization import confusion_matrix, draw_confusions, draw_curves
from .choices import Machine, this_machine
from .filling import config_of, fill_recipe, with_options
from .lengths import (
    check_dry_run,
    check_length,
    check_same_folder,
    choose_length,
    with_length,
)
from .photos import Photos, photos_with_labels
from .run_folder import RunFolder, best_checkpoint, write_bare_weights
from .several_labels import list_of, look_back_at_several, read_list
from .sharded_photos import SHARDED, sharded_with_labels
from .starting_weights import check_same_weights, start_of, values_of_weights
from .trained import load_trained, predict_files

# As many as the paper's fine-tuning of BEiT-B.
EPOCHS = 100
# Classes whose accuracy the screen shows: the worst and the best.
SHOWN = 5


def finetune(
    source: str | Path,
    weights: str | Path,
    out: str | Path | None = None,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    size: int | None = None,
    multi_label: bool | str | None = None,
    bands: str | None = None,
    value_range: str | None = None,
    no_data: float | None = None,
    resume: bool = False,
    track: str | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    dry_run: bool = False,
) -> Path:
    """Train a classifier, starting from pre-trained weights.

    Args:
        source: A folder of images for each class; ``train`` and ``val`` with such folders; or a
            table, .csv or .tsv, with the columns path and label, and split if it says who is held
            out; or with a column of 0 and 1 for each class.
        weights: What ``beit_mm.load`` takes, or 'none' to start from scratch.
        out: Folder of the run; by default ``work_dirs/<name of the source>_finetune``.
        steps: Of the optimizer.
        minutes: For all of it, in place of ``steps``.
        size: Height and width of what the network sees; by default that of the weights.
        multi_label: Of a table, whether an image may have several labels, or what parts these in a
            cell, such as ','; without, the table tells.
        bands, value_range, no_data: See :func:`beit_mm.commands.how_to_read.how_to_read`; without,
            those of the weights.
        resume: Whether to go on with the run in ``out``.
        track: Where else the figures go, such as 'tensorboard'.
        cfg_options: Settings of the config, which win over all others.
        dry_run: Whether to print the config alone.

    Returns:
        The folder, with ``classifier.pth``, ``confusion.png``, ``predictions.csv`` of the images
        held out, and ``report.md`` in it. Where images have several labels, ``precision.png`` has
        the average precision of each in the place of ``confusion.png``.

    Raises:
        ConfigError: If there are not two classes, or a choice of the user's cannot be.
        SystemExit: If training fails, with the end of its log.
    """
    start = time.monotonic()
    check_length(steps, minutes)
    check_dry_run(dry_run, resume)
    begun_from = start_of(str(weights))
    choose = begun_from.choose(bands, value_range, no_data)
    photos = sharded_with_labels(source, choose) or photos_with_labels(source, multi_label, choose)
    name = Path(source).stem if Path(source).is_file() else photos.root.name
    run = RunFolder(out or Path('work_dirs', f'{name}_finetune'), 'finetune.py')
    machine = this_machine()
    options = dict(cfg_options or {})
    if dry_run:
        own = values_of_weights(begun_from, photos, machine, size)
        print(config_of(_text(run, photos, machine, own, steps or 1000), options).pretty_text)
        return run.path
    if run.begin(resume):
        known = run.known(
            minutes=minutes, size=size, bands=bands, value_range=value_range, no_data=no_data
        )
        check_same_weights(known.weights, str(weights))
        check_same_folder(known.data_root, photos.place)
        photos = _photos_of(run, known, photos)
        run.change(with_length(options, steps))
    else:
        with run.removed_if_refused():
            own = values_of_weights(begun_from, photos, machine, size)
            _write_lists(run, photos)
            several = ', an image may have several of them' if photos.several is not None else ''
            print(f'{len(photos.train)} images to train with and {len(photos.val)} held out, of '
                  f'{len(photos.classes)} classes{several}, from {photos.place}; read as '
                  f'{photos.how.line}')  # fmt: skip
            cfg = config_of(_text(run, photos, machine, own, 1000), options)
            steps = choose_length(cfg, photos, machine, steps, minutes, start, EPOCHS)
            run.write('finetune.py', with_options(_text(run, photos, machine, own, steps), options))
    stage = Stage('Fine-tune', run.path / 'finetune.py', 1.0)
    run.train(stage, Progress([stage]), track, machine)
    write_bare_weights(best_checkpoint(run.path / 'finetune'), run.path / 'classifier.pth',
                       run.path / 'finetune.py')  # fmt: skip
    print((_look_back if photos.several is None else look_back_at_several)(run, photos, start))
    return run.path


def _text(
    run: RunFolder, photos: Photos, machine: Machine, own: Mapping[str, Any], steps: int
) -> str:
    """The config of the run."""
    batch = own['batch_size'] * machine.processes
    rate = 4e-3 * np.sqrt(batch / 1024) * 768 / own['embed_dims']
    values = dict(
        data_root=photos.place,
        **(SHARDED if photos.shards else {}),
        train_list=str(run.path / _list('train', photos)),
        val_list=str(run.path / _list('val', photos)),
        classes=photos.classes,
        several_labels=photos.several is not None,
        learning_rate=float(f'{min(2e-3, rate):.1e}'),
        max_iters=steps,
        warmup_iters=max(1, steps // 10),
        val_interval=max(1, -(-steps // 4)),
        num_workers=machine.workers,
    )
    return fill_recipe('own/finetune.py', {**values, **own}, 'A beit-mm finetune.')


def _write_lists(run: RunFolder, photos: Photos) -> None:
    """A path and the number of its class on each line, as MMPretrain's ``CustomDataset`` reads."""
    numbers = {label: index for index, label in enumerate(photos.classes)}
    for side, names in (('train', photos.train), ('val', photos.val)):
        if photos.several is not None:
            run.write(_list(side, photos), list_of(photos, names))
            continue
        lines = [f'{name} {numbers[photos.labels[name]]}' for name in names]
        run.write(_list(side, photos), '\n'.join(lines) + '\n')


def _list(side: str, photos: Photos) -> str:
    return f'{side}.txt' if photos.several is None else f'{side}.json'


def _photos_of(run: RunFolder, known: Config, given: Photos) -> Photos:
    """The images that a run has been learning from, whatever has come into the folder since.

    Raises:
        ConfigError: If the classes are others now.
    """
    classes = list(known.classes)
    if set(given.classes) != set(classes):
        raise ConfigError(
            f'{given.root} has the classes {", ".join(given.classes)}, and the run in {run.path} '
            f'{", ".join(classes)}: begin another run in another --out'
        )
    if (given.several is not None) != known.get('several_labels', False):
        raise ConfigError(
            f'{given.root} and the run in {run.path} are not of one kind: of one, images have '
            'several labels, of the other one each; begin another run in another --out'
        )
    if given.several is not None:
        sides = [read_list(run.path / f'{side}.json', classes) for side in ('train', 'val')]
        return given._replace(
            train=list(sides[0]), val=list(sides[1]), several={**sides[0], **sides[1]}
        )
    train, val = (
        [line.rpartition(' ')[::2] for line in run.lines_of(f'{side}.txt')]
        for side in ('train', 'val')
    )
    return given._replace(
        labels={name: classes[int(number)] for name, number in [*train, *val]},
        train=[name for name, _ in train],
        val=[name for name, _ in val],
    )


def _look_back(run: RunFolder, photos: Photos, start: float) -> str:
    """Predict what was held out, write pictures and report, and return what the user is told."""
    trained = load_trained(run.path)
    numbers = {name: index for index, name in enumerate(trained.classes)}
    rows, truths, predictions = [], [], []
    predicted = predict_files(trained, photos.held_out, photos.inside)
    for (_, sample), name in zip(predicted, photos.val, strict=True):
        if sample is None:
            continue
        truths.append(numbers[photos.labels[name]])
        predictions.append(int(sample.pred_label))
        score = float(sample.pred_score.max())
        rows.append((name, photos.labels[name], trained.classes[predictions[-1]], f'{score:.4f}'))
    with (run.path / 'predictions.csv').open('w', encoding='utf-8', newline='') as file:
        csv.writer(file).writerows([('path', 'label', 'predicted', 'score'), *rows])
    counts = confusion_matrix(truths, predictions, len(trained.classes))
    draw_confusions(counts, trained.classes, run.path / 'confusion.png')
    draw_curves({'loss': (run.path / 'finetune', 'loss'),
                 'top-1 of the held out, %': (run.path / 'finetune', 'accuracy/top1')},
                run.path / 'curves.png')  # fmt: skip
    accuracy = 100 * counts.diagonal() / np.maximum(counts.sum(axis=1), 1)
    top1 = 100 * counts.diagonal().sum() / max(1, counts.sum())
    by_class = {name: round(float(a), 2) for name, a in zip(trained.classes, accuracy, strict=True)}
    seconds = time.monotonic() - start
    figures = dict(top1=round(float(top1), 2), seconds=round(seconds, 1), by_class=by_class)
    run.write('report.json', json.dumps(figures, indent=2, ensure_ascii=False) + '\n')
    told = '\n'.join(
        [
            f'{top1:.1f} % top-1 of the {int(counts.sum())} images held out, by which the best of '
            'its checkpoints was chosen; always the commonest '
            f'class: {100 * counts.sum(axis=1).max() / max(1, counts.sum()):.1f} %',
            *_best_and_worst(accuracy, counts, trained.classes),
            f'{as_minutes(seconds)} in all',
            'next:',
            f'  look                {run.path}: confusion.png, curves.png, predictions.csv',
            f'  name an image       beit-mm predict {run.quoted} IMAGE',
            f'  take it elsewhere   beit-mm export {run.quoted} classifier.onnx',
        ]
    )
    table = [f'| {name} | {a:.1f} % | {n} |' for name, a, n in
             zip(trained.classes, accuracy, counts.sum(axis=1), strict=True)]  # fmt: skip
    head = ['| class | top-1 | images |', '| --- | --- | --- |']
    run.write('report.md', '\n'.join(['# What came out', '', '```', told, '```', '', *head, *table])
              + '\n')  # fmt: skip
    return f'\n{told}'


def _best_and_worst(accuracy: np.ndarray, counts: np.ndarray, classes: list[str]) -> list[str]:
    """A line for each class, or for the worst and the best of many."""
    order = np.argsort(accuracy, kind='stable')
    if len(order) > 2 * SHOWN:
        order = np.concatenate([order[:SHOWN], order[-SHOWN:]])
    width = max(len(classes[index]) for index in order)
    lines = [f'  {classes[i]:{width}}  {accuracy[i]:5.1f} %  of {counts[i].sum()}' for i in order]
    if len(classes) > 2 * SHOWN:
        lines.insert(SHOWN, f'  ... {len(classes) - 2 * SHOWN} more in report.md')
    return lines
