"""``beit-mm transfer``: several tasks of a thousand labelled images each."""

import json
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from ..component import ConfigError
from ..engine.starting.stages import Progress, Stage
from .classifier_runs import Asked, name_of, write_lists
from .filling import config_of
from .lengths import steps_asked
from .output_files import write_table
from .photos import Photos, decodable
from .run_folder import RunFolder
from .starting_weights import Start, start_of
from .sweeping import (
    RATE,
    REPORT,
    check_options,
    images_by_class,
    judged_at_the_end,
    sweep_rates,
    train_once,
)

# Of so many of the labelled images one chooses the rate.
ONE_OF = 5
# What the training on all labels learns from and is tested on.
LOADERS, LIST = ('train', 'val', 'test'), '{}_dataloader.dataset.ann_file'
# Which images a task is tested on, chosen when it begins.
HELD_OUT = 'held_out.txt'
# What is said of the images held out.
TESTED = 'held out, by which nothing was chosen'


class Task(NamedTuple):
    """What came out of a task.

    Attributes:
        group: As the user names it, or ''.
        name: Of its folder.
        rate: The learning rate that was chosen.
        top1: Of the images held out, in per cent.
        held_out: How many.
    """

    group: str
    name: str
    rate: float
    top1: float
    held_out: int


def transfer(
    sources: Sequence[str | Path],
    weights: str | Path,
    out: str | Path = 'work_dirs/transfer',
    *,
    labels: int = 1000,
    sweep: Sequence[float] = (),
    steps: int | None = None,
    size: int | None = None,
    bands: str | None = None,
    value_range: str | None = None,
    no_data: float | None = None,
    resume: bool = False,
    cfg_options: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Fine-tune on a thousand labelled images of each of several tasks.

    VTAB-1k, arXiv 1910.04867, as ViT, arXiv 2010.11929, section 4.1, takes it: the learning rate
    is chosen with 800 of the images, by the other 200; the network is trained on all 1,000 with it,
    and the weights at the end are tested once, on all images held out.

    Args:
        sources: Of each task what :func:`beit_mm.commands.finetuning.finetune` takes; ``GROUP=``
            before it says of which group it is, such as ``natural=pets``.
        weights: What ``beit_mm.load`` takes, or 'none' to start from scratch.
        out: Folder, with one for each task in it, ``transfer.csv`` and ``transfer.json``.
        labels: How many images of a task have labels, in the proportions of its classes.
        sweep: Learning rates to choose from; without, see
            :func:`beit_mm.commands.finetuning.finetune`.
        steps: Of each training.
        size, bands, value_range, no_data: As of ``finetune``.
        resume: Whether to go on in ``out``; what is done is not done again.
        cfg_options: As of ``finetune --sweep``, and no other lists of images.

    Returns:
        Mean top-1 of the tasks of each group, and of all under 'mean', in per cent.

    Raises:
        ConfigError: If a task has fewer images to train with, images with several labels, or has
            begun with other settings.
        SystemExit: If training fails, with the end of its log.
    """
    options = dict(cfg_options or {})
    check_options(options, [LIST.format(loader) for loader in LOADERS])
    steps = steps_asked(steps, None, options)
    asked = Asked(str(weights), steps, size=size, bands=bands, value_range=value_range,
                  no_data=no_data, resume=resume, options=options)  # fmt: skip
    begun_from = start_of(asked.weights)
    tasks = _tasks_of(sources, begun_from, asked)
    chosen = {task: take_labelled(photos, labels) for task, photos in tasks.items()}
    path = Path(out).expanduser().resolve()
    results = []
    for number, ((group, name), photos) in enumerate(tasks.items(), 1):
        print(f'\n{name}, task {number} of {len(tasks)}')
        folder = path / name
        rate, top1, tested = _run_task(
            folder, photos, chosen[group, name], begun_from, asked, sweep
        )
        results.append(Task(group, name, rate, top1, tested))
    means = _means(results)
    _write(path, results, means, labels)
    print(f'\n{_table(results, means)}')
    return means


def take_labelled(photos: Photos, count: int) -> Photos:
    """So many of the images to train with, a fifth of them in the place of those held out.

    Classes have their proportions in both parts, and each at least one image to train with.

    Args:
        photos: Of a task.
        count: Images with labels.

    Raises:
        ConfigError: If there are fewer images, or not two labels for each class.
    """
    classes, train = len(photos.classes), len(photos.train)
    if not classes * 2 <= count <= train:
        raise ConfigError(
            f'--labels is {count}; {photos.root} has {train} images to train with, of {classes} '
            f'classes: it must be from {2 * classes} to {train}'
        )
    labelled = _in_proportion(photos, count)
    kept = _in_proportion(photos._replace(train=labelled), count - count // ONE_OF)
    others = sorted(set(labelled) - set(kept))
    return photos._replace(train=kept, val=decodable(photos.lies_in, others, photos.how))


def _in_proportion(photos: Photos, count: int) -> list[str]:
    """So many images to train with, drawn by chance but always the same; in order."""
    rng, places = random.Random(0), []
    for names in images_by_class(photos).values():
        for place, name in enumerate(rng.sample(names, len(names))):
            # The first of each class comes before all others.
            places.append(((place + 0.5) / len(names) if place else 0.0, name))
    return sorted(name for _, name in sorted(places)[:count])


def _tasks_of(
    sources: Sequence[str | Path], begun_from: Start, asked: Asked
) -> dict[tuple[str, str], Photos]:
    """(group, name) -> images of each task."""
    tasks: dict[tuple[str, str], Photos] = {}
    for given in sources:
        group, _, source = str(given).rpartition('=')
        if Path(given).exists():
            group, source = '', str(given)
        photos = asked.photos_of(source, begun_from)
        if photos.several is not None:
            raise ConfigError(f'{source} gives images several labels; transfer takes one of each')
        name = name_of(source, photos)
        if any(name == other for _, other in tasks):
            raise ConfigError(f'two tasks are called {name}; rename the folder of {source}')
        tasks[group, name] = photos
    return tasks


def _run_task(
    folder: Path,
    photos: Photos,
    labelled: Photos,
    begun_from: Start,
    asked: Asked,
    rates: Sequence[float],
) -> tuple[float, float, int]:
    """The rate of a task, what it comes to on the images held out, and how many these are."""
    run = RunFolder(folder / 'sweep', 'sweep.py')
    start = time.monotonic()
    photos = photos._replace(val=_held_out(folder, photos, run))
    swept = sweep_rates(run, labelled, begun_from, asked, rates, start)
    if (kept := len(swept.photos.train)) != len(labelled.train):
        raise ConfigError(
            f'{run.path} has a sweep with {kept} images to train with; of --labels it would be '
            f'{len(labelled.train)}: give the --labels that it began with, or another --out'
        )
    # More rates by --resume may find a better one, and what was trained with another stays.
    everything = RunFolder(folder / f'all_{swept.best:g}', 'finetune.py')
    stage = Stage(f'All labels, rate {swept.best:g}', everything.marker, 1.0)
    if not (everything.path / REPORT).is_file():
        everything.path.mkdir(parents=True, exist_ok=True)
        cfg = Config.fromfile(run.marker)
        # Those that the sweep began with, whatever has come into the folder since.
        labels = {**photos.labels, **swept.photos.labels}
        all_of_them = photos._replace(
            labels=labels, train=sorted([*swept.photos.train, *swept.photos.val])
        )
        train_list, val_list = write_lists(everything, all_of_them)
        cfg.train_list, cfg.val_list = str(train_list), str(val_list)
        options = {RATE: swept.best, **judged_at_the_end(cfg)}
        for loader, path in zip(LOADERS, (train_list, val_list, val_list), strict=True):
            options[LIST.format(loader)] = str(path)
        text = config_of(cfg.pretty_text, options).pretty_text
        train_once(stage, text, all_of_them, None, Progress([stage]), TESTED)
    report = json.loads((everything.path / REPORT).read_text(encoding='utf-8'))
    if report['top1'] is None:
        raise ConfigError(f'{folder.name}: training on all labels diverges; --sweep lower rates')
    print(f'{folder.name}: {report["top1"]:.1f} % top-1 with the rate {swept.best:g}')
    return swept.best, report['top1'], len(everything.lines_of('val.txt'))


def _held_out(folder: Path, photos: Photos, sweep: RunFolder) -> Sequence[str]:
    """The images that a task is tested on.

    Of one that is gone on with those that it began with, as far as they are there: who is held out
    of a folder that images have come into or gone from may be among those trained with.
    """
    path = folder / HELD_OUT
    if not sweep.begun:
        folder.mkdir(parents=True, exist_ok=True)
        RunFolder(folder, HELD_OUT).write(HELD_OUT, '\n'.join(photos.val) + '\n')
    # Runs from before this file was written have none.
    if not path.is_file():
        return photos.val
    kept = path.read_text(encoding='utf-8').splitlines()
    there = [name for name in kept if name in photos.labels]
    if not there:
        raise ConfigError(
            f'of the images held out when the task in {folder} began, none is given: begin it in '
            'another --out'
        )
    if len(there) < len(kept):
        print(f'{len(kept) - len(there)} of {len(kept)} images held out are gone, and left out')
    return there


def _means(results: Sequence[Task]) -> dict[str, float]:
    """Mean of each group, in the order in which they were named, and of all."""
    by_group: dict[str, list[float]] = {}
    for task in results:
        if task.group:
            by_group.setdefault(task.group, []).append(task.top1)
    groups = {group: sum(values) / len(values) for group, values in by_group.items()}
    return {**groups, 'mean': sum(task.top1 for task in results) / len(results)}


def _table(results: Sequence[Task], means: Mapping[str, float]) -> str:
    heads = ('group', 'task', 'rate', 'top-1')
    rows = [(t.group, t.name, f'{t.rate:g}', f'{t.top1:.2f} %') for t in results]
    rows += [
        ('' if group == 'mean' else group, 'mean of all' if group == 'mean' else 'mean', '',
         f'{mean:.2f} %')
        for group, mean in means.items()
    ]  # fmt: skip
    # Without groups there is no column of them.
    first = 0 if any(t.group for t in results) else 1
    columns = [*zip(heads, *rows, strict=True)][first:]
    widths = [max(map(len, column)) for column in columns]
    return '\n'.join(
        '  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*columns, strict=True)
    )


def _write(path: Path, results: Sequence[Task], means: Mapping[str, float], labels: int) -> None:
    write_table(path / 'transfer.csv', [Task._fields, *results])
    report = dict(
        labels=labels,
        means={group: round(mean, 2) for group, mean in means.items()},
        tasks=[task._asdict() for task in results],
    )
    text = json.dumps(report, indent=2, ensure_ascii=False) + '\n'
    RunFolder(path, 'transfer.json').write('transfer.json', text)
