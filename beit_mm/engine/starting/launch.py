"""From the command line to a Runner: what OpenMMLab's tools do, on machines without GPUs too."""

import argparse
import atexit
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from ...checkpoints import CheckpointError, check_source
from ...component import ConfigError, Note, in_a_line
from ...layers.fast_paths import fast_paths
from ...options import Options
from ..caching.use_tokens import use_token_cache
from ..checking.config_check import check_config
from ..checking.first_batch import check_first_batch
from ..checking.names_check import LOADERS
from ..checking.others_check import strange_keys
from ..checking.own_variables import unread_options, unread_variables
from ..optimizing.mixed_precision import slow_precision
from ..optimizing.param_groups import share_groups_of_config
from ..running.exact_resume import resume_exactly
from ..running.run_stopped import RunStopped
from ..running.stop_signals import end_with_launcher, restarted
from .measured_ranges import measure_ranges
from .processes import join_cpu_group, leave_group
from .progress_line import progress_below
from .run_length import follow_length
from .short_log import ShortLogRunner
from .telling import MISTAKES, leaving_nothing, mistakes_of

# The environment variables in which each launcher says who a process is, in torch's terms.
RANK_VARIABLES = {
    'mpi': {'RANK': 'OMPI_COMM_WORLD_RANK', 'WORLD_SIZE': 'OMPI_COMM_WORLD_SIZE',
            'LOCAL_RANK': 'OMPI_COMM_WORLD_LOCAL_RANK'},
    'slurm': {'RANK': 'SLURM_PROCID', 'WORLD_SIZE': 'SLURM_NTASKS', 'LOCAL_RANK': 'SLURM_LOCALID'},
}  # fmt: skip


def add_common_arguments(
    parser: argparse.ArgumentParser, *, work_dir: bool = True, launcher: bool = True
) -> None:
    """The arguments that training and testing share, and other tools that take a config.

    Args:
        parser: Of the tool.
        work_dir: Whether it writes into a work directory.
        launcher: Whether several processes share its work.
    """
    parser.add_argument('config', help='config file')
    parser.set_defaults(work_dir=None, launcher='none')
    if work_dir:
        parser.add_argument('--work-dir', help='folder for logs and checkpoints')
    if launcher:
        parser.add_argument(
            '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none',
            help='launcher',
        )  # fmt: skip
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Options,
        default={},
        metavar='KEY=VALUE',
        help='settings of the config to override, such as train_dataloader.batch_size=64',
    )
    parser.add_argument(
        '--debug', action='store_true', help='show the whole traceback of a mistake'
    )
    # Older launchers pass the rank as an argument, torchrun as an environment variable.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def load_config(
    args: argparse.Namespace, said_elsewhere: Mapping[str, str] | None = None
) -> Config:
    """Read the config and apply the common arguments; the options come last and win.

    Args:
        args: Of :func:`add_common_arguments`.
        said_elsewhere: See :func:`check_options`; what the common arguments say is among it.

    Raises:
        ConfigError: If it cannot be read, an option names what nothing reads, or an argument says
            the same.
    """
    end_with_launcher()
    for variable, source in RANK_VARIABLES.get(args.launcher, {}).items():
        os.environ[variable] = os.environ[source]
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    with mistakes_of('reading the config'):
        cfg = Config.fromfile(args.config)
    said_elsewhere = dict(said_elsewhere or {})
    if args.work_dir:
        said_elsewhere['work_dir'] = '--work-dir says it'
    if args.launcher != 'none':
        said_elsewhere['launcher'] = '--launcher says it'
    check_options(cfg, args.cfg_options, said_elsewhere)
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{Path(args.config).stem}'
    before = cfg.to_dict()
    with mistakes_of('--cfg-options'):
        cfg.merge_from_dict(args.cfg_options)
    if followed := follow_length(cfg, before.get('train_cfg') or {}, args.cfg_options):
        print(followed)
    return cfg


def check_options(
    cfg: Config, options: Mapping[str, Any], said_elsewhere: Mapping[str, str] | None = None
) -> None:
    """Refuse settings that would change nothing; print what may be read by somebody else's parts.

    Args:
        cfg: As the file has it, before the options.
        options: Of the command line, dotted key -> value.
        said_elsewhere: Key that the options may not set -> what sets it in their place.

    Raises:
        ConfigError: With all that is wrong, a line each.
    """
    said = [*unread_variables(cfg), *unread_options(cfg, options)]
    for key in options:
        for place, where in (said_elsewhere or {}).items():
            if key == place or key.startswith(f'{place}.'):
                said.append(f'{key} is among --cfg-options, and {where}: leave it out')
    if wrong := [line for line in said if not isinstance(line, Note)]:
        raise ConfigError('\n'.join(wrong))
    for note in said:
        print(note)


