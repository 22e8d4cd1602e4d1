"""Every page: one file each, one line here. The order of those with a tab is the order of the tabs."""

from __future__ import annotations

from lehr.web.page import Page
from lehr.web.pages import apps, inputs, one_input, overview

PAGES: tuple[Page, ...] = (
    apps.PAGE,
    overview.PAGE,
    inputs.PAGE,
    one_input.PAGE,
)
