"""Several trainings that differ in their learning rate: which is best, by images held back."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mmengine.config import Config

from ..component import ConfigError
from ..engine.starting.stages import Progress, Stage
from .choices import this_machine
from .classifier_runs import Asked, begin_run, finish_run
from .filling import config_of
from .holding_out import hold_out, hold_out_several, sides_of_stacks
from .output_files import write_table
from .photos import Photos, decodable
from .run_folder import RunFolder
from .starting_weights import Start

RATE = 'optim_wrapper.optimizer.lr'
# Of a run whose last weights count: when it looks at what is held back, saves, and keeps the best.
AT_THE_END = (
    'train_cfg.val_interval',
    'default_hooks.checkpoint.interval',
    'default_hooks.checkpoint.save_best',
)
# Without rates: so many times the one that is taken without a sweep.
TIMES = (1 / 3, 1, 3)
# What is there once a rate is done.
REPORT = 'report.json'
HELD_BACK = 'held back, of those to train with'
# Of a run that ended itself as its loss was no number.
DIVERGED = 'had a loss or gradient that is not finite'


class Swept(NamedTuple):
    """What came out of a sweep.

    Attributes:
        figures: Rate -> top-1 of the images held back, or mean average precision, in per cent; None
            where training diverged. In order.
        metric: 'top-1' or 'mAP'.
        photos: That it was made with, those held back under ``val``.
        steps: Of each training.
    """

    figures: dict[float, float | None]
    metric: str
    photos: Photos
    steps: int

    @property
    def best(self) -> float:
        """The rate with the highest figure; of equals the lowest. None that diverged is it."""
        trained = {rate: figure for rate, figure in self.figures.items() if figure is not None}
        return max(trained, key=lambda rate: (trained[rate], -rate))


def hold_back(photos: Photos) -> Photos:
    """The images to train with alone, a fifth of each class held out of them.

    What is held out of all is not looked at, so that it can judge what a sweep has chosen.

    Raises:
        ConfigError: If a class has one image to train with.
    """
    labels = photos.several or {name: (label,) for name, label in photos.labels.items()}
    labels = {name: labels[name] for name in photos.train}
    if sides := sides_of_stacks(labels):
        train, val = ([n for n in photos.train if sides[n] == s] for s in ('train', 'val'))
    elif photos.several is not None:
        train, val = hold_out_several(labels)
    else:
        train, val = [], []
        for label, names in images_by_class(photos).items():
            if len(names) < 2:
                raise ConfigError(
                    f'class {label!r} has {len(names)} image to train with; for a sweep, which '
                    'holds a part of them back, two is the least'
                )
            kept, held_back = hold_out(names, len(names) // 5 or 1)
            train += kept
            val += held_back
    return photos._replace(train=train, val=decodable(photos.lies_in, val, photos.how))


def images_by_class(photos: Photos) -> dict[str, list[str]]:
    """Class -> its images to train with."""
    by_class: dict[str, list[str]] = {label: [] for label in photos.classes}
    for name in photos.train:
        by_class[photos.labels[name]].append(name)
    return by_class


def sweep_rates(
    run: RunFolder,
    photos: Photos,
    begun_from: Start,
    asked: Asked,
    rates: Sequence[float],
    start: float,
    others: int = 0,
) -> Swept:
    """Train with each of several rates, and see what each makes of images held back.

    All begin with the same weights and make as many steps; what counts is the last of each, as
    when the rate is taken for all images. ViT, arXiv 2010.11929, appendix B.1.1, sweeps 0.003,
    0.01, 0.03 and 0.06. Each has a folder as of ``beit-mm finetune``, ``rate_0.01`` and so on;
    ``sweep.csv`` and ``sweep.json`` have the figures, those of a sweep that is gone on with too.
    A rate that is done is not done again.

    Args:
        run: Folder of the sweep.
        photos: Of :func:`hold_back`.
        begun_from: The weights.
        asked: By the user.
        rates: Above 0; without any, three around the one that ``finetune`` takes.
        start: When the command began, by ``time.monotonic``.
        others: How many more trainings share its minutes.

    Raises:
        ConfigError: If a rate is no number above 0, none of them can be trained with, or an option
            is one that the sweep sets.
        SystemExit: If a training fails otherwise than by diverging.
    """
    if any(not 0 < rate < float('inf') for rate in rates):
        raise ConfigError(f'--sweep is {" ".join(map(str, rates))}; each must be above 0')
    check_options(asked.options)
    # Folders are called by six digits.
    rates = sorted({float(f'{rate:g}') for rate in rates})
    runs = others + (len(rates) or len(TIMES))
    photos = begin_run(run, photos, begun_from, asked, start, runs)
    cfg = Config.fromfile(run.marker)
    usual = cfg.optim_wrapper.optimizer.lr
    chosen = rates or [float(f'{times * usual:.1e}') for times in TIMES]
    stages = {
        rate: Stage(f'Rate {rate:g}', run.path / f'rate_{rate:g}' / 'finetune.py', 1.0)
        for rate in chosen
    }
    left = [rate for rate in chosen if not (stages[rate].config.parent / REPORT).is_file()]
    progress = Progress([stages[rate] for rate in left])
    for rate in left:
        text = config_of(cfg.pretty_text, {RATE: rate, **judged_at_the_end(cfg)}).pretty_text
        train_once(stages[rate], text, photos, asked.track, progress, HELD_BACK)
    metric = 'top1' if photos.several is None else 'mAP'
    reports = {float(path.parent.name.removeprefix('rate_')): json.loads(path.read_text('utf-8'))
               for path in run.path.glob(f'rate_*/{REPORT}')}  # fmt: skip
    figures = {rate: reports[rate][metric] for rate in sorted(reports)}
    if all(figure is None for figure in figures.values()):
        tried = ' '.join(f'{rate:g}' for rate in figures)
        raise ConfigError(f'--sweep is {tried}: training diverges with each; take lower ones')
    swept = Swept(figures, {'top1': 'top-1'}.get(metric, metric), photos,
                  cfg.train_cfg.max_iters)  # fmt: skip
    _write(run, swept)
    return swept


def check_options(options: Mapping[str, Any], others: Sequence[str] = ()) -> None:
    """Hold the user's settings against what a sweep, or a command that has one, sets.

    Args:
        options: Settings of the config.
        others: Keys of what else is set.

    Raises:
        ConfigError: If there is one of these.
    """
    if taken := [key for key in (RATE, *AT_THE_END, *others) if key in options]:
        raise ConfigError(f'--cfg-options has {", ".join(taken)}; the command sets it')


def judged_at_the_end(cfg: Config) -> dict[str, Any]:
    """Options of a run whose last weights count, not the best on the way; it is still resumed."""
    steps = cfg.train_cfg.max_iters
    return dict(zip(AT_THE_END, (steps, max(1, -(-steps // 4)), None), strict=True))


def train_once(
    stage: Stage, text: str, photos: Photos, track: str | None, progress: Progress, chosen_by: str
) -> str:
    """Train in the folder of a stage, or go on with it; tell what came out.

    Args:
        stage: Its config, ``finetune.py``, need not be there.
        text: Of that.
        photos: Of the run.
        track: See :func:`beit_mm.commands.finetuning.finetune`.
        progress: Of all stages.
        chosen_by: See :func:`beit_mm.commands.classifier_runs.finish_run`.

    Raises:
        SystemExit: If training fails otherwise than by diverging.
    """
    start = time.monotonic()
    run = RunFolder(stage.config.parent, 'finetune.py')
    run.path.mkdir(parents=True, exist_ok=True)
    if not (run.path / 'finetune' / 'last_checkpoint').is_file():
        run.write('finetune.py', text)
    try:
        run.train(stage, progress, track, this_machine())
    except SystemExit as error:
        if DIVERGED not in str(error.code):
            raise
        progress.end()
        run.write(REPORT, json.dumps(dict(top1=None, mAP=None, diverged=True)) + '\n')
        return 'training diverged'
    return finish_run(run, photos, start, chosen_by)


def table_of(swept: Swept) -> str:
    """A line for each rate, and whether one should look further."""
    width = max(len('rate'), *(len(f'{rate:g}') for rate in swept.figures))
    count = len(swept.photos.val)
    lines = [f'{"rate":>{width}}  {swept.metric} of {count} images held back of those to train '
             f'with, after {swept.steps} steps']  # fmt: skip
    for rate, figure in swept.figures.items():
        said = 'diverged' if figure is None else f'{figure:6.2f} %'
        lines.append(f'{rate:>{width}g}  {said}{"  best" if rate == swept.best else ""}')
    ends = min(swept.figures), max(swept.figures)
    if len(swept.figures) > 1 and swept.best in ends:
        further = swept.best / 3 if swept.best == ends[0] else swept.best * 3
        which = 'lowest' if swept.best == ends[0] else 'highest'
        lines.append(f'the best is the {which}: {further:.1g} may be better still (--resume)')
    return '\n'.join(lines)


def _write(run: RunFolder, swept: Swept) -> None:
    rows = [(rate, '' if figure is None else figure) for rate, figure in swept.figures.items()]
    write_table(run.path / 'sweep.csv', [('rate', swept.metric), *rows])
    figures = [dict(rate=rate, figure=figure) for rate, figure in swept.figures.items()]
    report = dict(metric=swept.metric, steps=swept.steps, held_back=len(swept.photos.val),
                  best=swept.best, rates=figures)  # fmt: skip
    run.write('sweep.json', json.dumps(report, indent=2) + '\n')
