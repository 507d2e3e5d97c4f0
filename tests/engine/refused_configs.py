"""What is said against a config that trains a model of MMPretrain's kind."""

from mmengine.config import Config

from beit_mm.engine import ConfigError, check_config


def refused(model, pipeline=None, **wrapper) -> str:
    """What check_config says against training it; nothing where it is taken."""
    steps = {} if pipeline is None else dict(pipeline=pipeline)
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            model=model,
            train_dataloader=dict(
                batch_size=2,
                sampler=dict(type='DefaultSampler'),
                dataset=dict(type='CUB', data_root='.', **steps),
            ),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1), **wrapper),
        )
    )
    try:
        check_config(cfg, 'train')
    except ConfigError as error:
        return str(error)
    return ''
