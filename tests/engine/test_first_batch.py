"""What data gives that cannot be trained on: told with its key before the first iteration."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate, pseudo_collate
from mmengine.structures import BaseDataElement
from torch.utils.data import DataLoader, Dataset

from beit_mm.datasets.places import seed_generators
from beit_mm.engine import ConfigError
from beit_mm.engine.checking.first_batch import check_first_batch
from beit_mm.models import BEiT, TwoViewDataPreprocessor


class Views(Dataset):
    """Two views of noise and a mask, or whatever ``make`` gives."""

    def __init__(self, number=10, make=None, channels=3):
        self.number, self.make, self.channels = number, make, channels

    def __len__(self):
        return self.number

    def __getitem__(self, index):
        if self.make:
            return self.make(index)
        sample = BaseDataElement(mask=torch.zeros(2, 2, dtype=torch.bool))
        views = [torch.zeros(self.channels, size, size, dtype=torch.uint8) for size in (16, 8)]
        return dict(inputs=views, data_samples=sample)


def runner(dataset, batch_size=4, drop_last=False, collate=default_collate):
    loader = DataLoader(dataset, batch_size, drop_last=drop_last, collate_fn=collate)
    colors = [127.5] * dataset.channels
    model = SimpleNamespace(
        data_preprocessor=TwoViewDataPreprocessor(
            mean=colors, std=colors, second_mean=colors, second_std=colors
        ),
        backbone=BEiT(
            arch=dict(embed_dims=8, num_layers=1, num_heads=1, feedforward_channels=8),
            img_size=16,
            patch_size=8,
        ),
    )
    return SimpleNamespace(train_dataloader=loader, model=model, world_size=1)


def test_good_data_passes():
    check_first_batch(runner(Views()))


def test_what_is_random_afterwards_is_as_if_nothing_had_been_looked_at():
    def noisy(index):
        noise = torch.rand(3, 16, 16) + float(np.random.rand()) + random.random()
        sample = BaseDataElement(mask=torch.zeros(2, 2, dtype=torch.bool))
        views = [(noise * 80).byte(), torch.zeros(3, 8, 8, dtype=torch.uint8)]
        return dict(inputs=views, data_samples=sample)

    def drawn():
        return float(torch.rand(())), float(np.random.rand()), random.random()

    looked = runner(Views(make=noisy))
    seed_generators(7)
    expected = drawn()
    seed_generators(7)
    check_first_batch(looked)
    assert drawn() == expected


def test_batches_that_others_models_take_pass():
    """Tuples, and a preprocessor that names its inputs in another way."""
    plain = runner(Views(make=lambda index: (torch.zeros(3), index)))
    plain.model.data_preprocessor = lambda batch, training: batch
    check_first_batch(plain)
    plain.model.data_preprocessor = lambda batch, training: dict(images=batch[0])
    check_first_batch(plain)


@pytest.mark.parametrize(
    ('given', 'said'),
    [
        (dict(dataset=Views(0)), 'train_dataloader.dataset holds no images'),
        (dict(dataset=Views(3), drop_last=True), '3 images make no batch of 4 a process'),
        (dict(dataset=Views(make=lambda index: (1, 2))), 'gives a tuple; a sample is a dict'),
        (dict(dataset=Views(make=lambda index: dict(img=1))), "type='PackInputs'"),
        (dict(dataset=Views(make=lambda index: 1 / 0)), 'its first sample cannot be made: Zero'),
        (dict(dataset=Views(), collate=pseudo_collate), 'collate_fn is pseudo_collate'),
        (
            dict(dataset=Views(channels=4)),
            'model.backbone.in_channels is 3, and the pipeline gives images of 4',
        ),
    ],
)
def test_what_cannot_be_trained_on(given, said):
    with pytest.raises(ConfigError) as stop:
        check_first_batch(runner(**given))
    assert said in str(stop.value)
    assert len(str(stop.value).splitlines()) == 1


@pytest.mark.parametrize('classes', [('ant', 'cat'), ('ant', 'bee'), None])
def test_classes_of_other_numbers_in_validation(classes):
    given = runner(Views())
    given.train_dataloader.dataset.metainfo = dict(classes=('ant', 'bee', 'cat'))
    given._val_loop = given.val_dataloader = runner(Views()).train_dataloader
    given.val_dataloader.dataset.metainfo = dict(classes=classes)
    if classes != ('ant', 'cat'):
        check_first_batch(given)
        return
    said = "val_dataloader.dataset: class 'cat' has the number 1, and in train_dataloader.dataset"
    with pytest.raises(ConfigError, match=said):
        check_first_batch(given)
