"""Processes that work together, on machines without GPUs too."""

import gc
import os
from collections.abc import MutableMapping

import torch
from mmengine.config import Config

from ...component import ConfigError


def join_cpu_group(cfg: Config) -> None:
    """Join the processes by gloo, where mmengine knows NVIDIA's devices only.

    The Runner leaves a process group alone that is there already; DDP must then be told that a
    process has no device of its own.
    """
    if 'MASTER_ADDR' not in os.environ:
        raise ConfigError(
            f'--launcher {cfg.launcher} without GPUs takes the environment variable MASTER_ADDR, '
            'the address of the first machine'
        )
    os.environ.setdefault('MASTER_PORT', '29500')
    store, rank, world_size = next(torch.distributed.rendezvous('env://'))
    # torchrun's store outlives a restart, with the addresses of processes that are gone in it.
    restarts = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')
    store = torch.distributed.PrefixStore(f'restart_{restarts}', store)
    torch.distributed.init_process_group('gloo', store=store, rank=rank, world_size=world_size)
    usual = dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    cfg.model_wrapper_cfg = {**usual, **(cfg.get('model_wrapper_cfg') or {}), 'device_ids': None}
    # See ShortLogRunner.wrap_model; a Runner of one's own knows SyncBN by the config alone.
    cfg.sync_bn = None
    if 'runner_type' in cfg:
        _unsync_norms(cfg.model)


def _unsync_norms(part: MutableMapping | list | tuple) -> None:
    """Make SyncBN in a config, which is for GPUs only, batch norm of a process's own images."""
    for value in part.values() if isinstance(part, MutableMapping) else part:
        if isinstance(value, (MutableMapping, list, tuple)):
            _unsync_norms(value)
    if isinstance(part, MutableMapping) and part.get('type') == 'SyncBN':
        part['type'] = 'BN'


def leave_group() -> None:
    """Close the connections between processes: gloo's threads abort a process that ends first."""
    if torch.distributed.is_initialized():
        # DDP, in the Runner's circle of references, holds the group too.
        gc.collect()
        torch.distributed.destroy_process_group()
