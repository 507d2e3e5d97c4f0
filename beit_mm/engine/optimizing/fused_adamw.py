"""Optimizers."""

from collections.abc import Iterable

import torch
from mmengine.logging import print_log
from mmengine.utils import digit_version

from ...registry import OPTIMIZERS


def fused_devices() -> tuple[str, ...]:
    """Types of devices that this PyTorch has a fused AdamW for."""
    if digit_version(torch.__version__) >= digit_version('2.4'):
        return 'cuda', 'cpu'
    return ('cuda',)


@OPTIMIZERS.register_module()
class FusedAdamW(torch.optim.AdamW):
    """AdamW in one pass over the parameters, where this PyTorch can for their device.

    On an NVIDIA GPU every supported PyTorch can; on the CPU those from 2.4. Elsewhere it is
    PyTorch's usual AdamW, and the log says so. Arguments and state are those of
    ``torch.optim.AdamW``.
    """

    def __init__(self, params: Iterable, **kwargs) -> None:
        params = list(params)
        tensors = [t for p in params for t in (p['params'] if isinstance(p, dict) else [p])]
        devices = sorted({t.device.type for t in tensors})
        fused = all(device in fused_devices() for device in devices)
        if not fused:
            print_log(
                f'PyTorch {torch.__version__} has no fused AdamW for {" and ".join(devices)}: '
                'the usual one runs',
                logger='current',
            )
        # None, not False: PyTorch then chooses between its unfused forms.
        super().__init__(params, fused=fused or None, **kwargs)

    def load_state_dict(self, state_dict: dict) -> None:
        """Load a state; whether the pass is fused depends on this machine, not on the file's."""
        groups = [{**g, 'fused': self.defaults['fused']} for g in state_dict['param_groups']]
        super().load_state_dict({**state_dict, 'param_groups': groups})
