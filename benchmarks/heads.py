"""A head on cached features: Lehr's solver beside scikit-learn's logistic regression, both tuned on held-out items.

    python benchmarks/heads.py --items 5000 --features 512 --concepts 100

Features are drawn: one centre per concept, noise around it as large as to leave some items in doubt, float16 as Lehr
caches them. Both contestants try seven penalties, choose by the loss on the fifth that is held out, and are judged on
2,000 items that neither saw. Goals: Lehr under 2 s for 5,000 x 512 and 100 concepts, within 0.3 points of the other.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from machine import described

from lehr.settings import share_cores

NUM_TEST = 2000
HELD_OUT = 5
"""One in this many."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Features [N, D] and labels [N]: those to train and choose on, and those to judge by."""

    features: np.ndarray
    labels: np.ndarray
    test_features: np.ndarray
    test_labels: np.ndarray
    num_concepts: int

    @property
    def is_held(self) -> np.ndarray:
        """bool [N]."""
        return np.arange(len(self.labels)) % HELD_OUT == 0


def main() -> None:
    """Prints a line per contestant and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=5000)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--concepts", type=int, default=100)
    parser.add_argument("--noise", type=float, default=7.0, help="of the features; the centres' is 1")
    parser.add_argument("--runs", type=int, default=2)
    options = parser.parse_args()
    share_cores()
    for contestant in CONTESTANTS.values():  # imports of what they need are not part of the race
        contestant(draw(argparse.Namespace(items=100, features=8, concepts=3, noise=1.0)))
    drawn = draw(options)
    print(f"head, {options.items} x {options.features}, {options.concepts} concepts; {described()}")
    for _ in range(options.runs):
        for name, contestant in CONTESTANTS.items():
            began, busy = time.perf_counter(), time.process_time()
            predict = contestant(drawn)
            seconds, busy = time.perf_counter() - began, time.process_time() - busy
            accuracy = (predict(drawn.test_features) == drawn.test_labels).mean()
            print(f"  {name:14} {seconds:7.2f} s ({busy:.2f} s of processor time)   accuracy {100 * accuracy:6.2f} %")


def draw(options: argparse.Namespace) -> Drawn:
    """The same for the same options."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(options.concepts, options.features))
    labels = generator.integers(0, options.concepts, options.items + NUM_TEST)
    noise = generator.normal(size=(len(labels), options.features)) * options.noise
    features = (centres[labels] + noise).astype(np.float16)
    return Drawn(
        features=features[: options.items],
        labels=labels[: options.items],
        test_features=features[options.items :],
        test_labels=labels[options.items :],
        num_concepts=options.concepts,
    )


def ours(drawn: Drawn) -> Callable[[np.ndarray], np.ndarray]:
    """What an embedding-classifier does once the embeddings are there."""
    import torch

    from lehr.learn.device import choose_device
    from lehr.learn.learners.features import FeatureLearner
    from lehr.learn.learners.solved import solve_best

    is_held_N = drawn.is_held
    concepts = tuple(f"concept-{number}" for number in range(drawn.num_concepts))
    problem = SimpleNamespace(device=choose_device("cpu"), concepts=concepts)
    data = SimpleNamespace(
        targets_NK=np.eye(drawn.num_concepts, dtype=np.float32)[drawn.labels],
        rows_N=np.arange(len(drawn.labels)),
        train_indices=np.flatnonzero(~is_held_N),
        held_indices=np.flatnonzero(is_held_N),
        num_held_out=int(is_held_N.sum()),
    )
    recipe = SimpleNamespace(problem=problem, activation="softmax")
    learner = FeatureLearner(torch.nn.Module(), torch.from_numpy(drawn.features)[None], recipe, data)
    list(solve_best(learner))
    learner.net.eval()
    return lambda features: learner.net(torch.from_numpy(features)).argmax(1).numpy()


def scikit_learns(drawn: Drawn) -> Callable[[np.ndarray], np.ndarray]:
    """Standardised features, seven values of C, the one with the smallest loss on the held-out items."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    is_held_N, features = drawn.is_held, drawn.features.astype(np.float32)
    fitted = []
    for strength in np.logspace(-4, 0, 7):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=200))
        model.fit(features[~is_held_N], drawn.labels[~is_held_N])
        probabilities = model.predict_proba(features[is_held_N])
        fitted.append((log_loss(drawn.labels[is_held_N], probabilities, labels=model.classes_), strength, model))
    best = min(fitted, key=lambda one: one[:2])[2]
    return lambda rows: best.predict(rows.astype(np.float32))


CONTESTANTS: dict[str, Callable[[Drawn], Callable[[np.ndarray], np.ndarray]]] = {
    "Lehr": ours,
    "scikit-learn": scikit_learns,
}


if __name__ == "__main__":
    main()
