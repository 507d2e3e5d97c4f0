"""A resumed run whose config is another one: what differs is listed, and takes effect.

Resuming restores learning rates and schedules from the checkpoint, so that what a config says anew
would be ignored in silence. Here they are laid out anew from the config and moved to where the run
stands.
"""

import copy
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.optim import ReduceOnPlateauParamScheduler
from mmengine.runner import EpochBasedTrainLoop, Runner

from ...checkpoints import CheckpointError
from ...component import in_a_line
from ...config_text import settings_in_text
from ...registry import HOOKS
from ..optimizing.optimizer_state import state_of_a_weight
from ..optimizing.param_groups import has_one_optimizer
from .whole_checkpoints import WholeCheckpointHook

# What decides the result of a run.
COMPARED = (
    'model', 'train_dataloader', 'val_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler',
    'default_hooks', 'custom_hooks', 'val_evaluator', 'randomness',
)  # fmt: skip
# What of it does not.
NOT_COMPARED = ('num_workers', 'persistent_workers', 'pin_memory', 'prefetch_factor', 'logger')
# Settings that the optimizer's and the schedules' state in a checkpoint would win over.
OF_STEPS = ('optim_wrapper', 'param_scheduler', 'train_cfg.max_', 'train_cfg.by_epoch')
# How many differences are listed.
MOST = 30


def differences(before: Mapping, now: Mapping) -> Iterator[tuple[str, Any, Any]]:
    """(key, value before, value now) of the settings that differ; None where there was none."""
    old, new = (dict(_leaves({k: s.get(k) for k in COMPARED})) for s in (before, now))
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key) and not set(key.split('.')) & set(NOT_COMPARED):
            yield key, old.get(key), new.get(key)


def _leaves(value: Any, key: str = '') -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, child in value.items():
            yield from _leaves(child, f'{key}.{name}' if key else str(name))
    elif isinstance(value, (list, tuple)) and any(isinstance(v, (Mapping, list)) for v in value):
        for index, child in enumerate(value):
            yield from _leaves(child, f'{key}.{index}')
    else:
        yield key, tuple(value) if isinstance(value, list) else value


