"""The machine and the versions that a figure was measured with."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

# Either stack's distributions provide mmengine, mmcv and mmpretrain.
DISTRIBUTIONS = (
    *('numpy', 'torchvision', 'pillow', 'opencv-python', 'opencv-python-headless'),
    *('onedl-mmengine', 'onedl-mmcv', 'onedl-mmpretrain'),
    *('mmengine', 'mmcv', 'mmpretrain', 'simplejpeg'),
)


def processor() -> str:
    """The processor's name, as the system gives it."""
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()


def describe(device: torch.device | str = 'cpu') -> dict:
    """What a figure's JSON says about where it comes from.

    Args:
        device: That the figure was measured on.

    Returns:
        ``device``: a GPU's name, or the processor's with the number of threads in use; ``cpu``,
        ``instructions`` (the widest that PyTorch uses), ``cores``, ``load`` (of the last minute,
        other programs' too), ``python`` and versions.
    """
    device = torch.device(device)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    name = f'{processor()}, {torch.get_num_threads()} of {cores} cores'
    if device.type == 'cuda':
        name = torch.cuda.get_device_name(device)
    versions = {'torch': torch.__version__}
    for distribution in DISTRIBUTIONS:
        try:
            versions[distribution] = version(distribution)
        except PackageNotFoundError:
            continue
    return dict(
        device=name,
        cpu=processor(),
        instructions=torch.backends.cpu.get_cpu_capability(),
        cores=cores,
        load=round(os.getloadavg()[0], 2) if hasattr(os, 'getloadavg') else None,
        python=platform.python_version(),
        versions=versions,
    )
