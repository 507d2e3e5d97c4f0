"""k-NN against a naive vote, linear against scikit-learn called directly."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import BaseDataElement
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from beit_mm.engine import ConfigError
from beit_mm.engine.measuring import feature_evaluation
from beit_mm.engine.measuring.feature_evaluation import (
    extract_features,
    knn_leave_one_out,
    knn_top1,
    linear_top1,
)
from beit_mm.models import BEiT


def clouds(size, seed, spread=1.0):
    """Features of three classes around three centres."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(size) % 3
    centres = torch.tensor([[2.0, 0, 0, 1], [0, 2.0, 0, 1], [0, 0, 2.0, 1]])
    noise = torch.randn(size, 4, generator=generator)
    return centres[labels] + spread * noise, labels


@pytest.mark.parametrize('neighbors', [1, 5, 20, 1000])
def test_knn_is_the_weighted_vote_of_the_nearest_by_cosine(neighbors):
    train, train_labels = clouds(60, seed=0)
    test, test_labels = clouds(45, seed=1)
    hits = 0
    for feature, label in zip(test.double().numpy(), test_labels.tolist(), strict=True):
        similarities = []
        for other, other_label in zip(train.double().numpy(), train_labels.tolist(), strict=True):
            cosine = feature @ other / np.linalg.norm(feature) / np.linalg.norm(other)
            similarities.append((cosine, other_label))
        votes = [0.0] * 3
        for cosine, other_label in sorted(similarities, reverse=True)[:neighbors]:
            votes[other_label] += math.exp(cosine / 0.07)
        hits += votes.index(max(votes)) == label
    expected = 100 * hits / 45
    assert 40 < expected < 100, 'neither trivial nor hopeless'
    assert knn_top1(train, train_labels, test, test_labels, neighbors) == pytest.approx(expected)


def test_knn_takes_test_sets_larger_than_a_part():
    train, train_labels = clouds(30, seed=0, spread=0.01)
    test, test_labels = clouds(2100, seed=1, spread=0.01)
    assert knn_top1(train, train_labels, test, test_labels) == 100
    assert knn_top1(train, train_labels, test, (test_labels + 1) % 3) == 0


def test_linear_is_scikit_learns_classifier_on_standardised_features():
    train, train_labels = clouds(60, seed=0, spread=1.5)
    test, test_labels = clouds(45, seed=1, spread=1.5)
    # Features of very unequal sizes, which standardising brings to one.
    scale = torch.tensor([1.0, 1e-3, 1e3, 1.0])
    mean, std = train.mean(0), train.std(0, unbiased=False)
    direct = LogisticRegression(max_iter=1000).fit((train - mean) / std, train_labels)
    expected = 100 * direct.score((test - mean) / std, test_labels)
    assert 40 < expected < 100
    given = linear_top1(train * scale, train_labels, test * scale, test_labels)
    assert given == pytest.approx(expected)


def test_features_are_the_mean_over_patches_of_every_block_asked_for():
    torch.manual_seed(0)
    arch = dict(embed_dims=24, num_layers=3, num_heads=2, feedforward_channels=48)
    backbone = BEiT(arch, 32, 8, out_indices=(0, 2), out_type='featmap').eval()
    raw = BEiT(arch, 32, 8, out_indices=(0, 2), out_type='raw').eval()
    raw.load_state_dict(backbone.state_dict(), strict=False)
    images = torch.rand(5, 3, 32, 32)
    labels = [3, 1, 4, 1, 5]
    batches = [
        dict(
            inputs=images[part],
            data_samples=[BaseDataElement(gt_label=torch.tensor([n])) for n in labels[part]],
        )
        for part in (slice(0, 3), slice(3, 5))
    ]

    class Double(nn.Module):
        def forward(self, data, training):
            assert training is False
            return {**data, 'inputs': 2 * data['inputs']}

    features, given = extract_features(backbone, Double(), batches)
    assert given.tolist() == labels
    for feature, output in zip(features, raw(2 * images), strict=True):
        torch.testing.assert_close(feature, output[:, 1:].mean(1), rtol=1e-4, atol=1e-5)
        assert not feature.requires_grad


@pytest.mark.parametrize('neighbors', [1, 20, 1000])
def test_leaving_one_out_is_another_librarys(neighbors):
    features, labels = clouds(70, seed=0)
    votes = min(neighbors, 69)
    direct = KNeighborsClassifier(
        votes, metric='cosine', algorithm='brute', weights=lambda far: np.exp((1 - far) / 0.07)
    )
    expected = cross_val_score(direct, features.numpy(), labels.numpy(), cv=LeaveOneOut()).mean()
    assert 0.4 < expected < 1
    assert knn_leave_one_out(features, labels, neighbors) == pytest.approx(100 * expected)


@pytest.mark.parametrize('neighbors', [1, 20])
def test_slices_of_a_volume_are_no_neighbours(neighbors):
    features, labels = clouds(70, seed=0)
    groups = torch.arange(70) % 10
    # What lies in one group is alike, so that it would be the nearest.
    features = (
        features
        + 3 * torch.randn(10, features.shape[1], generator=torch.Generator().manual_seed(1))[groups]
    )
    direct = KNeighborsClassifier(
        neighbors, metric='cosine', algorithm='brute', weights=lambda far: np.exp((1 - far) / 0.07)
    )
    scores = cross_val_score(
        direct, features.numpy(), labels.numpy(), groups=groups.numpy(), cv=LeaveOneGroupOut()
    )
    found = knn_leave_one_out(features, labels, neighbors, groups=groups)
    assert found == pytest.approx(100 * scores.mean())
    assert found != knn_leave_one_out(features, labels, neighbors)


def test_leaving_one_out_takes_more_than_a_part(monkeypatch):
    features, labels = clouds(70, seed=0)
    whole = knn_leave_one_out(features, labels)
    monkeypatch.setattr(feature_evaluation, 'PART', 32)
    assert knn_leave_one_out(features, labels) == whole


def test_classes_of_other_numbers_in_the_test_data_are_refused(monkeypatch):
    def loader_of(names, cfg):
        return SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=names['classes'])))

    monkeypatch.setattr(feature_evaluation, '_loader_of', loader_of)
    arch = dict(embed_dims=8, num_layers=1, num_heads=1, feedforward_channels=8)
    backbone = dict(type='beit_mm.BEiT', arch=arch, img_size=16, patch_size=8)
    cfg = Config(dict(
        model=dict(backbone=backbone),
        train_dataloader=dict(dataset=dict(classes=['ant', 'bee', 'cat'])),
        test_dataloader=dict(dataset=dict(classes=['ant', 'cat'])),
    ))  # fmt: skip
    said = "test_dataloader.dataset: class 'cat' has the number 1"
    with pytest.raises(ConfigError, match=said):
        feature_evaluation.evaluate_features(cfg, None, by_layer=False, neighbors=1, seed=0)
