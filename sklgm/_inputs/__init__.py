"""What users give: instances, labels, weights, streams, pipelines."""

from sklgm._inputs._instances import (
    InputShape,
    Instances,
    encode_labels,
    resolve_device,
    resolve_dtype,
    validate_instances,
    validate_stream,
)
from sklgm._inputs._magnitude import check_magnitude
from sklgm._inputs._steps import split_steps, transform_by_steps
from sklgm._inputs._streaming import StreamedInstances, as_array
from sklgm._inputs._targets import (
    check_every_class_has_weight,
    split_off_validation,
    validate_targets,
    weight_by_class,
)

__all__ = [
    "InputShape",
    "Instances",
    "StreamedInstances",
    "as_array",
    "check_every_class_has_weight",
    "check_magnitude",
    "encode_labels",
    "resolve_device",
    "resolve_dtype",
    "split_off_validation",
    "split_steps",
    "transform_by_steps",
    "validate_instances",
    "validate_stream",
    "validate_targets",
    "weight_by_class",
]