@HOOKS.register_module()
class ResumedChangesHook(Hook):
    """Have a resumed run follow its config where that differs from the checkpoint's.

    The tools of this project have it always. Learning rates, weight decays and schedules are taken
    from the config and moved to where the run stands; what differs is logged, key by key. Where
    samples have come or gone, a run that counts epochs goes on at the beginning of its epoch.

    Several optimizers, and schedules that follow a figure (ReduceOnPlateauLR), keep the rates that
    the checkpoint has.
    """

    # Before mmengine's hooks look at the schedules.
    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.saved: dict[str, Any] | None = None
        self.samples: int | None = None
        self.moved = False
        self.groups: list[dict[str, Any]] = []
        self.schedules: list[dict[str, Any]] = []

    def before_run(self, runner: Runner) -> None:
        """Keep what the config says, which resuming overwrites."""
        wrapper, schedulers = runner.optim_wrapper, runner.param_schedulers
        # Of several optimizers nothing is followed, and testing has none.
        if not has_one_optimizer(wrapper):
            return
        self.groups = [
            {name: copy.deepcopy(value) for name, value in group.items() if name != 'params'}
            for group in wrapper.param_groups
        ]
        if not isinstance(schedulers, list):
            return
        if not any(isinstance(one, ReduceOnPlateauParamScheduler) for one in schedulers):
            self.schedules = [copy.deepcopy(scheduler.state_dict()) for scheduler in schedulers]

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep what the checkpoint says.

        Raises:
            CheckpointError: If it holds the state of another optimizer.
        """
        meta = checkpoint.get('meta', {})
        if not runner._resume or not isinstance(meta.get('cfg'), str):
            return
        try:
            self.saved = settings_in_text(meta['cfg'])
        except SyntaxError as error:
            runner.logger.warning(f'Changed settings are not followed: {in_a_line(error)}')
            return
        self.samples = meta.get('samples')
        self.moved = self._count_images(runner, meta)
        self._refuse_other_state(runner, checkpoint)

    def _refuse_other_state(self, runner: Runner, checkpoint: dict) -> None:
        """Another optimizer may go on if it keeps of a weight what the one before has kept."""
        assert self.saved is not None
        names = [
            str(((cfg.get('optim_wrapper') or {}).get('optimizer') or {}).get('type'))
            for cfg in (self.saved, settings_in_text(runner.cfg.pretty_text))
        ]
        before, now = (name.rpartition('.')[2] for name in names)
        states = list((checkpoint.get('optimizer') or {}).get('state', {}).values())
        if before == now or not states or not has_one_optimizer(runner.optim_wrapper):
            return
        kept = {name for name, value in states[0].items() if value is not None}
        wanted = state_of_a_weight(runner.optim_wrapper.optimizer)
        if wanted is not None and kept != set(wanted):
            raise CheckpointError(
                f'{runner._load_from}: optim_wrapper.optimizer.type was {names[0]!r} and is '
                f'{names[1]!r}, whose state it does not hold; start a new run from its weights by '
                'load_from'
            )

    def _count_images(self, runner: Runner, meta: dict) -> bool:
        """Have a run that counts epochs begin behind the images it has seen, with other batches.

        Returns:
            Whether the checkpoint's iteration has another number now. Where no batch begins there,
            it stays, and :class:`WholeCheckpointHook` refuses.
        """
        loop: Any = runner.train_loop
        before, length = meta.get('images_per_iteration'), meta.get('iterations_an_epoch')
        if not isinstance(loop, EpochBasedTrainLoop) or not length or before is None:
            return False
        now = runner.world_size * loop.dataloader.batch_sampler.batch_size
        if before == now:
            return False
        batches, rest = divmod((meta['iter'] - meta['epoch'] * length) * before, now)
        if rest:
            return False
        # The last batch of an epoch may have been short.
        begin = meta['epoch'] * len(loop.dataloader) + min(batches, len(loop.dataloader))
        runner.logger.warning(
            f'An iteration had {before} images and has {now}: the run goes on behind the images '
            f'that it has seen, at iteration {begin} in place of {meta["iter"]}. Learning rates '
            'are those of the config'
        )
        meta.update(iter=begin, images_per_iteration=now)
        return True

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note how many samples and iterations an epoch has."""
        checkpoint['meta']['samples'] = len(runner.train_dataloader.dataset)
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            checkpoint['meta']['iterations_an_epoch'] = len(runner.train_dataloader)

    def before_train(self, runner: Runner) -> None:
        """Say what differs, and let it take effect."""
        if self.saved is None:
            return
        changed = list(differences(self.saved, settings_in_text(runner.cfg.pretty_text)))
        lines = [
            f'  {_as_written(key)}: {before!r} -> {now!r}, {self._fate(runner, key, before)}'
            for key, before, now in changed[:MOST]
        ]
        if len(changed) > MOST:
            lines.append(f'  and {len(changed) - MOST} more, taken')
        moved = self._follow_samples(runner) or self.moved
        if lines:
            runner.logger.warning(
                '\n'.join(['Resumed with other settings than the checkpoint has:', *lines])
            )
        if moved or any(key.startswith(OF_STEPS) for key, _, _ in changed):
            self._lay_out_anew(runner)

    def _follow_samples(self, runner: Runner) -> bool:
        """Go on where that is possible with other samples; whether the place has moved."""
        loop, now = runner.train_loop, len(runner.train_dataloader.dataset)
        by_epoch = isinstance(loop, EpochBasedTrainLoop)
        length = len(loop.dataloader) if by_epoch else 0
        begin = loop._epoch * length
        fits = not by_epoch or begin <= loop._iter <= begin + length
        if fits and self.samples in (None, now):
            return False
        said = f'train_dataloader.dataset had {self.samples} samples and has {now}'
        if not by_epoch:
            runner.logger.warning(f'{said}: the run goes on at its iteration, in another order')
            return False
        runner.logger.warning(
            f'{said}: the run goes on at the beginning of epoch {loop._epoch + 1}, whose first '
            'images may be seen twice'
        )
        if loop._iter != begin:
            loop._iter = begin
            self._forget_gradients(runner)
        return True

    @staticmethod
    def _forget_gradients(runner: Runner) -> None:
        """Of samples that will be seen again; steps are counted from where the run is now."""
        for hook in runner.hooks:
            if isinstance(hook, WholeCheckpointHook):
                hook.drop_accumulated(runner)
        wrapper: Any = runner.optim_wrapper
        if has_one_optimizer(wrapper):
            loop = runner.train_loop
            wrapper.initialize_count_status(runner.model, loop.iter, loop.max_iters)

    def _follows(self, runner: Runner) -> bool:
        """Whether rates and schedules can be laid out anew."""
        scheduled = len(runner.param_schedulers or []) == len(self.schedules)
        groups = len(getattr(runner.optim_wrapper, 'param_groups', []))
        return bool(self.groups) and groups == len(self.groups) and scheduled

    def _lay_out_anew(self, runner: Runner) -> None:
        """Take rates and schedules from the config, and step them to where the run is."""
        wrapper: Any = runner.optim_wrapper
        if not self._follows(runner):
            return
        for group, fresh in zip(wrapper.param_groups, self.groups, strict=True):
            group.update(copy.deepcopy(fresh))
        schedulers: Any = runner.param_schedulers or []
        for scheduler, state in zip(schedulers, self.schedules, strict=True):
            scheduler.load_state_dict(copy.deepcopy(state))
        loop = runner.train_loop
        by_epoch = isinstance(loop, EpochBasedTrainLoop)
        length = len(loop.dataloader) if by_epoch else 0
        with warnings.catch_warnings():
            # Of the scheduler, which wonders where the optimizer's steps are.
            warnings.simplefilter('ignore')
            for done in range(1, loop._iter + 1):
                for scheduler in schedulers:
                    if not scheduler.by_epoch or (length and done % length == 0):
                        scheduler.step()

    def _fate(self, runner: Runner, key: str, before: Any) -> str:
        """What becomes of a setting that differs."""
        if key == 'randomness.seed':
            return f'kept at {before!r}'
        if not key.startswith(OF_STEPS):
            return 'taken'
        if self._follows(runner):
            return 'taken, and the schedules laid out anew'
        return "taken, but for rates and schedules, which stay the checkpoint's"


def _as_written(key: str) -> str:
    """A key without the data sets that exact resuming puts around the config's."""
    return key.replace('.dataset.dataset.', '.dataset.')
