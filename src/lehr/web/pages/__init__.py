"""Every page: one file each, one line here. The order of those with a tab is the order of the tabs."""

from __future__ import annotations

from lehr.web.page import Page
from lehr.web.pages import (
    account,
    apps,
    clusters,
    compare,
    datasets,
    index,
    inputs,
    models,
    new_model,
    one_dataset,
    one_evaluation,
    one_input,
    one_model,
    one_version,
    one_workflow,
    overview,
    search,
    settings,
    train,
    try_it,
    workflows,
)

PAGES: tuple[Page, ...] = (
    apps.PAGE,
    overview.PAGE,
    inputs.PAGE,
    one_input.PAGE,
    datasets.PAGE,
    one_dataset.PAGE,
    models.PAGE,
    new_model.PAGE,
    one_model.PAGE,
    train.PAGE,
    one_version.PAGE,
    compare.PAGE,
    one_evaluation.PAGE,
    try_it.PAGE,
    search.PAGE,
    index.PAGE,
    clusters.PAGE,
    workflows.PAGE,
    one_workflow.PAGE,
    settings.PAGE,
    account.PAGE,
)
