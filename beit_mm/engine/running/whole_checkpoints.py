"""Checkpoints that are whole or not there, and a run that leaves one when it is told to stop."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import Runner

from ...checkpoints import CheckpointError, read_checkpoint
from ...checkpoints.writing import partial_path, put_in_place
from ...registry import HOOKS
from .accumulated import KEY, drop, gather_accumulated, go_on_accumulating, put_back
from .stop_signals import REQUEUE, StopSignals

NAME = re.compile(r'(epoch|iter)_\d+\.pth')


def check_saved(path: Path) -> None:
    """Read a checkpoint as resuming would.

    Raises:
        CheckpointError: If it is not whole, asks for code to be run, or holds weights that are
            not finite.
    """
    content: Any = read_checkpoint(path)
    for part in ('state_dict', 'ema_state_dict'):
        for name, tensor in content.get(part, {}).items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise CheckpointError(f'{part}[{name!r}] has values that are not finite')


def newest_whole(work_dir: Path, folder: Path) -> Path | None:
    """The newest checkpoint of a run that can be read; damaged ones are reported and passed over.

    Args:
        work_dir: The run's, with the file ``last_checkpoint``.
        folder: Where the run saves.

    Returns:
        Its path, or None if the run has saved none.

    Raises:
        CheckpointError: If all that there are are damaged.
    """
    named = (work_dir / 'last_checkpoint').is_file()
    last = [last_checkpoint(work_dir, folder)] if named else []
    others = [path for path in folder.glob('*.pth') if NAME.fullmatch(path.name)]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    candidates = list(dict.fromkeys(last + others))
    for path in candidates:
        try:
            read_checkpoint(path)
        except (CheckpointError, FileNotFoundError) as error:
            print_log(f'Passed over: {error}', logger='current', level=logging.WARNING)
        else:
            return path
    if candidates:
        raise CheckpointError(
            f'{folder}: none of its {len(candidates)} checkpoint(s) can be read; to begin anew, '
            'move them away'
        )
    return None


def last_checkpoint(work_dir: Path, folder: Path | None = None) -> Path:
    """What ``last_checkpoint`` names.

    Args:
        work_dir: The run's, with that file.
        folder: Where the run saves; the same, if it is not said.
    """
    named = Path((work_dir / 'last_checkpoint').read_text().strip())
    # The folder may have been moved since, or copied, and then another run may save there.
    own = (folder or work_dir) / named.name
    return own if own.is_file() else named


def on_main_process(task: Callable[[], Any]) -> Any:
    """What a task gives that runs in the main process alone; its failure is everyone's.

    Raises:
        CheckpointError: In the other processes, so that none waits for one that has given up.
    """
    outcome: list[Any] = [None, None]
    cause = None
    if is_main_process():
        try:
            outcome[0] = task()
        except Exception as error:
            cause, outcome[1] = error, str(error) or type(error).__name__
    broadcast_object_list(outcome)
    if cause is not None:
        raise cause
    if outcome[1] is not None:
        raise CheckpointError(outcome[1])
    return outcome[0]


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """mmengine's hook, whose files are whole or not there, and which saves when told to stop.

    A checkpoint is written beside its place, stored, read again as ``--resume`` would, and
    renamed; then ``last_checkpoint`` moves, and then old ones go. A failure, such as a full disk,
    ends the run in all processes and leaves the files that were there. ``--resume`` takes the
    newest that is whole.

    Between two steps of the optimizer a checkpoint holds the gradients that are accumulated for
    the next one, of every process: as much again as the weights for each. A resumed run goes on
    with them.

    After SIGTERM or SIGUSR1 in any process, all save after the same iteration, under the name
    ``iter_N.pth``, and exit with code 85.

    Its arguments are those of ``mmengine.hooks.CheckpointHook``; ``out_dir`` must be on a local
    file system.
    """

    # Errors of MIMError and TokenizerMetric: the smaller, the better.
    _default_less_keys = ('loss', 'mse')

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.signals = StopSignals()
        # Of the checkpoint that is being written, and of the one that the run goes on from.
        self.accumulated: dict | None = None
        self.resumed: dict | None = None

    def before_run(self, runner: Runner) -> None:
        """Choose the checkpoint to go on from, if none was named."""
        if runner._resume and runner._load_from is None:
            work_dir, folder = Path(runner.work_dir), self._folder(runner)
            newest = on_main_process(lambda: newest_whole(work_dir, folder))
            if newest is None:
                runner.logger.info(f'{folder} holds no checkpoint; training begins at the start')
            else:
                runner._load_from = str(newest)

    def _folder(self, runner: Runner) -> Path:
        """Where checkpoints go; mmengine puts the run's name behind another ``out_dir``."""
        work_dir = Path(runner.work_dir)
        return work_dir if self.out_dir is None else Path(self.out_dir, work_dir.name)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Say what another number of processes changes; refuse what cannot go on.

        Raises:
            CheckpointError: If an iteration had another number of images.
        """
        if runner._resume and KEY in checkpoint:
            self.resumed = checkpoint.pop(KEY)
            put_back(runner, self.resumed)
        meta = checkpoint.get('meta', {})
        if not runner._resume or 'images_per_iteration' not in meta:
            return
        before, now = meta['images_per_iteration'], _images_per_iteration(runner)
        processes = f'{meta["world_size"]} process(es) before, {runner.world_size} now'
        if before != now:
            raise CheckpointError(
                f'{runner._load_from}: an iteration had {before} images and would have {now} '
                f'({processes}); schedules and the place in the data count iterations. Set '
                f'train_dataloader.batch_size to {before / runner.world_size:g}'
            )
        if meta['world_size'] != runner.world_size:
            runner.logger.warning(
                f'{processes}. Exact: the order of the images, crops and masks, schedules. '
                'Not: drop path and other randomness inside the model, which each process draws '
                'for itself, and the order in which float numbers are added up'
            )

    def drop_accumulated(self, runner: Runner) -> None:
        """Let go of gradients that were put back, before training."""
        if self.resumed is not None:
            drop(runner, self.resumed, 'the run goes on elsewhere')
            self.resumed = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note how many processes share the images, and what waits for the optimizer's step."""
        schedules = checkpoint.get('param_schedulers')
        if isinstance(schedules, list):
            # A function of OneCycleLR's class: resuming finds it in the class.
            checkpoint['param_schedulers'] = [
                {name: value for name, value in state.items() if not callable(value)}
                for state in schedules
            ]
        checkpoint['meta']['world_size'] = runner.world_size
        checkpoint['meta']['images_per_iteration'] = _images_per_iteration(runner)
        if self.accumulated is not None:
            checkpoint[KEY] = self.accumulated

    def before_train(self, runner: Runner) -> None:
        """Begin to listen for signals, and clear away what a killed run has left."""
        super().before_train(runner)
        if self.resumed is not None:
            go_on_accumulating(runner, self.resumed)
            self.resumed = None
        self.signals.listen()
        on_main_process(lambda: self._clear_away(runner))
        self._keep_few(runner)

    def _clear_away(self, runner: Runner) -> None:
        for folder in {Path(self.out_dir), Path(runner.work_dir)}:
            for path in [*folder.glob('.*.pth.partial'), *folder.glob('.last_checkpoint.partial')]:
                path.unlink()
                runner.logger.info(f'Removed {path}, which a run had not finished writing')

    def after_train(self, runner: Runner) -> None:
        """Publish what is asked for; the signals are no longer this hook's."""
        super().after_train(runner)
        self.let_go(runner)

    def let_go(self, runner: Runner) -> None:
        """Leave the signals to whoever had them, however the training has ended."""
        self.signals.ignore_no_longer()

    def after_train_epoch(self, runner: Runner) -> None:
        """Save if it is time; mmengine's hook says so before, this one when it is done."""
        last = self.save_last and self.is_last_train_epoch(runner)
        if self.by_epoch and (last or self.every_n_epochs(runner, self.interval, self.save_begin)):
            self._save_checkpoint(runner)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        """Save if it is time, and if a signal asks for it."""
        last = self.save_last and self.is_last_train_iter(runner)
        due = last or self.every_n_train_iters(runner, self.interval, self.save_begin)
        if due and not self.by_epoch:
            self._save_checkpoint(runner)
        if number := self.signals.agreed():
            name = f'iter_{runner.iter + 1}.pth'
            if self.last_ckpt is None or Path(self.last_ckpt).name != name:
                self._write(runner, name, dict(epoch=runner.epoch, iter=runner.iter + 1))
            runner.logger.warning(
                f'Stopped by signal {number} after iteration {runner.iter + 1}; {self.last_ckpt} '
                f'is whole, --resume goes on from it. Exit code {REQUEUE}'
            )
            sys.exit(REQUEUE)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        self._write(runner, self.filename_tmpl.format(step), meta)

    def _write(self, runner: Runner, name: str, meta: dict) -> None:
        """Save for resuming, all processes together."""
        hub, path = runner.message_hub, Path(self.out_dir, name)
        kept = [other for other in hub.runtime_info.get('kept_ckpts', []) if other != name]
        before = self.last_ckpt, kept
        # What is to be removed stays on the list until it is, should the run be killed before.
        self._note(runner, str(path), [*kept, name])
        settings = dict(
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            last=Path(runner.work_dir, 'last_checkpoint'),
            **self.args,
        )
        waiting = 0
        if self.save_optimizer and (accumulated := gather_accumulated(runner)):
            self.accumulated, waiting = accumulated, accumulated['iterations']
        try:
            on_main_process(lambda: self._save_whole(runner, path, **settings))
        except CheckpointError:
            self._note(runner, *before)
            raise
        finally:
            self.accumulated = None
        kept_back = f', and the gradients of {waiting} iteration(s) since' if waiting else ''
        runner.logger.info(
            f'{path} is saved: the weights after {meta["iter"] - waiting} iterations{kept_back}'
        )
        self._keep_few(runner)

    def _note(self, runner: Runner, last: str | None, kept: list[str]) -> None:
        self.last_ckpt = last
        runner.message_hub.update_info('last_ckpt', last)
        runner.message_hub.update_info('kept_ckpts', kept)

    def _save_whole(self, runner: Runner, path: Path, last: Path | None = None, **settings) -> None:
        """Write, check and rename a checkpoint, then name it in ``last``.

        On failure what was written is removed.
        """
        partial = partial_path(path)
        try:
            runner.save_checkpoint(str(path.parent), partial.name, **settings)
            check_saved(partial)
            put_in_place(path)
            if last is not None:
                partial = partial_path(last)
                partial.write_text(str(path))
                put_in_place(last)
        except (OSError, CheckpointError) as error:
            partial.unlink(missing_ok=True)
            raise CheckpointError(
                f'{path} could not be saved, checkpoints before it are as they were: {error}'
            ) from error

    def _keep_few(self, runner: Runner) -> None:
        """Remove the oldest checkpoints beyond ``max_keep_ckpts``."""
        kept = runner.message_hub.runtime_info.get('kept_ckpts', [])
        if not 0 < self.max_keep_ckpts < len(kept):
            return
        if is_main_process():
            for name in kept[: -self.max_keep_ckpts]:
                Path(self.out_dir, name).unlink(missing_ok=True)
        runner.message_hub.update_info('kept_ckpts', kept[-self.max_keep_ckpts :])

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """Save the model if a metric is better than ever; then the former best one goes."""
        if not self.save_best:
            return
        if 'auto' in self.key_indicators:
            self._init_rule(self.rules, [next(iter(metrics))])
        now = runner.epoch if self.by_epoch else runner.iter
        meta = dict(epoch=runner.epoch, iter=runner.iter)
        better = [
            self._save_if_best(runner, key, rule, metrics[key], now, meta)
            for key, rule in zip(self.key_indicators, self.rules, strict=True)
        ]
        # Once more, so that a resumed run knows the new best one.
        if any(better) and self.last_ckpt is not None:
            self._save_checkpoint_with_step(runner, now, dict(meta))

    def _save_if_best(
        self, runner: Runner, key: str, rule: str, score: float | None, now: int, meta: dict
    ) -> bool:
        hub, alone = runner.message_hub, len(self.key_indicators) == 1
        suffix = '' if alone else f'_{key}'
        best = hub.runtime_info.get(f'best_score{suffix}', self.init_value_map[rule])
        if score is None or not self.is_better_than[key](score, best):
            return False
        former = hub.runtime_info.get(f'best_ckpt{suffix}')
        name = f'best_{key}_{self.filename_tmpl.format(now)}'.replace('/', '_')
        path = Path(self.out_dir, name)
        on_main_process(
            lambda: self._save_whole(
                runner, path, save_optimizer=False, save_param_scheduler=False,
                meta=dict(meta), by_epoch=False,
            )
        )  # fmt: skip
        hub.update_info(f'best_score{suffix}', score)
        hub.update_info(f'best_ckpt{suffix}', str(path))
        if alone:
            self.best_ckpt_path = str(path)
        else:
            self.best_ckpt_path_dict[key] = str(path)
        runner.logger.info(f'The best {key} so far, {score:.4f}, is saved in {path}')
        # By its name alone: the folder was another one if this run was begun from a checkpoint of
        # another run, whose own best stays, or if it has been moved.
        if former and Path(former).name != name and is_main_process():
            Path(self.out_dir, Path(former).name).unlink(missing_ok=True)
        return True


def _images_per_iteration(runner: Runner) -> int:
    return runner.world_size * runner.train_dataloader.batch_sampler.batch_size
