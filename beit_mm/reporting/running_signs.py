"""Signs that a run goes on in another way than was meant: rate, clipping, data, its end."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .findings import Finding, number
from .log_reading import MOST_KEPT
from .run_record import StageRecord

# Share of the time that waits for data: worth a word, and most of it.
WAITS, WAITS_MOSTLY = 0.2, 0.5
# Share of the steps that are clipped, after the warm-up.
ALWAYS = 95.0
# By how much a schedule may miss the run's end, and a learning rate its batch's.
OFF_SCHEDULE, OFF_BATCH = 0.05, 3.0


def waits_for_data(stage: StageRecord) -> Iterator[Finding]:
    """The device stands still while images are read."""
    waited, whole = stage.train.get('data_time'), stage.train.get('time')
    if waited is None or whole is None or len(waited.steps) < 3:
        return
    # The first entry has the start of the workers in it.
    share = float(np.nansum(waited.values[1:]) / max(1e-12, np.nansum(whole.values[1:])))
    if not share >= WAITS:
        return
    workers = stage.setting('train_dataloader.num_workers')
    yield Finding(
        'wrong' if share >= WAITS_MOSTLY else 'warning',
        f'It waits for data {share:.0%} of the time.',
        f'Of {number(1000 * float(np.nanmean(whole.values[1:])))} ms an iteration, '
        f'{number(1000 * float(np.nanmean(waited.values[1:])))} ms are waiting; '
        f'train_dataloader.num_workers is {workers}.',
        'More workers, up to the cores of the machine; images no larger than needed; '
        "pip install 'beit-mm[fast]' to decode photos faster; beit-mm shard for slow disks and "
        'stores; tools/cache_tokens.py if the tokenizer runs in every step.',
    )


def clipped_always(stage: StageRecord) -> Iterator[Finding]:
    """Nearly every step's gradient is clipped: the norm says nothing any more."""
    most = stage.amount('optim_wrapper.clip_grad.max_norm')
    norms = stage.train.get('grad_norm')
    if most is None or norms is None or len(norms.steps) < 4:
        return
    if (clipped := stage.train.get('grad_clipped')) is not None:
        share = float(np.nanmean(clipped.later().values))
    else:
        # Logs of older runs have the mean norm alone.
        share = 100 * float(np.mean(norms.later().values > most))
    if not share >= ALWAYS:
        return
    middle = float(np.nanmedian(norms.later().values))
    yield Finding(
        'warning',
        'The gradient is clipped in every step.' if share == 100
        else f'The gradient is clipped in {share:.0f} % of the steps.',
        f'Its norm is {number(middle)} in the middle of the second half of the run, and '
        f'optim_wrapper.clip_grad.max_norm is {number(most)}.',
        'Then all steps have one length, and the learning rate alone decides it. Raise max_norm to '
        f'about {number(2 * middle)}, or lower the learning rate if the loss is not steady.',
    )  # fmt: skip


def schedule_misses_the_end(stage: StageRecord) -> Iterator[Finding]:
    """The learning rate's schedule is laid out for a longer or a shorter run."""
    planned = stage.planned
    schedulers = stage.parts('param_scheduler')
    ends = [end for one in schedulers if (end := _end_of(one, stage)) is not None]
    if not planned or not ends:
        return
    end = max(ends)
    if abs(end - planned) <= max(1.0, OFF_SCHEDULE * planned):
        return
    rates = stage.train.get('base_lr') or stage.train.get('lr')
    told = ''
    if rates is not None:
        told = (
            f'; the rate went from {number(float(np.nanmax(rates.values)))} at most to '
            f'{number(rates.last)} in the last entry'
        )
    longer = end > planned
    yield Finding(
        'warning',
        'The learning rate is off its schedule: that is '
        f'{"longer" if longer else "shorter"} than the run.',
        f'param_scheduler ends at iteration {end:,.0f}, the run at {planned:,}{told}.',
        ('The rate never comes down, and the last steps are too large. ' if longer
         else 'The end of the run trains at the smallest rate. ')
        + 'Set T_max, end or milestones of param_scheduler by the length of the run; '
        'tools/train.py does so itself where --cfg-options changes the length alone.',
    )  # fmt: skip


def _end_of(scheduler: dict, stage: StageRecord) -> float | None:
    """The iteration at which a schedule has done what it does; None where it tells none."""
    begin = scheduler.get('begin', 0)
    length: Any = scheduler.get('T_max', scheduler.get('total_steps'))
    known = isinstance(begin, int) and isinstance(length, int)
    end: Any = begin + length if known else scheduler.get('end')
    milestones = scheduler.get('milestones')
    if not isinstance(end, int) or milestones:
        return None
    if scheduler.get('by_epoch', True):
        return end * stage.told.an_epoch if stage.told.an_epoch else None
    return end


