"""Training loops that go on, after a stop at any iteration, as if there had been none.

mmengine's loops resume by epochs, or by drawing and dropping what was seen, and leave the random
generators where a new process has them. These keep no generator's state either. They make it a
function of where the run is: the generators are seeded from the seed and a sample's place for the
input (:mod:`beit_mm.datasets.places`), and from seed, process and iteration for the model. A broken
photo is replaced from the same stream (:class:`beit_mm.datasets.ReplacingDataset`).
"""

from collections.abc import Mapping

from mmengine.config import Config
from mmengine.dist import broadcast_object_list
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop

from ...component import ConfigError, in_a_line
from ...datasets.places import ITERATION, VALIDATION, PlacedSampler, seed_generators
from ...registry import LOOPS
from .accumulated import announce_pace
from .out_of_memory import OutOfMemory, advice
from .run_stopped import RunStopped
from .step_memory import foresee

# Of a first iteration: mistakes in the config that no check has found.
FAILURES = (
    AssertionError, AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError,
    TypeError, ValueError,
)  # fmt: skip

# In errors of devices and of the network between them, which no config is to blame for.
OF_MACHINES = ('CUDA error', 'NCCL', 'gloo', 'Gloo')


def resume_exactly(cfg: Config) -> None:
    """Change a whole config so that its run can be stopped at any iteration and resumed.

    mmengine's training loops become this module's; other loops stay as they are. Validation draws
    its random crops and masks alike each time.
    """
    cfg.train_cfg = exact_train_cfg(cfg.train_cfg)
    if cfg.get('val_dataloader'):
        cfg.val_dataloader = placed_dataloader(cfg.val_dataloader)


def exact_train_cfg(train_cfg: Mapping) -> dict:
    """The same training loop with exact resuming, if it is one of mmengine's."""
    settings = dict(train_cfg)
    if 'by_epoch' in settings:
        by_epoch = settings.pop('by_epoch')
        settings['type'] = 'EpochBasedTrainLoop' if by_epoch else 'IterBasedTrainLoop'
    if settings.get('type') in ('EpochBasedTrainLoop', 'IterBasedTrainLoop'):
        settings['type'] = f'beit_mm.Exact{settings["type"]}'
    return settings


def placed_dataloader(dataloader: Mapping) -> dict:
    """The same data loader, whose samples depend on the seed and their place alone.

    mmengine's seeding of the workers has nothing left to do.
    """
    return dict(
        {'worker_init_fn': dict(type='beit_mm.outlive_group_signals'), **dataloader},
        sampler=dict(type='beit_mm.PlacedSampler', sampler=dataloader['sampler']),
        dataset=dict(type='beit_mm.SeededDataset', dataset=dataloader['dataset']),
    )


