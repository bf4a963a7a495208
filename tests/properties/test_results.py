"""Results survive their files."""

import tempfile

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sklgm.results import Row, RunResult, Trial

names = st.text(max_size=10)
integers = st.integers(-(2**63), 2**63 - 1)
numbers = st.floats(allow_nan=True, allow_infinity=True)
BY_ANNOTATION = {
    "str": names,
    "str | None": st.none() | names,
    "int": integers,
    "int | None": st.none() | integers,
    "float | None": st.none() | numbers,
    "bool | None": st.none() | st.booleans(),
}
nested = st.dictionaries(
    st.text(),
    st.recursive(
        st.none() | st.booleans() | st.integers() | numbers | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    ),
    max_size=4,
)


def instances(cls):
    fields = cls.__annotations__.items()
    return st.builds(cls, **{name: BY_ANNOTATION[kind] for name, kind in fields})


# Drawing rows may be slow where tests run side by side.
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(instances(Row), max_size=3),
    st.lists(instances(Trial), max_size=3),
    nested,
)
def test_results_survive_save_and_load(rows, trials, values):
    result = RunResult.from_rows(
        rows, trials, command="c", settings=values, environment=values
    )
    with tempfile.TemporaryDirectory() as folder:
        again = RunResult.load(result.save(folder))
    assert again.table.equals(result.table)
    assert again.trials.equals(result.trials)
    assert again.settings == again.environment == result.settings
