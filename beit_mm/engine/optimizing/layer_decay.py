"""Layer-wise learning-rate decay: the nearer to the image, the smaller the step."""

from collections.abc import Iterator
from typing import Any

from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import Tensor, nn

from ...layers.positions import is_position
from ...models import VisionTransformer
from ...registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor:
    """Optimizer of a model with a :class:`VisionTransformer` inside, classifier or segmenter alike.

    A parameter at depth d of D has the learning rate lr * rate^(D - 1 - d): the embeddings are at
    depth 0, block l (from 0) at l + 1, everything after the blocks at D - 1, and so is a bias
    table that the blocks share (released code). Of several networks each has depths of its own.
    Weight decay spares biases, norms, LayerScale, [S] and absolute positions. What needs no
    gradient is left out. The log shows the groups.

    In a config: ``optim_wrapper = dict(constructor='beit_mm.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.65), optimizer=dict(...))``.

    Args:
        optim_wrapper_cfg: Config of the optimizer wrapper with its ``optimizer``, which states
            ``lr``; without ``weight_decay`` nothing decays.
        paramwise_cfg: ``layer_decay_rate``, in (0, 1]; 1 if there is none. ``custom_keys``, part of
            a parameter's name -> ``lr_mult`` and ``decay_mult``, as mmengine's constructor has
            them: the longest part counts.

    Raises:
        ValueError: If ``paramwise_cfg`` or ``custom_keys`` have another key, the rate is out of its
            range, or the optimizer has no ``lr``.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        self.wrapper_cfg = dict(optim_wrapper_cfg)
        self.optimizer_cfg = dict(self.wrapper_cfg.pop('optimizer', {}))
        if self.optimizer_cfg.get('lr') is None:
            raise ValueError('optim_wrapper.optimizer has no lr; layer-wise decay needs its number')
        settings = dict(paramwise_cfg or {})
        self.rate = settings.pop('layer_decay_rate', 1.0)
        self.custom_keys = dict(settings.pop('custom_keys', None) or {})
        if settings:
            raise ValueError(
                f'optim_wrapper.paramwise_cfg has {", ".join(settings)}; '
                'LayerDecayOptimWrapperConstructor takes layer_decay_rate and custom_keys'
            )
        for part, factors in self.custom_keys.items():
            if unknown := set(factors) - {'lr_mult', 'decay_mult'}:
                raise ValueError(
                    f'optim_wrapper.paramwise_cfg.custom_keys[{part!r}] has '
                    f'{", ".join(sorted(unknown))}; it takes lr_mult and decay_mult'
                )
        if not 0 < self.rate <= 1:
            raise ValueError(
                f'optim_wrapper.paramwise_cfg.layer_decay_rate is {self.rate}, it must be in (0, 1]'
            )

    def __call__(self, model: Any) -> OptimWrapper:
        """Build the optimizer.

        Args:
            model: With at least one parameter to train; DDP may be around it.

        Raises:
            ValueError: If there is no :class:`VisionTransformer` in it.
        """
        while is_model_wrapper(model):
            model = model.module
        lr, decay = self.optimizer_cfg['lr'], self.optimizer_cfg.get('weight_decay') or 0.0
        groups: dict[tuple[int, int, bool, str], dict[str, Any]] = {}
        for name, parameter, depth, depths in _depths(model):
            # Biases, norms, LayerScale, [S] and positions (released code).
            spared = parameter.ndim <= 1 or name.endswith('cls_token') or is_position(name)
            part = max((key for key in self.custom_keys if key in name), key=len, default='')
            factors = self.custom_keys.get(part, {})
            group = groups.setdefault(
                (depth, depths, spared, part),
                dict(
                    params=[],
                    lr=lr * self.rate ** (depths - 1 - depth) * factors.get('lr_mult', 1.0),
                    weight_decay=0.0 if spared else decay * factors.get('decay_mult', 1.0),
                    depth=depth,
                ),
            )
            group['params'].append(parameter)
        ordered = [groups[key] for key in sorted(groups)]
        print_log(_table(ordered), logger='current')
        optimizer = OPTIMIZERS.build({**self.optimizer_cfg, 'params': ordered})
        return OPTIM_WRAPPERS.build(
            {'type': 'OptimWrapper', **self.wrapper_cfg, 'optimizer': optimizer}
        )


def _depths(model: nn.Module) -> Iterator[tuple[str, Tensor, int, int]]:
    """Name, parameter, depth and number of depths of what is trained."""
    backbones = {
        f'{name}.' if name else '': module
        for name, module in model.named_modules()
        if isinstance(module, VisionTransformer)
    }
    if not backbones:
        raise ValueError(
            f'{type(model).__name__} has no BEiT and no VisionTransformer in it, whose depths the '
            'learning rate could follow'
        )
    first = next(iter(backbones))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            # Of several networks its own; what is in none is behind the last block of any.
            prefix = max((p for p in backbones if name.startswith(p)), key=len, default=first)
            yield (name, parameter, *backbones[prefix].get_layer_depth(name, prefix))


def _table(groups: list[dict]) -> str:
    lines = [
        'Parameters, learning rates and weight decays by depth:',
        f'{"depth":>6} {"lr":>10} {"decay":>8} {"tensors":>8} {"values":>12}',
    ]
    for group in groups:
        values = sum(parameter.numel() for parameter in group['params'])
        lines.append(
            f'{group["depth"]:>6} {group["lr"]:>10.3g} {group["weight_decay"]:>8.3g} '
            f'{len(group["params"]):>8} {values:>12,}'
        )
    return '\n'.join(lines)
