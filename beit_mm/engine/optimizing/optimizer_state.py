"""What an optimizer keeps of the weights, by making a small one of its kind."""

import torch
from torch import nn

# Numbers of the weight that it is asked of.
NUMBERS = 1000


def state_of_a_weight(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor] | None:
    """The tensors that an optimizer keeps of a weight of ``NUMBERS`` float32 after one step.

    None of an optimizer that takes more than its defaults to be made.
    """
    weight = nn.Parameter(torch.zeros(NUMBERS))
    weight.grad = torch.zeros_like(weight)
    try:
        twin = type(optimizer)([weight], **optimizer.defaults)
        twin.step()
    except Exception:
        return None
    return {n: value for n, value in twin.state[weight].items() if isinstance(value, torch.Tensor)}
