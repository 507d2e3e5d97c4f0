"""A run made shorter or longer by one setting: schedules follow its length."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

LENGTHS = ('max_iters', 'max_epochs')
# Of schedulers: places in the run, and parts of it.
PLACES = ('begin', 'end', 'T_max', 'milestones', 'step_size', 'total_steps', 'periods')


def follow_length(cfg: Config, before: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """Lay the schedules out over a new length, where nothing else is said of them.

    Args:
        cfg: A whole config with the options merged in, changed in place.
        before: ``train_cfg`` as the config file has it.
        options: Of the command line, dotted key -> value.

    Returns:
        What was done, key by key; '' if nothing was.
    """
    given = [key for key in options if key.partition('.')[0] in ('param_scheduler', 'train_cfg')]
    lengths = [name for name in LENGTHS if f'train_cfg.{name}' in given]
    others = [key for key in given if key.startswith('param_scheduler') or key == 'train_cfg']
    if len(lengths) != 1 or others or not cfg.get('param_scheduler'):
        return ''
    (name,) = lengths
    old, new = before.get(name), cfg.train_cfg[name]
    if not _is_count(old) or not _is_count(new) or old == new:
        return ''
    schedulers = cfg.param_scheduler
    several = isinstance(schedulers, list)
    changed = []
    for index, scheduler in enumerate(schedulers if several else [schedulers]):
        for place in PLACES:
            was = scheduler.get(place)
            if was is None:
                continue
            scheduler[place] = _scaled(was, new / old)
            if place == 'end' and _is_count(was):
                # One step at least, also where a warm-up has all but vanished.
                scheduler[place] = max(scheduler[place], scheduler.get('begin', 0) + 1)
            if scheduler[place] != was:
                key = f'param_scheduler.{index}' if several else 'param_scheduler'
                changed.append(f'{key}.{place}={scheduler[place]}')
    if not changed:
        return ''
    return f'train_cfg.{name} is {new} in place of {old}, and so {" ".join(changed)}'


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _scaled(place: Any, ratio: float) -> Any:
    """The place in a run of another length; what was not at its beginning is not so now."""
    if isinstance(place, (list, tuple)):
        return [_scaled(one, ratio) for one in place]
    return max(1, round(place * ratio)) if _is_count(place) else place
