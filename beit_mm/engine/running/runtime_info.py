"""What a step says of itself, read from the device no more often than it is logged."""

import torch
from mmengine.hooks import LoggerHook
from mmengine.hooks import RuntimeInfoHook as MMEngineRuntimeInfoHook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor

from ...registry import HOOKS
from ..optimizing.gradient_norm import ClipInOrder, clip_in_order


@HOOKS.register_module()
class RuntimeInfoHook(MMEngineRuntimeInfoHook):
    """mmengine's hook, without a wait for the device in every step.

    mmengine reads each loss, and the norm of the gradients where they are clipped, as soon as it
    has been asked for: a GPU then stands still until the host has started the next step. Here they
    stay on the device until something is logged, saved or validated, and are then read all at
    once. The logged numbers are the same.

    Where gradients are clipped by norm, the log has ``grad_clipped`` beside ``grad_norm``: per cent
    of the steps, as many as there are iterations between two entries, whose norm was above
    ``max_norm``.
    """

    def __init__(self) -> None:
        self.interval = 1
        self.unread: list[tuple[str, object]] = []
        self.clipping: ClipInOrder | None = None

    def before_train(self, runner: Runner) -> None:
        """Take the norm of the gradients over from mmengine, where it is what clipping needs."""
        super().before_train(runner)
        loggers = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)]
        self.interval = min(loggers, default=1)
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self.clipping = clip_in_order(runner.optim_wrapper, model)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        """Keep the step's numbers; read them where mmengine's logger may want them."""
        if self.clipping is not None and self.clipping.norm is not None:
            self.unread.append(('train/grad_norm', self.clipping.norm))
            self.clipping.norm = None
        self.unread += [(f'train/{name}', value) for name, value in (outputs or {}).items()]
        if (
            self.every_n_train_iters(runner, self.interval)
            or self.every_n_inner_iters(batch_idx, self.interval)
            or self.end_of_epoch(runner.train_dataloader, batch_idx)
            or self.is_last_train_iter(runner)
        ):
            self.read(runner)
            self._tell_clipped(runner)

    def _tell_clipped(self, runner: Runner) -> None:
        norms = runner.message_hub.log_scalars.get('train/grad_norm')
        if self.clipping is None or norms is None:
            return
        # From the hub, which a resumed run finds as it was.
        last = norms.data[0][-self.interval :]
        # What is not finite is left out of the step, and no clipping.
        clipped = (last > runner.optim_wrapper.clip_grad_kwargs['max_norm']) & (last < float('inf'))
        runner.message_hub.update_scalar('train/grad_clipped', 100 * float(clipped.mean()))

    def read(self, runner: Runner) -> None:
        """Hand the numbers on to the message hub, where logger and checkpoints find them."""
        unread, self.unread = self.unread, []
        tensors = [value for _, value in unread if isinstance(value, Tensor)]
        # One transfer, exact for float32 and all that is narrower.
        numbers = iter(
            torch.stack([t.detach().reshape(()).double() for t in tensors]).tolist()
            if tensors
            else ()
        )
        for name, value in unread:
            value = next(numbers) if isinstance(value, Tensor) else value
            runner.message_hub.update_scalar(name, value)

    def before_val(self, runner: Runner) -> None:
        """Read before validation."""
        self.read(runner)
        super().before_val(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Read before the numbers so far are saved, which are in the checkpoint already."""
        self.read(runner)
        checkpoint['message_hub'] = runner.message_hub.state_dict()

    def after_train(self, runner: Runner) -> None:
        """Read what is left."""
        self.read(runner)
        super().after_train(runner)
