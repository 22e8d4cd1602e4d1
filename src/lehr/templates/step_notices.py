"""What is said of a learning rate that was to drop, and does not."""

from __future__ import annotations

from lehr.hyperparameters import Form
from lehr.learn.schedule import Steps


def step_notices(form: Form, steps: Steps, num_epochs: int) -> tuple[str, ...]:
    """One sentence where hyperparameters of drops were given, and the run ends before the first drop; else none."""
    epochs = _given(form, "init_epochs", "step_epochs")
    decay = _given(form, "lrate_decay")
    if steps.init_epochs < num_epochs or not epochs + decay:
        return ()
    cause = f"with {' and '.join(epochs)} " if epochs else ""
    effect = f", so that {decay[0]} has no effect" if decay else ""
    advice = "; an init_epochs below that makes it drop" if num_epochs > 1 else ""
    return (f"{cause}the learning rate takes no drop within num_epochs {num_epochs}{effect}{advice}",)


def _given(form: Form, *names: str) -> list[str]:
    """Each with its value, as far as it was given."""
    values = {name: getattr(form, name) for name in names if name in form.model_fields_set}
    return [f"{name} {value:g}" for name, value in values.items() if value is not None]
