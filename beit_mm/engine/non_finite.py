"""Numbers that go wrong: skip the step, say which photos it was, stop if it does not end."""

import json
from pathlib import Path

import torch
from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from ..registry import HOOKS
from .broken_images import RunStopped

FOLDER = 'non_finite'


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Leave out optimizer steps whose loss or gradient is not finite, in all processes alike.

    A loss that is not finite in one process makes that process's gradients NaN. The gradients are
    averaged over the processes anyway, so each sees the same norm and decides the same without
    asking the others; with gradient accumulation a step is left out as a whole. The norm is read
    on the host, once a step, as it is where gradients are clipped. A step that a loss scaler
    leaves out (``AmpOptimWrapper``) counts too; isolated ones are how it finds its scale.

    Each step that is left out writes ``non_finite/iter_N.json`` in the work directory: seed,
    losses, and of every photo of every process its file and its place, from which
    ``SeededDataset(dataset)[Place(*place)]`` makes the very sample.

    Args:
        max_in_a_row: So many such steps, one after another, stop the run.

    Raises:
        RunStopped: In all processes after the same iteration. Checkpoints are left as they are.
    """

    # Before the checkpoint is saved.
    priority = 'BELOW_NORMAL'

    def __init__(self, max_in_a_row: int = 10) -> None:
        if max_in_a_row < 1:
            raise ValueError(f'max_in_a_row is {max_in_a_row}; it must be at least 1')
        self.max_in_a_row = max_in_a_row
        self.in_a_row = 0
        self.batches: list[dict] = []
        self.norm: float | None = None
        self.handles = []

    def before_train(self, runner: Runner) -> None:
        """Watch the model's losses and the optimizer's steps."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self.handles = [
            model.register_forward_hook(_spoil_gradients),
            runner.optim_wrapper.optimizer.register_step_pre_hook(self._check_gradients),
        ]

    def after_train(self, runner: Runner) -> None:
        """Watch no longer."""
        for handle in self.handles:
            handle.remove()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Forget the last step's norm."""
        self.norm = None

    def _check_gradients(self, optimizer: torch.optim.Optimizer, _args, _kwargs) -> None:
        parameters = [p for group in optimizer.param_groups for p in group['params']]
        # Infinity clips nothing: finite gradients are multiplied by one.
        self.norm = float(nn.utils.clip_grad_norm_(parameters, torch.inf))
        if not _is_finite(self.norm):
            # What has no gradient is no part of the step; momentum and step count stay.
            optimizer.zero_grad(set_to_none=True)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        """Keep what a report would need; after a step that was left out write it."""
        # The loss stays where it is: to read it here would wait for the device.
        loss = outputs['loss'].detach()
        self.batches.append(dict(iteration=runner.iter, loss=loss, photos=_photos(data_batch)))
        if not runner.optim_wrapper.should_update():
            return
        batches, self.batches = self.batches, []
        if self.norm is not None and _is_finite(self.norm):
            self.in_a_row = 0
            return
        batches = [{**batch, 'loss': float(batch['loss'])} for batch in batches]
        self.in_a_row += 1
        hub = runner.message_hub
        hub.update_info('skipped_steps', hub.runtime_info.get('skipped_steps', 0) + 1)
        path = self._report(runner, batches)
        total = hub.get_info('skipped_steps')
        norm = 'found not finite by the loss scaler' if self.norm is None else self.norm
        runner.logger.warning(
            f'Step after iteration {runner.iter + 1} left out: loss {float(loss):.4g}, norm of the '
            f'gradient {norm} ({total} left out so far, {self.in_a_row} in a row); see {path}'
        )
        if self.in_a_row == self.max_in_a_row:
            raise RunStopped(
                f'{self.in_a_row} steps in a row had a loss or gradient that is not finite, the '
                f'last after iteration {runner.iter + 1}. The last checkpoint is as it was. '
                f'{path} names the photos and how to see them again; a lower learning rate, '
                'gradient clipping or bfloat16 are what helps most often'
            )

    def _report(self, runner: Runner, batches: list[dict]) -> Path:
        path = Path(runner.work_dir, FOLDER, f'iter_{runner.iter + 1}.json')
        ranks = all_gather_object(batches)
        if is_main_process():
            report = dict(
                iteration=runner.iter + 1,
                epoch=runner.epoch,
                seed=runner.seed,
                processes=runner.world_size,
                gradient_norm=self.norm,
                last_checkpoint=runner.message_hub.runtime_info.get('last_ckpt'),
                how_to_repeat='--resume from the last checkpoint, on as many processes: the run '
                'comes to this iteration with the same weights and photos. One photo alone: '
                'beit_mm.datasets.places, SeededDataset(dataset)[Place(*place)]',
                ranks=ranks,
            )
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(report, indent=1) + '\n')
        return path


def _spoil_gradients(_model: nn.Module, _inputs, outputs) -> None:
    """Have losses that are not finite give NaN gradients, which reach all processes."""
    for loss in outputs.values() if isinstance(outputs, dict) else ():
        for part in loss if isinstance(loss, (list, tuple)) else (loss,):
            if isinstance(part, Tensor) and part.requires_grad:
                value = part.detach()
                part.register_hook(
                    lambda grad, value=value: torch.where(value.isfinite(), grad, torch.nan)
                )


def _is_finite(number: float) -> bool:
    return abs(number) < float('inf')


def _photos(batch: object) -> list[dict]:
    samples = batch.get('data_samples') if isinstance(batch, dict) else None
    if not isinstance(samples, (list, tuple)):
        return []
    return [
        dict(file=getattr(sample, 'img_path', None), place=getattr(sample, 'place', None))
        for sample in samples
    ]
