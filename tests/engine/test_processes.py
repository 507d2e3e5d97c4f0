"""Processes without GPUs: what their models are wrapped in."""

import socket

import pytest
import torch
from mmcv.cnn import build_norm_layer
from mmengine.config import Config
from mmengine.model import BaseModel, is_model_wrapper
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import nn

from beit_mm.engine.starting.processes import join_cpu_group, leave_group
from beit_mm.engine.starting.short_log import ShortLogRunner
from beit_mm.registry import MODELS


class Normed(BaseModel):
    """A network that has SyncBN without a config's saying so, and a layer that it does not use."""

    def __init__(self):
        super().__init__()
        self.norm = nn.SyncBatchNorm(3)
        self.idle = nn.Linear(2, 2)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return dict(loss=self.norm(inputs).pow(3).mean())


class NormedByConfig(Normed):
    """One that a config tells its norm."""

    def __init__(self, norm_cfg):
        super().__init__()
        self.norm = build_norm_layer(norm_cfg, 3)[1]


class OwnRunner(Runner):
    """Of a project's own."""


@pytest.fixture
def group_of_one(monkeypatch):
    """Variables by which torchrun says who a process is, of one that is alone."""
    with socket.socket() as port:
        port.bind(('127.0.0.1', 0))
        number = port.getsockname()[1]
    alone = dict(MASTER_ADDR='127.0.0.1', RANK=0, WORLD_SIZE=1, LOCAL_RANK=0, MASTER_PORT=number)
    for name, value in alone.items():
        monkeypatch.setenv(name, str(value))
    MODELS.register_module(module=Normed, force=True)
    yield
    MODELS.module_dict.pop('Normed')
    leave_group()


@pytest.mark.skipif(torch.cuda.is_available(), reason='with a GPU mmengine joins the processes')
def test_norms_are_each_processes_own_and_a_wrapper_keeps_its_settings(group_of_one, tmp_path):
    cfg = Config(
        dict(
            launcher='pytorch',
            model=dict(type='beit_mm.Normed'),
            model_wrapper_cfg=dict(find_unused_parameters=True),
            sync_bn='torch',
            work_dir=str(tmp_path),
            default_scope='mmengine',
        )
    )
    join_cpu_group(cfg)
    model = ShortLogRunner.from_cfg(cfg).model
    assert is_model_wrapper(model)
    assert model.find_unused_parameters
    assert not any(isinstance(layer, nn.SyncBatchNorm) for layer in model.modules())

    x = torch.randn(5, 3, 4, 4) * 3 + 1
    norm = nn.BatchNorm2d(3)
    for _ in range(2):
        loss = model(x, mode='loss')['loss']
        loss.backward()
        torch.testing.assert_close(loss, norm(x).pow(3).mean())
    torch.testing.assert_close(model.module.norm.running_var, norm.running_var)


@pytest.mark.skipif(torch.cuda.is_available(), reason='with a GPU mmengine joins the processes')
def test_a_runner_of_ones_own_has_no_sync_bn_that_the_config_names(
    group_of_one, tmp_path, monkeypatch
):
    monkeypatch.setitem(RUNNERS._module_dict, 'OwnRunner', OwnRunner)
    monkeypatch.setitem(MODELS._module_dict, 'NormedByConfig', NormedByConfig)
    cfg = Config(
        dict(
            launcher='pytorch',
            runner_type='OwnRunner',
            model=dict(type='beit_mm.NormedByConfig', norm_cfg=dict(type='SyncBN')),
            work_dir=str(tmp_path),
            default_scope='mmengine',
        )
    )
    join_cpu_group(cfg)
    model = RUNNERS.build(cfg).model
    assert is_model_wrapper(model)
    assert type(model.module.norm) is nn.BatchNorm2d