class ExactLoop(BaseLoop):
    """What both loops share; goes before mmengine's loop in the bases, whose attributes it uses."""

    def __init__(self, runner, dataloader: dict, *args, **kwargs) -> None:
        if not isinstance(dataloader, Mapping):
            raise TypeError(
                f'train_dataloader is a {type(dataloader).__name__}; exact resuming takes a '
                'config, a dict, to build it from'
            )
        replacing = dict(type='beit_mm.ReplacingDataset', dataset=dataloader['dataset'])
        placed = placed_dataloader(dict(dataloader, dataset=replacing))
        super().__init__(runner, placed, *args, **kwargs)
        self.is_first = True

    @property
    def sampler(self) -> PlacedSampler:
        """Of the data loader."""
        return self.dataloader.batch_sampler.sampler

    def run(self):
        """Train to the end.

        If it is not reached, hooks that have a ``let_go`` are told so in the place of
        ``after_train``: a process that lives on can be stopped, and can train again.
        """
        try:
            return self._train()
        # Not after a signal: another one must not change the exit code that the first one asks for.
        except (Exception, KeyboardInterrupt):
            self.runner.call_hook('let_go')
            raise

    def _train(self):
        raise NotImplementedError

    def _begin(self) -> None:
        """Take the seed, which resuming may have changed, and go where the checkpoint was."""
        seed = [self.runner.seed]
        # With diff_rank_seed each process has its own.
        broadcast_object_list(seed)
        self.seed = self.sampler.seed = seed[0]
        if self.runner.val_loop is not None:
            sampler = self.runner.val_loop.dataloader.batch_sampler.sampler
            if isinstance(sampler, PlacedSampler):
                sampler.seed = self.seed
        self.runner.call_hook('before_train')
        announce_pace(self.runner)
        if self._iter > 0:
            # The run may have been stopped between the checkpoint and its validation.
            self._decide_current_val_interval()
            self._validate_if_due()

    def _go_to(self, epoch: int, batch: int) -> None:
        """Have the next pass of the data loader begin at a batch of an epoch."""
        self.sampler.epoch = epoch
        self.sampler.start = batch * self.dataloader.batch_sampler.batch_size

    def run_iter(self, *args) -> None:
        """Train on a batch, with generators that know the iteration and no past."""
        if self.is_first:
            # Before the seeding: whatever it draws leaves no trace.
            foresee(self.runner, args[-1])
        seed_generators(ITERATION, self.seed, self.runner.rank, self._iter)
        try:
            super().run_iter(*args)
        except OutOfMemory as error:
            said = str(error).partition('\n')[0]
        except FAILURES as error:
            ours = isinstance(error, (ConfigError, RunStopped))
            if not self.is_first or ours or any(word in str(error) for word in OF_MACHINES):
                raise
            raise ConfigError(
                f'the first iteration failed: {in_a_line(error)} (--debug shows where)'
            ) from error
        else:
            self.is_first = False
            return
        # Behind the handler, whose traceback holds the tensors of the step.
        raise RunStopped(advice(self.runner, args[-1], said))

    def _validation_is_due(self) -> bool:
        raise NotImplementedError

    def _validate_if_due(self) -> None:
        hub = self.runner.message_hub
        done = hub.runtime_info.get('iter_of_last_validation') == self._iter
        if self.runner.val_loop is not None and self._validation_is_due() and not done:
            # First, as a checkpoint of the best model is saved at the end of validation.
            hub.update_info('iter_of_last_validation', self._iter)
            seed_generators(VALIDATION, self.seed, self.runner.rank, self._iter)
            self.runner.val_loop.run()


@LOOPS.register_module()
class ExactEpochBasedTrainLoop(ExactLoop, EpochBasedTrainLoop):
    """mmengine's loop over epochs that resumes in the middle of one, exactly."""

    def _train(self):
        self._begin()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._decide_current_val_interval()
            self._validate_if_due()
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Train to the end of an epoch, from where the run is in it."""
        first = self._iter - self._epoch * len(self.dataloader)
        self.runner.call_hook('before_train_epoch')
        self._go_to(self._epoch, first)
        self.runner.model.train()
        for index, batch in enumerate(self.dataloader, first):
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _validation_is_due(self) -> bool:
        # In the middle of an epoch the last one's validation was done or is not asked for.
        return (
            self._iter == self._epoch * len(self.dataloader)
            and self._epoch >= self.val_begin
            and (self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs)
        )


@LOOPS.register_module()
class ExactIterBasedTrainLoop(ExactLoop, IterBasedTrainLoop):
    """mmengine's loop over iterations that resumes at once and exactly."""

    def _train(self):
        self._begin()
        self.runner.call_hook('before_train_epoch')
        # Where mmengine has begun to load data already, its workers are let go first.
        self.dataloader_iterator = None
        self.dataloader_iterator = self._batches()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._decide_current_val_interval()
            self._validate_if_due()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _batches(self):
        """Batches without end, from where the run is."""
        if self.sampler.endless:
            self._go_to(0, self._iter)
            yield from self.dataloader
        epoch, first = divmod(self._iter, len(self.dataloader))
        while True:
            self._go_to(epoch, first)
            yield from self.dataloader
            epoch, first = epoch + 1, 0

    def _validation_is_due(self) -> bool:
        return self._iter >= self.val_begin and (
            self._iter % self.val_interval == 0 or self._iter == self._max_iters
        )
