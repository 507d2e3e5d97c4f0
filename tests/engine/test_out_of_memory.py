"""A batch that is too large for the device: the message names the largest that fits."""

import pytest
import torch
from mmengine.structures import BaseDataElement
from noisy_run import LOOPS, Model, train

from beit_mm.engine import RunStopped
from beit_mm.engine.running.out_of_memory import (
    OutOfMemory,
    batch_size_of,
    first_samples,
    largest_that_fits,
)


def samples(number):
    return [BaseDataElement(mask=torch.zeros(2, 2)) for _ in range(number)]


@pytest.mark.parametrize('size', [2, 3, 8])
def test_first_samples_of_every_form_of_batch(size):
    views = [torch.rand(size, 3, 4, 4), torch.rand(size, 3, 2, 2)]
    forms = dict(
        one=dict(inputs=torch.rand(size, 3), data_samples=samples(size)),
        views=dict(inputs=views, data_samples=samples(size)),
        apart=dict(inputs=[torch.rand(3, 5, 5)] * size, data_samples=samples(size)),
    )
    for batch in forms.values():
        assert batch_size_of(batch) == size
        part = first_samples(batch, size, 1)
        assert batch_size_of(part) == len(part['data_samples']) == 1
    cut = first_samples(forms['views'], size, size - 1)['inputs']
    assert [len(view) for view in cut] == [size - 1] * 2
    assert torch.equal(cut[0], views[0][:-1])
    whole = first_samples(forms['apart'], size, size - 1)['inputs']
    assert [image.shape for image in whole] == [(3, 5, 5)] * (size - 1)


@pytest.mark.parametrize('fitting', [0, 1, 5, 62, 63])
def test_few_sizes_are_tried(fitting):
    tried = []

    def fits(number):
        tried.append(number)
        return number <= fitting

    assert largest_that_fits(64, fits) == fitting
    assert len(tried) <= 6


@pytest.mark.parametrize('loop', LOOPS)
@pytest.mark.parametrize('fitting', [0, 2, 3])
def test_the_run_stops_with_a_size_that_fits(tmp_path, monkeypatch, loop, fitting):
    held, forward = [], Model.forward

    def within_memory(self, inputs, *args, **kwargs):
        if len(inputs) > fitting:
            raise OutOfMemory(f'CUDA out of memory. Tried to allocate {len(inputs)} GiB.\nMore.')
        held.append(len(inputs))
        return forward(self, inputs, *args, **kwargs)

    monkeypatch.setattr(Model, 'forward', within_memory)
    with pytest.raises(RunStopped) as stop:
        train(tmp_path, dict(LOOPS[loop]), by_epoch=False, interval=1)
    message = str(stop.value)
    assert 'does not hold a batch of 4 images' in message
    assert 'Tried to allocate 4 GiB' in message
    assert 'More' not in message
    if fitting:
        assert f'train_dataloader.batch_size={fitting}.' in message
        assert max(held) == fitting
    else:
        assert 'not even one image fits' in message
    assert not list(tmp_path.glob('*.pth'))
