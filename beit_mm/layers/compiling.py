"""Compiled forms of methods that many modules share."""

import logging
from collections.abc import Callable
from functools import cache

import torch
from mmengine.logging import print_log
from mmengine.utils import digit_version

from ..machine import Choice, choose_compiling

# With fewer weights the kernels are so short that the compiler's start-up outweighs them.
MIN_WEIGHTS = 10**6


def can_compile() -> bool:
    """Whether this PyTorch compiles a method once for all its modules: from 2.5 on."""
    return digit_version(torch.__version__) >= digit_version('2.5')


@cache
def compiling(device: torch.device) -> Choice:
    """Whether a device runs compiled what a config leaves open."""
    return choose_compiling(device, can_compile())


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


@cache
def compiled_if_it_can_be(method: Callable) -> Callable:
    """:func:`compiled`, for what nobody asked for: where the compiler fails, the method itself.

    The log names the compiler's error, once.
    """
    fast = compiled(method)
    failed = False

    def call(*args):
        nonlocal failed
        if failed:
            return method(*args)
        from torch._dynamo.exc import TorchDynamoException

        try:
            return fast(*args)
        except TorchDynamoException as error:
            failed = True
            first_line = str(error).partition('\n')[0]
            print_log(
                f'{method.__qualname__} runs uncompiled, the compiler failed: '
                f'{type(error).__name__}: {first_line}',
                logger='current',
                level=logging.WARNING,
            )
            return method(*args)

    return call


def in_its_fast_form(
    method: Callable, wanted: bool | None, device: torch.device, module: torch.nn.Module
) -> Callable:
    """A method of a module, compiled or not.

    Nothing is compiled inside of what somebody else compiles. What nobody has asked for is
    compiled in training alone: in evaluation inputs come in many sizes, for each of which the
    compiler would start anew.

    Args:
        method: Called with the module first.
        wanted: Whether to compile it; None leaves that to the device, and to the module's size.
        device: That its inputs are on.
        module: Whose method it is.
    """
    if wanted is False or is_compiling():
        return method
    if wanted:
        return compiled(method)
    if device.type == 'cpu' or not module.training or compiling(device).chosen == 'no':
        return method
    weights = sum(t.numel() for t in (*module.parameters(), *module.buffers()))
    return compiled_if_it_can_be(method) if weights >= MIN_WEIGHTS else method


def is_compiling() -> bool:
    """Whether a graph is made of what runs: by torch.compile, torch.export or torch.jit.trace."""
    # torch 2.1 has the question in another place.
    home = torch.compiler if hasattr(torch.compiler, 'is_compiling') else torch._utils
    return home.is_compiling() or torch.jit.is_tracing()


def is_recording() -> bool:
    """Whether a graph is made of what runs by running it: by torch.export or torch.jit.trace.

    Its tensors belong to the graph and, in torch.export, hold no numbers: they are not to be kept.
    torch.compile, and torch.export where it is strict, read the code instead.
    """
    if not is_compiling():
        return False
    if hasattr(torch.compiler, 'is_dynamo_compiling'):
        return not torch.compiler.is_dynamo_compiling()
    return torch.jit.is_tracing()
