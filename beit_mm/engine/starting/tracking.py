"""Where a run's figures and pictures go beside its folder: ``--track``."""

import netrc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mmengine.config import Config

from ...component import ConfigError, did_you_mean

WANDB = 'https://api.wandb.ai'
# Of a work directory, where MLflow keeps its runs if it is told of no other place.
STORE = 'mlflow'


def track(cfg: Config, names: Sequence[str]) -> None:
    """Have a run write its figures and pictures for trackers too, beside its own folder.

    Figures of validation are then counted by iteration, as those of training are.

    Args:
        cfg: A whole config, changed in place.
        names: Of 'tensorboard', 'wandb' and 'mlflow'; several in one, with commas, count too.

    Raises:
        ConfigError: If there is no such tracker.
    """
    asked = [name.strip() for given in names for name in given.split(',') if name.strip()]
    for name in asked:
        if name not in BACKENDS:
            raise ConfigError(
                f'--track is {name!r}; it must be of {", ".join(BACKENDS)}'
                f'{did_you_mean(name, BACKENDS)}'
            )
    if not asked:
        return
    visualizer = cfg.get('visualizer') or dict(type='Visualizer')
    backends = list(visualizer.get('vis_backends') or [dict(type='LocalVisBackend')])
    for name in dict.fromkeys(asked):
        backend = BACKENDS[name](cfg)
        # What the config says of a tracker counts.
        if _kind(backend) not in map(_kind, backends):
            backends.append(backend)
    cfg.visualizer = dict(visualizer, vis_backends=backends)
    hooks = dict(cfg.get('default_hooks') or {})
    logger = hooks.get('logger', dict(type='LoggerHook'))
    if isinstance(logger, Mapping):
        hooks['logger'] = {'log_metric_by_epoch': False, **logger}
    cfg.default_hooks = hooks


def _kind(backend: Mapping[str, Any]) -> str:
    return str(backend.get('type')).rpartition('.')[2]


def _tensorboard(cfg: Config) -> dict:
    return dict(type='TensorboardVisBackend')


def _wandb(cfg: Config) -> dict:
    settings = dict(project='beit_mm', name=Path(cfg.work_dir).name)
    if 'WANDB_MODE' not in os.environ and not logged_in_to_wandb():
        settings['mode'] = 'offline'
    return dict(type='beit_mm.WandbVisBackend', init_kwargs=settings)


def logged_in_to_wandb() -> bool:
    """Whether there is a key for Weights & Biases, where its program looks for one."""
    if os.environ.get('WANDB_API_KEY'):
        return True
    host = urlsplit(os.environ.get('WANDB_BASE_URL') or WANDB).hostname or ''
    file = os.environ.get('NETRC') or next(
        (path for path in map(Path.home().joinpath, ('.netrc', '_netrc')) if path.is_file()), None
    )
    if file is None:
        return False
    try:
        return netrc.netrc(file).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _mlflow(cfg: Config) -> dict:
    run = dict(exp_name=Path(cfg.filename or 'beit_mm').stem, run_name=Path(cfg.work_dir).name)
    uri = os.environ.get('MLFLOW_TRACKING_URI')
    if uri:
        return dict(type='beit_mm.MLflowVisBackend', tracking_uri=uri, **run)
    store = Path(cfg.work_dir).resolve() / STORE
    return dict(
        type='beit_mm.MLflowVisBackend',
        tracking_uri=f'sqlite:///{store.as_posix()}/mlflow.db',
        artifact_location=(store / 'artifacts').as_uri(),
        # The logs are beside it; the store itself would be among what is copied into it.
        artifact_suffix=(),
        **run,
    )


BACKENDS = dict(tensorboard=_tensorboard, wandb=_wandb, mlflow=_mlflow)
