"""Ranges of pixels that a config leaves to its images, measured once and written into it."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS

from ...checkpoints import CheckpointError, locate, read_about, read_checkpoint
from ...checkpoints.run_settings import run_settings
from ...checkpoints.writing import write_whole
from ...component import ConfigError, in_a_line, innermost
from ...datasets.reading.choosing import TO_MEASURE
from ...datasets.reading.known_formats import ENDINGS_OF_PHOTOS
from ...datasets.reading.measuring import (
    MOST_ASKED,
    MOST_LOOKED_AT,
    Looked,
    look_at_some,
    measure,
    spread,
)
from ...datasets.sources.photo_source import photo_source
from ..checking.bands_check import taking_8_bits
from ..checking.config_check import enter_scope
from ..checking.names_check import LOADERS

# In the work directory: what the range was asked as, and what it was.
FILE = 'value_range.json'
# Name of an image, and what gives its file or what is in it.
Image = tuple[str, Callable[[], str | bytes]]


def measure_ranges(cfg: Config, mode: str) -> str | None:
    """Put numbers where a config's ``value_range`` is a word, or images turn out to be deep.

    In training they are measured on up to 256 of the training images, evenly spread, and kept in
    the work directory for when the run resumes. In testing they are those of the checkpoint.

    Args:
        cfg: A whole config, changed in place.
        mode: 'train'; 'cache', which keeps nothing, as it is not a run's folder that it works for;
            or 'test'.

    Returns:
        A line for the log, if anything was measured.

    Raises:
        ConfigError: If a word is left that nothing can be measured for.
    """
    steps = list(_steps(cfg))
    asked = [step.get('value_range') for step in steps]
    words = [word for word in asked if word in TO_MEASURE]
    silent = bool(steps) and all(word is None for word in asked)
    if not words and not silent:
        return None
    if mode == 'test':
        found = _of_checkpoint(cfg)
        if words and found is None:
            raise ConfigError(
                f'value_range is {words[0]!r}, and load_from holds no range that a training '
                'has measured; give (low, high), as beit-mm check proposes it'
            )
        _put(steps, found)
        return None
    file = Path(cfg.work_dir, FILE)
    if cfg.get('resume') and file.is_file():
        _put(steps, json.loads(file.read_text())['value_range'])
        return f'Pixels are scaled as {file} says'
    try:
        images = _training_images(cfg)
    except Exception as error:
        if silent:
            # What builds the data set for the run says what is wrong with it.
            return None
        raise ConfigError(
            f'value_range cannot be measured: {in_a_line(error)} (--debug shows where)'
        ) from error
    settings = next(step for step in steps if step.get('value_range') in (*TO_MEASURE, None))
    if silent and not _is_deep(images, settings):
        return None
    if silent and (name := next(filter(None, map(taking_8_bits, _pipelines(cfg))), None)):
        return (
            f'Images have more than 8 bits, and {name} in the pipeline takes 8: the upper ones are '
            "read. With value_range='measured', and without that step, all would be"
        )
    word = next(iter(words), TO_MEASURE[0])
    looked = list(_look(spread(images, MOST_LOOKED_AT), settings))
    try:
        found = measure(looked, word).value_range
    except ValueError as error:
        raise ConfigError(f'value_range cannot be measured: {in_a_line(error)}') from error
    _put(steps, found)
    if mode == 'train':
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(dict(asked=word, value_range=found), indent=1).encode())
    told = '; '.join(f'{kind}: {_in_words(ranges)}' for kind, ranges in found.items())
    return f'Ranges of pixels, measured on {len(looked)} images: {told} (value_range)'


def repeat_ranges(cfg: Config, work_dir: str | Path) -> bool:
    """Put the numbers that a run has measured into its config, for who reads as it has read.

    Args:
        cfg: The run's, changed in place; its variable ``value_range`` too.
        work_dir: Of the run.

    Returns:
        Whether there are any.
    """
    file = Path(work_dir, FILE)
    if not file.is_file():
        return False
    found = json.loads(file.read_text())['value_range']
    _put(list(_steps(cfg)), found)
    if cfg.get('value_range') in (*TO_MEASURE, None):
        cfg.value_range = found
    return True


def _in_words(ranges: list) -> str:
    """'0 to 4095', or so for each band.

    >>> _in_words([(0.0, 4095.0)])
    '0 to 4095'
    """
    different = list(dict.fromkeys(f'{low:g} to {high:g}' for low, high in ranges))
    return different[0] if len(different) == 1 else ', '.join(f'{a:g} to {b:g}' for a, b in ranges)


def _pipelines(cfg: Mapping) -> Iterator[list[dict]]:
    """The steps of all data sets."""
    for name in LOADERS:
        loader = cfg.get(name) or {}
        for _, dataset in innermost(f'{name}.dataset', loader.get('dataset') or {}):
            yield [step for step in dataset.get('pipeline') or () if isinstance(step, dict)]


def _steps(cfg: Mapping) -> Iterator[dict]:
    """Those that read images."""
    for steps in _pipelines(cfg):
        for step in steps:
            if str(step.get('type')).rpartition('.')[2] in ('LoadPhoto', 'LoadTwoViews'):
                yield step


def _put(steps: list[dict], found: Any) -> None:
    for step in steps:
        if step.get('value_range') in (*TO_MEASURE, None) and found is not None:
            step['value_range'] = found


def _training_images(cfg: Config) -> list[Image]:
    """Some of the training images, evenly spread."""
    enter_scope(cfg.get('default_scope') or 'mmengine')
    datasets = innermost('train_dataloader.dataset', cfg.train_dataloader['dataset'])
    # The log is another run's until this one has its own; what a data set says of itself it says
    # again when it is built to train.
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with torch.random.fork_rng(devices=[]):
            built = [DATASETS.build(dict(settings, pipeline=[])) for _, settings in datasets]
    finally:
        logger.setLevel(level)
    known = [dataset for dataset in built if hasattr(dataset, 'get_data_info')]
    return [image for dataset in known for image in _images_of(dataset)]


def _images_of(dataset: Any) -> list[Image]:
    return [
        (str(dataset.get_data_info(i).get('img_path', '')), partial(photo_source, dataset, i))
        for i in spread(range(len(dataset)), MOST_LOOKED_AT)
    ]


def _is_deep(images: list[Image], settings: Mapping) -> bool:
    """Whether an image among some has more than 8 bits."""
    named = [image for image in images if image[0]]
    deep = [image for image in named if not image[0].lower().endswith(ENDINGS_OF_PHOTOS)]
    looked = _look(spread(deep, MOST_ASKED), settings)
    return any(each.dtype.name != 'uint8' for each in looked)


def _look(images: list[Image], settings: Mapping) -> Iterator[Looked]:
    sources = [source for _, source in images]
    return look_at_some(sources, settings.get('bands'), settings.get('no_data'))


def _of_checkpoint(cfg: Config) -> Any:
    """The range that the training of a checkpoint had, if it says so."""
    try:
        checkpoint = read_checkpoint(locate(cfg.load_from))
    except (CheckpointError, OSError, TypeError, ImportError):
        # What loads the weights says so.
        return None
    settings = run_settings(checkpoint)
    if not settings:
        # Bare weights, as the commands leave them.
        return (read_about(cfg.load_from).get('images') or {}).get('value_range')
    steps = list(_steps(settings))
    return next((step['value_range'] for step in steps if step.get('value_range')), None)