def build_runner(cfg: Config, mode: str) -> Runner:
    """Check a config and build its Runner.

    Args:
        cfg: A whole config.
        mode: 'train' or 'test'.

    Raises:
        CacheError: If its token cache does not fit; see :func:`use_token_cache`.
        ConfigError: If the config cannot work, see :func:`check_config`, or the weights that it
            starts from are not there, or its parts cannot be built.
    """
    notes = check_config(cfg, mode)
    start = cfg.get('load_from') or ''
    try:
        if start:
            check_source(start)
    except (CheckpointError, FileNotFoundError) as error:
        raise ConfigError(f'load_from: {error}') from None
    if measured := measure_ranges(cfg, mode):
        notes.append(measured)
    if mode == 'train':
        use_token_cache(cfg)
    if cfg.get('randomness', {}).get('deterministic'):
        # cuBLAS refuses to work deterministically without a workspace of a fixed size.
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    if cfg.launcher != 'none' and not torch.cuda.is_available():
        join_cpu_group(cfg)
    for name in LOADERS:
        if cfg.get(name):
            cfg[name] = without_idle_settings(cfg[name])
    if mode == 'train':
        resume_exactly(cfg)
        share_groups_of_config(cfg)
    atexit.register(leave_group)
    hooks = list(cfg.get('custom_hooks') or [])
    own = [dict(type='beit_mm.PublicWeightsHook', strict=mode == 'test')]
    if mode == 'train':
        own += [dict(type='beit_mm.ResumedChangesHook'), dict(type='beit_mm.ImageChangesHook')]
    cfg.custom_hooks = [*own, *hooks]
    with mistakes_of('building the run'):
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else ShortLogRunner.from_cfg(cfg)
        for note in notes:
            runner.logger.warning(note)
        if mode == 'train':
            # As train() would, but before anything else happens.
            runner._train_loop = runner.build_train_loop(runner._train_loop)
            runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
            if runner._val_loop is not None:
                runner._val_loop = runner.build_val_loop(runner._val_loop)
            check_first_batch(runner)
            for warning in strange_keys(cfg, runner.model):
                runner.logger.warning(warning)
        device = next((p.device for p in runner.model.parameters()), torch.device('cpu'))
        lines = [f'  {choice}' for choice in fast_paths(device)]
        runner.logger.info('\n'.join(['What is fast on this machine:', *lines]))
        if slow := slow_precision(runner.optim_wrapper, device):
            runner.logger.warning(slow)
    return runner


def train(cfg: Config) -> Runner:
    """Train what a config describes; a run that fails before its first iteration leaves nothing.

    Raises:
        ConfigError: As :func:`build_runner`, or if the first iteration fails.
    """
    runner: Any = None

    def has_begun() -> bool:
        loop = getattr(runner, '_train_loop', None)
        return runner is not None and not getattr(loop, 'is_first', False)

    name = Path(cfg.filename or 'config.py').name
    with leaving_nothing(Path(cfg.work_dir), name, has_begun):
        runner = build_runner(cfg, mode='train')
        try:
            with progress_below(runner):
                runner.train()
        except RunStopped:
            raise
        except MISTAKES as error:
            if not has_begun():
                raise
            # Such as a full disk: what ends a run that has begun is no mistake in its config.
            raise RunStopped(str(error)) from error
        except Exception as error:
            if has_begun():
                raise
            raise ConfigError(
                f'the run does not start: {in_a_line(error)} (--debug shows where)'
            ) from error
    return runner


def without_idle_settings(loader: dict) -> dict:
    """A data loader's settings without those of workers, where it has none.

    PyTorch refuses them; who sets ``num_workers=0`` wants to load without workers.
    """
    if loader.get('num_workers', 0):
        return loader
    return {k: v for k, v in loader.items() if k not in ('persistent_workers', 'prefetch_factor')}


def refuse_foreign_work_dir(cfg: Config) -> None:
    """Keep a new run from overwriting another run's checkpoints.

    Raises:
        ConfigError: If the work directory is a file, or holds a run's checkpoints and this run does
            not resume.
    """
    if Path(cfg.work_dir).exists() and not Path(cfg.work_dir).is_dir():
        raise ConfigError(f'work_dir is {cfg.work_dir!r}, which is a file; choose another')
    if Path(cfg.work_dir, 'last_checkpoint').is_file() and not cfg.get('resume'):
        raise ConfigError(
            f'work_dir is {cfg.work_dir!r}, which holds the checkpoints of another run: add '
            '--resume to go on with it, or choose another --work-dir'
        )


def choose_start(cfg: Config, resume: str | None) -> None:
    """Set ``resume`` and ``load_from`` of a config by what the user and the launcher ask for.

    A job that torchrun or Slurm starts again has its first arguments, and newer checkpoints than
    they name. Where there is nothing to go on from, the config's ``load_from`` stays.

    Args:
        cfg: A whole config.
        resume: A checkpoint, 'auto' for the newest one of the work directory, or None.

    Raises:
        ConfigError: If there is no such file.
    """
    saved = Path(cfg.work_dir, 'last_checkpoint').is_file()
    if saved and (resume == 'auto' or restarted()):
        cfg.resume, cfg.load_from = True, None
    elif resume == 'auto':
        print(f'{cfg.work_dir} holds no checkpoint yet: training begins at the start')
    elif resume is not None:
        if '://' not in resume and not Path(resume).is_file():
            raise ConfigError(f'--resume {resume!r}: there is no such file')
        cfg.resume, cfg.load_from = True, resume
