"""Which of several forms of the same computation run here, in words."""

import torch

from ..machine import Choice, processor
from . import attention, compiling, linear


def fast_paths(device: torch.device) -> list[Choice]:
    """What was chosen for a device, and why.

    Args:
        device: That the model is on.
    """
    if device.type != 'cpu':
        return [
            Choice(
                'attention', "PyTorch's fused kernel", 'it keeps no scores for the backward pass'
            ),
            compiling.compiling(device),
        ]
    ours = processor()
    return [
        Choice(
            'processor',
            f'{ours.vendor or "unknown"} with {ours.instructions}',
            'as PyTorch sees it',
        ),
        linear.PRODUCTS,
        Choice(
            'attention with a learned bias, float32',
            'the formula, in place',
            "PyTorch's fused kernel for CPUs has no gradient of the bias",
        ),
        attention.HALF,
        attention.HALF_TRAINING,
        Choice(
            'tokenizer',
            'channels last, as many images at a time as caches hold',
            'faster with every instruction set measured',
        ),
        compiling.compiling(device),
    ]
