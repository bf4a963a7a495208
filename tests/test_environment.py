"""What is recorded of the environment of a run."""

import numpy as np

from sklgm._running import describe_environment
from tests.tidy_rows import result_of


def test_environment_names_versions_and_can_be_saved():
    environment = describe_environment()
    assert environment["packages"]["numpy"] == np.__version__
    assert environment["cpu_count"] >= 1
    assert result_of(environment=environment).environment == environment
