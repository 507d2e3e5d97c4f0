"""A run that trains a classifier: its config, the lists of its images, its training, its report."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config

from ..component import ConfigError
from ..engine.starting.stages import minutes as as_minutes
from ..visualization import confusion_matrix, draw_confusions, draw_curves
from .choices import Machine, this_machine
from .filling import config_of, fill_recipe, with_options
from .lengths import check_same_folder, choose_length, with_length
from .output_files import write_table
from .photos import Photos
from .run_folder import RunFolder, best_checkpoint, write_bare_weights
from .several_labels import list_of, look_back_at_several, read_list
from .sharded_photos import SHARDED, labelled_photos
from .starting_weights import Start, check_same_weights, values_of_weights
from .trained import load_trained, predict_files

# As many as the paper's fine-tuning of BEiT-B.
EPOCHS = 100
# What is said of the images held out where a run looks at them as it goes on.
CHOSEN_BY = 'held out, by which the best of its checkpoints was chosen'
# Classes whose accuracy the screen shows: the worst and the best.
SHOWN = 5


class Asked(NamedTuple):
    """What a user asks of a run, or of several; see :func:`beit_mm.commands.finetuning.finetune`.

    Attributes:
        weights, steps, minutes, size, multi_label, bands, value_range, no_data, resume: See there.
        options: Settings of the config.
        track: See there.
    """

    weights: str
    steps: int | None = None
    minutes: float | None = None
    size: int | None = None
    multi_label: bool | str | None = None
    bands: str | None = None
    value_range: str | None = None
    no_data: float | None = None
    resume: bool = False
    options: Mapping[str, Any] = {}
    track: str | None = None

    def photos_of(self, source: str | Path, begun_from: Start) -> Photos:
        """The images of a source, read as the user says or as fits the weights.

        Args:
            source: See :func:`beit_mm.commands.finetuning.finetune`.
            begun_from: The weights.

        Raises:
            ConfigError: If there are not two classes with images on both sides.
        """
        choose = begun_from.choose(self.bands, self.value_range, self.no_data)
        return labelled_photos(source, self.multi_label, choose)


def name_of(source: str | Path, photos: Photos) -> str:
    """What the folder of a run is called by."""
    return Path(source).stem if Path(source).is_file() else photos.root.name


def begin_run(
    run: RunFolder, photos: Photos, begun_from: Start, asked: Asked, start: float, runs: int = 0
) -> Photos:
    """Write the config of a run and the lists of its images, or go on with what is there.

    Args:
        run: Its folder.
        photos: To learn from, and held out.
        begun_from: The weights.
        asked: By the user.
        start: When the command began, by ``time.monotonic``.
        runs: How many share the config and the minutes, and go on as they were; 0 of one alone.

    Returns:
        The images of the run; of one that is gone on with those that it had.

    Raises:
        ConfigError: If the run cannot be gone on with so, or a setting cannot be.
    """
    options = dict(asked.options)
    if run.begin(asked.resume):
        known = run.known(
            minutes=asked.minutes,
            size=asked.size,
            bands=asked.bands,
            value_range=asked.value_range,
            no_data=asked.no_data,
        )
        check_same_weights(known.weights, asked.weights)
        check_same_folder(known.data_root, photos.place)
        changes = with_length(options, asked.steps)
        if runs and config_of(known.pretty_text, changes).pretty_text != known.pretty_text:
            raise ConfigError(
                '--steps and --cfg-options cannot be changed by --resume of several runs, which '
                'are alike: leave them out, or begin others in another --out'
            )
        run.change(changes)
        return _photos_of(run, known, photos)
    machine = this_machine()
    with run.removed_if_refused():
        own = values_of_weights(begun_from, photos, machine, asked.size)
        write_lists(run, photos)
        several = ', an image may have several of them' if photos.several is not None else ''
        print(f'{len(photos.train)} images to train with and {len(photos.val)} held out, of '
              f'{len(photos.classes)} classes{several}, from {photos.place}; read as '
              f'{photos.how.line}')  # fmt: skip
        cfg = config_of(text_of(run, photos, machine, own, 1000), options)
        minutes = None if asked.minutes is None else asked.minutes / (runs or 1)
        steps = choose_length(cfg, photos, machine, asked.steps, minutes, start, EPOCHS)
        text = text_of(run, photos, machine, own, steps)
        run.write(run.marker.name, with_options(text, options))
    return photos


def finish_run(run: RunFolder, photos: Photos, start: float, chosen_by: str = CHOSEN_BY) -> str:
    """Write the weights of a run that is trained, what it makes of the images held out, a report.

    Args:
        run: Its folder.
        photos: Of the run.
        start: When it began, by ``time.monotonic``.
        chosen_by: What is said of the images held out.

    Returns:
        What the user is told.
    """
    write_bare_weights(best_checkpoint(run.path / 'finetune'), run.path / 'classifier.pth',
                       run.path / 'finetune.py')  # fmt: skip
    look_back = _look_back if photos.several is None else look_back_at_several
    return look_back(run, photos, start, chosen_by)


def text_of(
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


def write_lists(run: RunFolder, photos: Photos) -> list[Path]:
    """Write which images are trained with, and which are held out, as the data sets read it.

    Returns:
        The two files. One that MMPretrain's ``CustomDataset`` reads has a path and the number of
        its class on each line.
    """
    numbers = {label: index for index, label in enumerate(photos.classes)}
    for side, names in (('train', photos.train), ('val', photos.val)):
        if photos.several is not None:
            run.write(_list(side, photos), list_of(photos, names))
            continue
        lines = [f'{name} {numbers[photos.labels[name]]}' for name in names]
        run.write(_list(side, photos), '\n'.join(lines) + '\n')
    return [run.path / _list(side, photos) for side in ('train', 'val')]


def _list(side: str, photos: Photos) -> str:
    return f'{side}.txt' if photos.several is None else f'{side}.json'


def _photos_of(run: RunFolder, known: Config, given: Photos) -> Photos:
    """The images that a run has been learning from, whatever has come into the folder since.

    Raises:
        ConfigError: If the classes are others now, or an image has another label.
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
        _check_labels(run, {**sides[0], **sides[1]}, given.several)
        return given._replace(
            train=list(sides[0]), val=list(sides[1]), several={**sides[0], **sides[1]}
        )
    train, val = (
        [line.rpartition(' ')[::2] for line in run.lines_of(f'{side}.txt')]
        for side in ('train', 'val')
    )
    labels = {name: classes[int(number)] for name, number in [*train, *val]}
    _check_labels(run, _one_each(labels), _one_each(given.labels))
    return given._replace(
        labels=labels,
        train=[name for name, _ in train],
        val=[name for name, _ in val],
    )


