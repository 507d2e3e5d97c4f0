"""How much of a frozen backbone's features is about the classes: k-NN and a linear classifier."""

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ...component import ConfigError, innermost
from ...datasets.class_numbers import check_numbers, classes_of

# Images that are compared with all others at once.
PART = 1000
TRAIN, TEST = 'train_dataloader', 'test_dataloader'
# Data sets that show images of another one several times.
REPEATING = ('RepeatDataset', 'ClassBalancedDataset')


@torch.no_grad()
def extract_features(
    backbone: nn.Module, data_preprocessor: nn.Module, batches: Iterable[dict]
) -> tuple[list[Tensor], Tensor]:
    """Mean patch features of every image, for each of the backbone's outputs.

    Args:
        backbone: In eval mode, with ``out_type='featmap'``.
        data_preprocessor: On the backbone's device.
        batches: As a data loader of labelled images yields them.

    Returns:
        One (N, C) float32 tensor for each of ``out_indices``, and the labels, (N,) int64.
    """
    features, labels = [], []
    for batch in batches:
        data = data_preprocessor(batch, False)
        maps = backbone(data['inputs'])
        features.append([feature.float().mean(dim=(2, 3)).cpu() for feature in maps])
        labels += [int(sample.gt_label) for sample in data['data_samples']]
    return [torch.cat(rows) for rows in zip(*features, strict=True)], torch.tensor(labels)


def knn_top1(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    neighbors: int = 20,
    temperature: float = 0.07,
) -> float:
    """Top-1 of a vote among the nearest training images, in per cent.

    DINO's protocol (arXiv 2104.14294, F): a neighbour of cosine similarity s votes with the weight
    exp(s / temperature).

    Args:
        train, test: (N, C) and (M, C) features.
        train_labels, test_labels: (N,) and (M,) int64.
        neighbors: How many vote; all if there are fewer.
        temperature: The lower, the more the nearest ones count.
    """
    train, test = F.normalize(train, dim=1), F.normalize(test, dim=1)
    hits = 0
    # In parts, so that the similarities of a large test set fit in memory.
    for features, labels in zip(test.split(PART), test_labels.split(PART), strict=True):
        predicted = _vote(features @ train.T, train_labels, neighbors, temperature)
        hits += int((predicted == labels).sum())
    return 100 * hits / len(test)


def knn_leave_one_out(
    features: Tensor,
    labels: Tensor,
    neighbors: int = 20,
    temperature: float = 0.07,
    groups: Tensor | None = None,
) -> float:
    """As :func:`knn_top1`, each image among all others, in per cent.

    Args:
        features: (N, C), of two images or more.
        labels: (N,) int64.
        neighbors, temperature: See there.
        groups: (N,) int64 numbers of what images belong to, such as a volume, whose slices are
            alike: an image has no neighbours in its own. Without, each is one by itself.
    """
    groups = torch.arange(len(features)) if groups is None else groups
    features = F.normalize(features, dim=1)
    hits = 0
    for begin in range(0, len(features), PART):
        similarities = features[begin : begin + PART] @ features.T
        similarities[groups[begin : begin + PART, None] == groups] = -torch.inf
        predicted = _vote(similarities, labels, min(neighbors, len(features) - 1), temperature)
        hits += int((predicted == labels[begin : begin + PART]).sum())
    return 100 * hits / len(features)


def _vote(similarities: Tensor, labels: Tensor, neighbors: int, temperature: float) -> Tensor:
    """Classes (M,) of images by their similarities (M, N) with those of ``labels`` (N,)."""
    nearest = similarities.topk(min(neighbors, len(labels)), dim=1)
    votes = torch.zeros(len(similarities), int(labels.max()) + 1)
    weights = (nearest.values / temperature).exp()
    return votes.scatter_add_(1, labels[nearest.indices], weights).argmax(dim=1)


