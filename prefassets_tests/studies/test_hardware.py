"""What a study asks of a cluster must be something that a job can use."""

import pytest

from prefassets.studies.hardware import Hardware


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"gpus": 2}, "a job trains on one GPU"),
        ({"gpus": 0, "gpu_product": "NVIDIA-L4"}, "gpus = 0; leave one of them out"),
        ({"memory_gib": 0}, "must be above 0"),
        ({"most_hours": -1}, "must be above 0"),
    ],
)
def test_what_no_job_can_use_is_refused(asked, message):
    with pytest.raises(ValueError, match=message):
        Hardware(**asked)
