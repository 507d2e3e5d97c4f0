"""One group of parameters for each kind of settings, whichever constructor sorted them.

mmengine's constructors make a group of each parameter, and an optimizer starts its kernels group
by group: 189 times for BEiT-B, where there are two kinds of settings.
"""

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, NamedTuple, TypeGuard

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn
from torch.optim import Optimizer

from ...registry import OPTIM_WRAPPER_CONSTRUCTORS

GROUPED = 'beit_mm.GroupedOptimWrapperConstructor'
# What mmengine's constructor has worked into a group's other settings and leaves there.
WORKED_IN = ('lr_mult', 'decay_mult')
# What a scheduler keeps of each group, between runs too.
PER_GROUP = ('base_values', '_last_value')


class Grouping(NamedTuple):
    """How a constructor's groups were put together.

    Attributes:
        sizes: Number of parameters of each of its groups.
        shared: Which of the shared groups each of them went to.
    """

    sizes: tuple[int, ...]
    shared: tuple[int, ...]

    @property
    def first(self) -> list[int]:
        """The first of the constructor's groups in each shared one, which speaks for all."""
        return [self.shared.index(group) for group in range(max(self.shared) + 1)]

    def is_former(self, saved_groups: list[dict]) -> bool:
        """Whether saved groups are the constructor's own, not put together."""
        return tuple(len(group['params']) for group in saved_groups) == self.sizes

    def join(self, groups: list[dict]) -> list[dict]:
        """The constructor's groups, put together; their parameters in the same order."""
        joined = [{**groups[index], 'params': []} for index in self.first]
        for group, shared in zip(groups, self.shared, strict=True):
            joined[shared]['params'].extend(group['params'])
        return joined


def share_groups(optimizer: Optimizer) -> Grouping:
    """Put the groups of a new optimizer together that have equal settings.

    What an update does to a parameter stays the same, bit for bit. From then on the optimizer
    loads states that were saved with either groups.

    Args:
        optimizer: Without a state yet; its ``param_groups`` are replaced.
    """
    groups = optimizer.param_groups
    kinds: list[dict] = []
    shared = []
    for group in groups:
        kind = next((i for i, other in enumerate(kinds) if _equal(group, other)), len(kinds))
        if kind == len(kinds):
            kinds.append(group)
        shared.append(kind)
    grouping = Grouping(tuple(len(group['params']) for group in groups), tuple(shared))
    optimizer.param_groups[:] = grouping.join(groups)
    optimizer.register_load_state_dict_pre_hook(
        lambda _, state: share_groups_of_state(state, grouping)
    )
    return grouping


def _equal(group: Mapping, other: Mapping) -> bool:
    """Whether two groups have the same settings; tensors are the same only if they are one."""
    group, other = (
        {name: value for name, value in settings.items() if name not in ('params', *WORKED_IN)}
        for settings in (group, other)
    )
    if group.keys() != other.keys():
        return False
    pairs = [(value, other[name]) for name, value in group.items()]
    return all(
        a is b if isinstance(a, Tensor) or isinstance(b, Tensor) else type(a) is type(b) and a == b
        for a, b in pairs
    )


def share_groups_of_state(state: dict, grouping: Grouping) -> dict:
    """An optimizer's saved state with shared groups, whichever it was saved with."""
    if not grouping.is_former(state['param_groups']):
        return state
    # The state of each parameter goes by its number, which the groups list.
    return {**state, 'param_groups': grouping.join(state['param_groups'])}


def share_groups_of_schedulers(schedulers: Iterable[dict], grouping: Grouping) -> None:
    """Change saved states of mmengine's schedulers from the constructor's groups to the shared.

    Behind the groups there may be one value more: the learning rate of the config, which mmengine
    logs.
    """
    count = len(grouping.shared)
    for state in schedulers:
        for name in PER_GROUP:
            values = state.get(name)
            if isinstance(values, list) and len(values) in (count, count + 1):
                state[name] = [values[index] for index in grouping.first] + values[count:]


def has_one_optimizer(wrapper: Any) -> TypeGuard[OptimWrapper]:
    """Whether a Runner has one optimizer; what mmengine has of several is an OptimWrapper too."""
    return isinstance(wrapper, OptimWrapper) and not isinstance(wrapper, OptimWrapperDict)


def share_groups_of_checkpoint(checkpoint: dict, optim_wrapper: OptimWrapper) -> None:
    """Have a run that keeps shared groups go on from a checkpoint of one that did not.

    Args:
        checkpoint: As mmengine saves it; changed in place, or left alone if it has shared groups.
        optim_wrapper: Of the run.
    """
    grouping = getattr(optim_wrapper, 'grouping', None)
    if grouping is None or not grouping.is_former(checkpoint['optimizer']['param_groups']):
        return
    checkpoint['optimizer'] = share_groups_of_state(checkpoint['optimizer'], grouping)
    share_groups_of_schedulers(checkpoint.get('param_schedulers') or [], grouping)


def share_groups_of_config(cfg: Config) -> None:
    """Have a config's run keep one group for each kind, whatever its constructor."""
    settings = cfg.get('optim_wrapper')
    if isinstance(settings, MutableMapping) and settings.get('constructor') != GROUPED:
        settings['grouped'] = settings.get('constructor', 'DefaultOptimWrapperConstructor')
        settings['constructor'] = GROUPED


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class GroupedOptimWrapperConstructor:
    """Another constructor's optimizer with one group for each kind of settings.

    The tools of this project put it around every constructor that a config names. In a config of
    another project's tools: ``optim_wrapper = dict(..., grouped='DefaultOptimWrapperConstructor',
    constructor='beit_mm.GroupedOptimWrapperConstructor')``.

    Args:
        optim_wrapper_cfg: What the other constructor takes, and ``grouped``, its name.
        paramwise_cfg: The other constructor's.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        settings = dict(optim_wrapper_cfg)
        self.constructor = OPTIM_WRAPPER_CONSTRUCTORS.build(
            dict(
                type=settings.pop('grouped', 'DefaultOptimWrapperConstructor'),
                optim_wrapper_cfg=settings,
                paramwise_cfg=paramwise_cfg,
            )
        )

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer of a model.

        Returns:
            What the other constructor gives. If that is of one optimizer, with shared groups
            and the attribute ``grouping``, a :class:`Grouping`.
        """
        wrapper = self.constructor(model)
        if has_one_optimizer(wrapper):
            wrapper.grouping = share_groups(wrapper.optimizer)
            before, after = len(wrapper.grouping.sizes), len(wrapper.optimizer.param_groups)
            count = sum(wrapper.grouping.sizes)
            print_log(
                f'{count} parameters in {after} group(s) of equal settings'
                + (f', which were {before}' if before != after else ''),
                logger='current',
            )
        return wrapper
