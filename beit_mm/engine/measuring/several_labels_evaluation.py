"""How much of a frozen backbone's features is about labels, of which an image may have several."""

import torch
import torch.nn.functional as F
from torch import Tensor


def knn_mean_precision(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    neighbors: int = 20,
    temperature: float = 0.07,
) -> float:
    """Mean average precision of a vote among the nearest training images, in per cent.

    The vote is that of :func:`beit_mm.engine.measuring.feature_evaluation.knn_top1`, for each label
    by itself.

    Args:
        train, test: (N, C) and (M, C) features.
        train_labels, test_labels: (N, K) and (M, K) bool.
        neighbors: How many vote; all if there are fewer.
        temperature: The lower, the more the nearest ones count.
    """
    train, test = F.normalize(train, dim=1), F.normalize(test, dim=1)
    votes = []
    # In parts, so that the similarities of a large test set fit in memory.
    for features in test.split(1000):
        similarities, nearest = (features @ train.T).topk(min(neighbors, len(train)), dim=1)
        weights = (similarities / temperature).softmax(dim=1)
        votes.append(torch.einsum('mn,mnk->mk', weights, train_labels[nearest].float()))
    return _mean_precision(test_labels, torch.cat(votes))


def linear_mean_precision(
    train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor
) -> float:
    """Mean average precision of a logistic regression for each label, in per cent.

    scikit-learn's, on standardised features. Arguments as of :func:`knn_mean_precision`.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    each = OneVsRestClassifier(LogisticRegression(max_iter=1000))
    classifier = make_pipeline(StandardScaler(), each)
    classifier.fit(train.numpy(), train_labels.numpy().astype(int))
    scores = torch.from_numpy(classifier.predict_proba(test.numpy()))
    # Of a single label scikit-learn gives two columns: that it is not there, and that it is.
    return _mean_precision(test_labels, scores[:, -train_labels.shape[1] :])


def _mean_precision(labels: Tensor, scores: Tensor) -> float:
    from sklearn.metrics import average_precision_score

    truths, given = labels.numpy().astype(int), scores.numpy()
    each = [average_precision_score(truths[:, k], given[:, k]) for k in range(labels.shape[1])]
    return 100 * sum(each) / len(each)