def rate_off_the_batch(stage: StageRecord) -> Iterator[Finding]:
    """The batch is another than the recipe's, and the learning rate did not go with it."""
    if stage.recipe is None:
        return
    theirs = stage.recipe.settings
    own = stage.amount('optim_wrapper.optimizer.lr')
    rate = _positive(theirs.get('optim_wrapper.optimizer.lr'))
    batch, usual = _whole_batch(stage), _recipes_batch(theirs)
    if own is None or rate is None or not batch or not usual:
        return
    for_batch = rate * batch / usual
    # Between the root and the proportion all is in use; the root is for less than the proportion.
    by_root = rate * (batch / usual) ** 0.5
    low, high = sorted((for_batch, by_root))
    if low / OFF_BATCH <= own <= high * OFF_BATCH:
        return
    yield Finding(
        'warning',
        f'The learning rate is {own / high if own > high else low / own:,.0f} times too '
        f'{"high" if own > high else "low"} for its batch, by the recipe.',
        f'A step sees {batch:,} images at a rate of {number(own)}; the recipe {stage.recipe.name} '
        f'has {number(rate)} for {usual:,}.',
        f'In proportion to the batch it would be {number(for_batch)}, by its root '
        f'{number(by_root)} (optim_wrapper.optimizer.lr). GlobalBatchSizeHook keeps the '
        "recipe's batch on fewer GPUs.",
    )


def _positive(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and value > 0 else None


def _whole_batch(stage: StageRecord) -> int | None:
    """Images that a step of the optimizer sees."""
    for hook in stage.parts('custom_hooks'):
        if isinstance(size := hook.get('global_batch_size'), int) and size > 0:
            return size
    images = stage.images_a_step
    return images * (stage.count('optim_wrapper.accumulative_counts') or 1) if images else None


def _recipes_batch(settings: Mapping[str, Any]) -> int | None:
    for key, value in settings.items():
        if key.endswith('.global_batch_size') and isinstance(value, int):
            return value
    batch = settings.get('train_dataloader.batch_size')
    return batch if isinstance(batch, int) else None


def _times(count: int) -> str:
    return 'once' if count == 1 else f'{count:,} times'


def skipped_images(stage: StageRecord) -> Iterator[Finding]:
    """Images that could not be read, in whose place others were drawn."""
    told = stage.told
    if not told.num_broken:
        return
    share = told.num_broken / max(1, told.drawn)
    yield Finding(
        'warning',
        f'Broken images were skipped {_times(told.num_broken)}, of '
        f'{len(told.broken)} file{"s" if len(told.broken) != 1 else ""}'
        f'{" or more" if len(told.broken) == MOST_KEPT else ""}.',
        f'{number(100 * share)} % of {told.drawn:,} drawn. First: {told.broken[0]}',
        'beit-mm check FOLDER LIST finds them all; repair them, or leave out what is in LIST: '
        'train_dataloader.dataset.exclude=LIST. The list of those met is below.',
    )


def epoch_ended_early(stage: StageRecord) -> Iterator[Finding]:
    """Epochs of fewer iterations than the data loader says that it has."""
    length = stage.told.an_epoch
    if len(stage.told.lengths) != 1:
        return
    for epoch, iteration in sorted(stage.epochs.items()):
        if length and iteration <= (epoch - 1) * length:
            yield Finding(
                'wrong',
                'An epoch ended early.',
                f'Epoch {epoch} had begun by iteration {iteration:,}; an epoch has {length:,} '
                f'iterations, so that it should begin at {(epoch - 1) * length + 1:,}.',
                'The data loader gives fewer batches than its length says: see that the sampler or '
                'the shards hold as many images as they promise (beit-mm shard OUT --verify).',
            )
            return


def run_ended_early(stage: StageRecord) -> Iterator[Finding]:
    """The log stops before the run's end."""
    planned, told = stage.planned, stage.told
    if not planned or not told.starts:
        return
    # The last entry may be short of the end by the logger's interval.
    reached = stage.reached
    interval = stage.count('default_hooks.logger.interval') or 10
    if reached + interval >= planned:
        return
    saved = stage.last_checkpoint
    stopped = next((text for text in told.warnings if text.startswith('Stopped by signal')), None)
    yield Finding(
        'warning',
        'The run did not reach its end: it was stopped, or is still running.',
        f'The last entry is of iteration {reached:,} of {planned:,}'
        + (f', written {told.ended:%Y-%m-%d %H:%M:%S}' if told.ended else '')
        + (f'. {stopped}' if stopped else '') + '.',
        (f'--resume goes on from {saved}.' if saved else 'It has saved no checkpoint: begin anew, '
         'with a smaller default_hooks.checkpoint.interval.'),
    )  # fmt: skip


RUNNING = (
    run_ended_early,
    epoch_ended_early,
    skipped_images,
    waits_for_data,
    schedule_misses_the_end,
    rate_off_the_batch,
    clipped_always,
)
