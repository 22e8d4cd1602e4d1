"""What `lehr serve` refuses before it makes anything."""

import pytest

from lehr.compose import serve
from lehr.errors import InvalidRequest
from lehr.settings import Settings


@pytest.mark.parametrize("counts", [{"predictors": 0}, {"workers": -1}])
def test_counts_that_would_leave_calls_or_jobs_waiting_for_ever_are_refused(tmp_path, counts):
    with pytest.raises(InvalidRequest, match="--predictors"):
        serve(Settings(home=tmp_path / "home", **counts))
    assert not (tmp_path / "home").exists()