def linear_top1(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> float:
    """Top-1 of scikit-learn's logistic regression on standardised features, in per cent.

    Arguments as of :func:`knn_top1`.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    classifier.fit(train.numpy(), train_labels.numpy())
    return 100 * classifier.score(test.numpy(), test_labels.numpy())


def evaluate_features(
    cfg: Config, layer: int | None, *, by_layer: bool, neighbors: int, seed: int
) -> dict:
    """k-NN and a linear classifier on a frozen backbone, for one block or for each.

    Args:
        cfg: A classification config, whose backbone, preprocessing and data sets are used, with
            the test pipeline for both.
        layer: Block, counted from 1; None for the last.
        by_layer: Whether to evaluate every block.
        neighbors: Of k-NN.
        seed: Of random weights.

    Returns:
        ``train`` and ``test``, numbers of images; ``chance``, top-1 of the commonest class in per
        cent; ``layers``, a dict with ``layer``, ``knn`` and ``linear`` for each.

    Raises:
        ConfigError: If there is no such block, or a class has another number in the test data.
    """
    torch.manual_seed(seed)
    backbone = MODELS.build({**cfg.model.backbone, 'out_type': 'featmap'})
    depth = backbone.num_layers
    if layer is not None and not 1 <= layer <= depth:
        raise ConfigError(f'--layer is {layer}; the backbone has 1 to {depth}')
    backbone.out_indices = tuple(range(depth)) if by_layer else ((layer or depth) - 1,)
    backbone.init_weights()
    backbone.eval()
    if torch.cuda.is_available():
        backbone.cuda()
    loaders = [_loader_of(cfg[name].dataset, cfg) for name in (TRAIN, TEST)]
    ours, theirs = (classes_of(loader.dataset) for loader in loaders)
    for said in check_numbers(f'{TEST}.dataset', theirs, ours, f'{TRAIN}.dataset'):
        raise ConfigError(said)
    train, test = (_features_of(loader, cfg, backbone) for loader in loaders)
    rows = []
    for index, *features in zip(backbone.out_indices, train[0], test[0], strict=True):
        sets = features[0], train[1], features[1], test[1]
        knn, linear = knn_top1(*sets, neighbors=neighbors), linear_top1(*sets)
        rows.append(dict(layer=index + 1, knn=knn, linear=linear))
    chance = 100 * float(test[1].bincount().max()) / len(test[1])
    return dict(train=len(train[1]), test=len(test[1]), chance=chance, layers=rows)


def _loader_of(dataset: Mapping, cfg: Config) -> DataLoader:
    """Of a data set in its order, through the test pipeline."""
    loader = {**cfg.test_dataloader, 'sampler': dict(type='DefaultSampler', shuffle=False)}
    _, tested = innermost('', cfg.test_dataloader.dataset)[0]
    loader['dataset'] = _each_once(dataset, tested['pipeline'])
    return Runner.build_dataloader(loader)


def _each_once(dataset: Mapping, pipeline: list) -> dict:
    """A data set with another pipeline, whose images come once, however it repeats them."""
    inner, parts = dataset.get('dataset'), dataset.get('datasets')
    if isinstance(inner, Mapping):
        inner = _each_once(inner, pipeline)
        repeats = str(dataset['type']).rpartition('.')[2] in REPEATING
        return inner if repeats else {**dataset, 'dataset': inner}
    if parts is not None:
        return {**dataset, 'datasets': [_each_once(part, pipeline) for part in parts]}
    return {**dataset, 'pipeline': pipeline}


def _features_of(
    loader: DataLoader, cfg: Config, backbone: nn.Module
) -> tuple[list[Tensor], Tensor]:
    """Features and labels of all images of a data loader."""
    # In the model or, as MMPretrain's recipes have it, beside it.
    settings = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    preprocessor = MODELS.build({'type': 'ClsDataPreprocessor', **settings})
    device = next(backbone.parameters()).device
    return extract_features(backbone, preprocessor.to(device), loader)
