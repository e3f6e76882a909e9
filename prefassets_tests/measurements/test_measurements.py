"""The measurement files: each can be run by Dagster, and the designs are what their files say."""

from dataclasses import fields
from itertools import combinations

import numpy as np
import pytest

from prefassets.domain.preferences.template import Template
from prefassets.measurements import all_measurements
from prefassets.studies import all_studies

MEASUREMENTS = all_measurements().values()


def test_no_measurement_has_the_name_of_a_study():
    """Their assets begin with it: two of one name would be one."""
    assert not set(all_measurements()) & set(all_studies())


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda measurement: measurement.name)
def test_every_configuration_can_be_a_partition(measurement):
    names = [configuration.name for configuration in measurement.configurations]
    assert len(set(names)) == len(names)
    for name in names:
        assert not set(name) & set("|,[]")
        assert "..." not in name
        assert measurement.configuration(name).name == name


def test_no_field_of_the_sensitivity_measurement_is_another_s():
    """The report's 48 configurations had rank 8 of 12; pairs of these that share a field have full rank."""
    templates = [found.template for found in all_measurements()["llama_templates"].choice_configurations]
    assert len(templates) == 48
    varied = [field.name for field in fields(Template) if len({getattr(one, field.name) for one in templates}) > 1]
    assert len(varied) == 9
    shared = [
        [1.0, *(getattr(one, name) == getattr(other, name) for name in varied)]
        for one, other in combinations(templates, 2)
    ]
    assert np.linalg.matrix_rank(np.array(shared, dtype=float)) == len(varied) + 1


def test_two_fields_of_the_sensitivity_measurement_are_balanced():
    templates = [found.template for found in all_measurements()["llama_templates"].choice_configurations]
    two_values = [field.name for field in fields(Template) if len({getattr(one, field.name) for one in templates}) == 2]
    for first, second in combinations(two_values, 2):
        counts: dict[tuple, int] = {}
        for one in templates:
            key = getattr(one, first), getattr(one, second)
            counts[key] = counts.get(key, 0) + 1
        assert set(counts.values()) == {12}