def _check_labels(
    run: RunFolder, known: Mapping[str, Sequence[str]], given: Mapping[str, Sequence[str]]
) -> None:
    """Hold the labels of a run's images against those that they have now; images may be gone.

    Raises:
        ConfigError: If one has others, or none of the images is there any more.
    """
    if not known.keys() & given.keys():
        raise ConfigError(
            f'of the images that the run in {run.path} learns from none is given: begin another '
            'run in another --out'
        )
    for name, labels in known.items():
        now = given.get(name, labels)
        if set(now) != set(labels):
            raise ConfigError(
                f'the label of {name} is {_as_text(now)} now, and {_as_text(labels)} in the run '
                f'in {run.path}: begin another run in another --out'
            )


def _one_each(labels: Mapping[str, str]) -> dict[str, tuple[str]]:
    return {name: (label,) for name, label in labels.items()}


def _as_text(labels: Sequence[str]) -> str:
    return ', '.join(map(repr, labels)) or 'none'


def _look_back(run: RunFolder, photos: Photos, start: float, chosen_by: str) -> str:
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
    write_table(run.path / 'predictions.csv', [('path', 'label', 'predicted', 'score'), *rows])
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
            f'{top1:.1f} % top-1 of the {int(counts.sum())} images {chosen_by}; always the '
            f'commonest class: {100 * counts.sum(axis=1).max() / max(1, counts.sum()):.1f} %',
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
