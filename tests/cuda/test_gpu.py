"""What runs another way on a GPU, beside its plain twin or the CPU: ``pytest -m cuda``.

``BEIT_MM_TEST_DEVICE=cpu`` rehearses on the CPU what does not take CUDA by nature.
"""

import copy
import itertools
import sys
from pathlib import Path

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from beit_mm.checkpoints import read_checkpoint
from beit_mm.engine import FusedAdamW, RunStopped
from beit_mm.engine.optimizing.gradient_norm import clip_in_order
from beit_mm.layers.attention import fused_attention, plain_attention
from beit_mm.layers.compiling import can_compile
from beit_mm.models import DiscreteVAE, DVAETargetGenerator, MaskedImageModeling
from beit_mm.models.dvae_networks import padded_conv

sys.path.insert(0, str(Path(__file__).parents[1] / 'engine'))

import noisy_run

pytestmark = pytest.mark.cuda
run_numbers = itertools.count()
ARCH = dict(embed_dims=64, num_layers=3, num_heads=2, feedforward_channels=128)


@pytest.fixture(autouse=True)
def _exact_float32(device):
    """Products and convolutions of float32 in float32, not in TF32."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def pretraining(**backbone):
    torch.manual_seed(0)
    return MaskedImageModeling(
        backbone=dict(
            type='beit_mm.BEiT',
            arch=ARCH,
            img_size=64,
            patch_size=8,
            out_type='raw',
            final_norm=True,
            with_mask_token=True,
            use_rel_pos_bias=False,
            use_shared_rel_pos_bias=True,
            **backbone,
        ),
        target_generator=dict(
            type='beit_mm.DVAETargetGenerator',
            tokenizer=dict(type='beit_mm.DiscreteVAE', vocab_size=50, hidden=8, num_groups=3),
        ),
        head=dict(type='beit_mm.MIMHead', embed_dims=64, vocab_size=50, num_masked=24),
    )


def batch(device, size=4):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(size, 3, 64, 64, generator=generator)
    second = torch.rand(size, 3, 32, 32, generator=generator)
    mask = torch.zeros(size, 64, dtype=torch.bool)
    mask[:, :24] = True
    mask = mask[:, torch.randperm(64, generator=generator)].view(size, 8, 8)
    return images.to(device), second.to(device), mask.to(device)


def gradients(model, device, dtype=None):
    images, second, mask = batch(device)
    with torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        loss = model.loss(images, second, mask)['loss']
    loss.backward()
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    return loss.detach().cpu(), {name: p.grad.float().cpu() for name, p in trained.items()}


def assert_close(ours, expected, tolerance):
    """Losses, and each gradient within a share of its largest value."""
    assert abs(ours[0] - expected[0]) <= tolerance * abs(expected[0])
    for name, grad in expected[1].items():
        assert (ours[1][name] - grad).abs().max() <= tolerance * grad.abs().max(), name


@pytest.mark.parametrize('length', [17, 64, 197, 577])
def test_attention_in_bfloat16_is_as_near_to_float64_as_the_formula(device, length):
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 3, length, 64)] * 3 + [(3, length, length)]
    exact = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    exact = [t.to(torch.bfloat16).to(device, torch.float64) for t in exact]
    weights = torch.randn(2, 3, length, 64, generator=generator).to(device)

    def compute(function, dtype):
        inputs = [t.to(dtype).requires_grad_() for t in exact]
        output = function(*inputs)
        grads = torch.autograd.grad((output.float() * weights).sum(), inputs)
        return [t.double() for t in (output, *grads)]

    expected = compute(plain_attention, torch.float64)
    plain, fused = (compute(f, torch.bfloat16) for f in (plain_attention, fused_attention))
    for one, other, right in zip(fused, plain, expected, strict=True):
        assert (one - right).abs().max() <= 2 * (other - right).abs().max()


@pytest.mark.parametrize(('precision', 'share'), [('float16', 0.995), ('bfloat16', 0.97)])
def test_half_precision_keeps_the_tokens(device, precision, share):
    torch.manual_seed(0)
    generator = DVAETargetGenerator(DiscreteVAE(vocab_size=512, hidden=32, with_decoder=False))
    generator.eval().to(device)
    images = torch.rand(16, 3, 112, 112).to(device)
    exact = generator(images)
    generator.precision = precision
    assert (generator(images) == exact).float().mean() >= share


def test_channels_of_zeros_change_no_convolution_in_half_precision(device):
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(3, 32, 7, padding=3).to(device, torch.float16)
    images = torch.rand(2, 3, 32, 32, dtype=torch.float16).to(device)
    images = images.to(memory_format=torch.channels_last)
    torch.testing.assert_close(padded_conv(layer, images), layer(images), rtol=2e-3, atol=2e-3)


def test_a_step_is_the_cpus(device):
    model = pretraining()
    expected = gradients(copy.deepcopy(model), torch.device('cpu'))
    assert_close(gradients(model.to(device), device), expected, 1e-4)


def test_a_step_in_bfloat16_is_near_float32s(device):
    model = pretraining().to(device)
    expected = gradients(copy.deepcopy(model), device)
    assert_close(gradients(model, device, torch.bfloat16), expected, 0.1)


@pytest.mark.skipif(not can_compile(), reason='methods are compiled from PyTorch 2.5 on')
def test_compiled_blocks_and_tokenizer_are_the_plain_ones(device):
    plain, fast = pretraining().to(device), pretraining(compile_blocks=True).to(device)
    fast.target_generator.compile_tokenizer = True
    images = batch(device)[1]
    same = fast.target_generator(images) == plain.target_generator(images)
    assert same.float().mean() > 0.999
    fast.target_generator = plain.target_generator
    assert_close(gradients(fast, device), gradients(plain, device), 1e-4)


def test_no_step_waits_for_the_device(device):
    model = pretraining().to(device)
    wrapper = OptimWrapper(FusedAdamW(model.parameters(), lr=1e-3), clip_grad=dict(max_norm=3.0))
    clip_in_order(wrapper, model)
    images, second, mask = batch(device)
    for number in range(3):
        # The first step sets up what stays.
        if number and device.type == 'cuda':
            torch.cuda.set_sync_debug_mode('error')
        try:
            wrapper.update_params(model.loss(images, second, mask)['loss'])
        finally:
            if device.type == 'cuda':
                torch.cuda.set_sync_debug_mode('default')
    assert wrapper.clip_func.norm.isfinite()


@pytest.mark.parametrize('loop', noisy_run.LOOPS)
def test_a_resumed_run_is_the_undisturbed_one(tmp_path, loop):
    settings = dict(by_epoch=False, interval=1, max_keep_ckpts=1)
    noisy_run.train(tmp_path / 'whole', dict(noisy_run.LOOPS[loop]), **settings)
    killer = noisy_run.KillAt(8)
    with pytest.raises(noisy_run.Killed):
        noisy_run.train(tmp_path / 'killed', dict(noisy_run.LOOPS[loop]), [killer], **settings)
    noisy_run.train(tmp_path / 'killed', dict(noisy_run.LOOPS[loop]), resume=True, **settings)
    noisy_run.assert_same_end(tmp_path / 'whole', tmp_path / 'killed', 'iter_18.pth')


def test_a_batch_that_does_not_fit_is_told_with_one_that_does(device, tmp_path, monkeypatch):
    """Four samples of 64 MiB each, in memory for three and a half."""
    if device.type != 'cuda':
        pytest.skip('a CPU has no memory of its own to run out of')
    forward = noisy_run.Model.forward

    def large(self, inputs, *args, **kwargs):
        held = torch.empty(len(inputs), 2**26, dtype=torch.uint8, device=inputs.device)
        return forward(self, inputs + 0 * held[:, :4], *args, **kwargs)

    monkeypatch.setattr(noisy_run.Model, 'forward', large)
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.empty_cache()
    limit = torch.cuda.memory_reserved(device) + 7 * 2**25
    try:
        torch.cuda.set_per_process_memory_fraction(limit / total)
        with pytest.raises(RunStopped, match=r'a batch of 4 images; a batch of [23] fits'):
            noisy_run.train(tmp_path, dict(noisy_run.LOOPS['epochs']), by_epoch=False, interval=1)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize('optimizer', ['AdamW', 'beit_mm.FusedAdamW'])
def test_float16_leaves_out_steps_that_overflow_and_finds_its_scale(device, tmp_path, optimizer):
    if device.type != 'cuda':
        pytest.skip('mmengine has no loss scale on the CPU')
    torch.manual_seed(0)
    runner = Runner(
        model=noisy_run.Model(),
        work_dir=str(tmp_path),
        train_dataloader=dict(
            dataset=noisy_run.Noisy(),
            batch_size=4,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=4),
        optim_wrapper=dict(
            type='AmpOptimWrapper',
            # So large that the first steps overflow; halved after each of them.
            loss_scale=dict(init_scale=2.0**30),
            optimizer=dict(type=optimizer, lr=1e-3),
            clip_grad=dict(max_norm=1.0),
        ),
        default_hooks=dict(
            runtime_info=dict(type='beit_mm.RuntimeInfoHook'),
            checkpoint=dict(type='beit_mm.WholeCheckpointHook', by_epoch=False, interval=24),
            non_finite=dict(type='beit_mm.NonFiniteHook', max_in_a_row=23),
        ),
        custom_hooks=[dict(type='beit_mm.PublicWeightsHook')],
        randomness=dict(seed=1),
        log_level='WARNING',
        experiment_name=f'test_gpu_{next(run_numbers)}',
    )
    before = copy.deepcopy(runner.model.state_dict())
    runner.train()
    skipped = runner.message_hub.get_info('skipped_steps')
    assert 0 < skipped < 23
    assert len(list(tmp_path.glob('non_finite/*'))) == skipped
    content = read_checkpoint(tmp_path / 'iter_24.pth')
    assert content['optimizer']['loss_scaler']['scale'] == 2.0 ** (30 - skipped)
    for name, weight in content['state_dict'].items():
        assert weight.isfinite().all(), name
    trained = runner.model.net[0].weight.cpu()
    assert not torch.equal(trained, before['net.0.weight'].cpu())
