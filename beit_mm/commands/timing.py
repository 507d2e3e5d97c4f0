"""How long a step of a run takes on this machine, before the run."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.dataset import default_collate, pseudo_collate
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.registry import DATASETS, MODELS, OPTIMIZERS

from ..component import ConfigError
from ..datasets.reading.broken_image import BrokenImage
from ..engine.checking.config_check import enter_scope
from .choices import Machine

# The first steps of a process are slower.
WARM_UP, TIMED = 2, 3
SAMPLES = 8


def seconds_a_step(cfg: Config, machine: Machine) -> float:
    """Seconds of a training step with the loading of its batch, by a few of them.

    Args:
        cfg: Of a tokenizer or of pre-training; its tokenizer's weights need not be there.
        machine: This one.
    """
    enter_scope(cfg.default_scope)
    loader = cfg.train_dataloader
    with _undisturbed(torch.get_num_threads() if machine.gpus else machine.threads):
        samples, loading = _load(DATASETS.build(loader.dataset))
        samples = [samples[i % len(samples)] for i in range(loader.batch_size)]
        # As the Runner collates where a config does not say.
        collate = default_collate if 'collate_fn' in loader else pseudo_collate
        batch = collate(samples)
        settings = cfg.model.copy()
        if 'tokenizer' in settings.get('target_generator', {}):
            settings.target_generator = dict(settings.target_generator, checkpoint=None)
        model = revert_sync_batchnorm(MODELS.build(settings))
        if machine.gpus:
            model.cuda()
        # It costs what the float16 of --amp does, and no loss need be scaled.
        with torch.autocast('cuda', torch.bfloat16, enabled=bool(machine.gpus)):
            computing = _step(model, batch)
    loading *= loader.batch_size
    if machine.gpus:
        return max(computing, loading / max(1, loader.num_workers))
    # Workers take the cores that the step would use.
    return computing + loading / machine.cores


@torch.no_grad()
def seconds_an_image(cfg: Config, machine: Machine) -> float:
    """Seconds that validating takes an image, with its loading, by a batch of them.

    Args:
        cfg: Of a classifier or a segmentor; its weights need not be there.
        machine: This one.
    """
    enter_scope(cfg.default_scope)
    loader = cfg.val_dataloader
    with _undisturbed(torch.get_num_threads() if machine.gpus else machine.threads):
        samples, loading = _load(DATASETS.build(loader.dataset))
        batch = pseudo_collate(samples[: loader.batch_size])
        settings = cfg.model.copy()
        settings.backbone = dict(settings.backbone, init_cfg=None)
        model = revert_sync_batchnorm(MODELS.build(settings)).eval()
        if machine.gpus:
            model.cuda()
        times = []
        for _ in range(WARM_UP):
            start = time.perf_counter()
            model.test_step(batch)
            times.append(time.perf_counter() - start)
    return loading / machine.cores + min(times) / len(samples[: loader.batch_size])


@contextmanager
def _undisturbed(threads: int) -> Iterator[None]:
    """Compute with so many threads, and leave the global generator as it was."""
    state, threads_before = torch.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        if torch.cuda.is_available():
            # For the process that trains.
            torch.cuda.empty_cache()
        torch.set_num_threads(threads_before)
        torch.set_rng_state(state)


def _load(dataset) -> tuple[list, float]:
    """Some samples, and the seconds that one takes."""
    count = min(SAMPLES, len(dataset))
    samples: list = []
    # The first one opens files and imports packages.
    for index in range(len(dataset)):
        if len(samples) <= 1:
            start = time.perf_counter()
        try:
            samples.append(dataset[index])
        except BrokenImage:
            # A run leaves it out and counts it.
            continue
        if len(samples) == count:
            break
    if not samples:
        raise ConfigError(f'of {len(dataset)} images none can be decoded')
    return samples, (time.perf_counter() - start) / max(1, len(samples) - 1)


def _step(model, batch) -> float:
    """Seconds of the fastest of some steps."""
    trained = [p for p in model.parameters() if p.requires_grad]
    # The recipes'. Whether one that --cfg-options sets can be built is told when the run begins.
    optimizer = dict(type='beit_mm.FusedAdamW', params=trained, lr=0.0)
    wrapper = OptimWrapper(OPTIMIZERS.build(optimizer))
    times = []
    model.train()
    for _ in range(WARM_UP + TIMED):
        start = time.perf_counter()
        model.train_step(batch, wrapper)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[WARM_UP:])
