"""Every page: one file each, one line here. The order of those with a tab is the order of the tabs."""

from __future__ import annotations

from lehr.web.page import Page
from lehr.web.pages import account, apps, datasets, inputs, one_dataset, one_input, overview, settings

PAGES: tuple[Page, ...] = (
    apps.PAGE,
    overview.PAGE,
    inputs.PAGE,
    one_input.PAGE,
    datasets.PAGE,
    one_dataset.PAGE,
    settings.PAGE,
    account.PAGE,
)
