"""Compiled forms of methods that many modules share."""

from collections.abc import Callable
from functools import cache

import torch
from mmengine.logging import print_log
from mmengine.utils import digit_version


def can_compile() -> bool:
    """Whether this PyTorch compiles a method once for all its modules: from 2.5 on."""
    return digit_version(torch.__version__) >= digit_version('2.5')


@cache
def compiled(method: Callable) -> Callable:
    """``torch.compile(method)``, made once; the method itself, and a log line, before PyTorch 2.5.

    A method, called with its module as the first argument, rather than a module: what is compiled
    for the first block of a network serves the others, and no module holds anything that cannot
    be copied or saved. The compiler starts at the first call.
    """
    if not can_compile():
        print_log(
            f'{method.__qualname__} runs uncompiled: that takes PyTorch 2.5, this is '
            f'{torch.__version__}',
            logger='current',
        )
        return method
    return torch.compile(method)
