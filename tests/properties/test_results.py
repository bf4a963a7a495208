"""Results survive JSON."""

import json

import jsonschema
from hypothesis import given
from hypothesis import strategies as st

from sklgm.results import MODELS, PROTOCOLS, Record, RunResult, Trial, results_schema

VALIDATOR = jsonschema.Draft202012Validator(results_schema())

names = st.text(min_size=1, max_size=20)
counts = st.integers(0, 10**6)
numbers = st.floats()
labels = st.none() | st.integers(-(10**6), 10**6) | st.text(max_size=10)
flags = st.none() | st.booleans()

record_fields = {
    "protocol": st.sampled_from(PROTOCOLS),
    "dataset": names,
    "model": st.sampled_from(MODELS),
    "attack": names,
    "n_poisons": counts,
    "seed": st.integers(),
}
records = st.builds(
    Record,
    **record_fields,
    arm=names,
    metric=names,
    value=numbers,
    low=st.none() | numbers,
    high=st.none() | numbers,
    n=counts,
)
trials = st.builds(
    Trial,
    **record_fields,
    target_index=st.none() | counts,
    target_label=labels,
    base_label=labels,
    control_label=labels,
    predicted_label=labels,
    success=flags,
    counted=flags,
    collision_ratio=st.none() | numbers,
    l2=st.none() | numbers,
    linf=st.none() | numbers,
    n_iter=st.none() | counts,
    stop_reason=st.none() | names,
)
settings = st.dictionaries(
    st.text(),
    st.recursive(
        st.none() | st.booleans() | st.integers() | numbers | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    ),
    max_size=4,
)


@given(
    st.builds(
        RunResult,
        command=st.text(),
        config=settings,
        environment=settings,
        records=st.lists(records, max_size=4).map(tuple),
        trials=st.lists(trials, max_size=4).map(tuple),
    )
)
def test_results_survive_json(result):
    mapping = result.to_dict()
    text = json.dumps(mapping, allow_nan=False)
    VALIDATOR.validate(json.loads(text))
    # Compared as dicts: nan differs from nan.
    assert RunResult.from_dict(json.loads(text)).to_dict() == mapping
