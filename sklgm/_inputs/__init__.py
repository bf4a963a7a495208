"""What users give: instances, labels, weights, streams, files, pipelines."""

from sklgm._inputs._expansion import (
    ARRAYS,
    check_expansion,
    check_file_bytes,
    read_entry,
)
from sklgm._inputs._image_files import (
    ImageFiles,
    check_on_error,
    decode_images,
    is_image,
    warn_of_skipped,
)
from sklgm._inputs._instances import (
    InputShape,
    Instances,
    encode_labels,
    resolve_device,
    resolve_dtype,
    validate_instances,
    validate_stream,
)
from sklgm._inputs._links import folders_to_read, leads_out
from sklgm._inputs._magnitude import check_magnitude
from sklgm._inputs._pixel_range import warn_of_unscaled_images
from sklgm._inputs._precision import column_offsets, to_float
from sklgm._inputs._some_rows import some_rows
from sklgm._inputs._steps import split_steps, transform_by_steps
from sklgm._inputs._streaming import StreamedInstances, as_array
from sklgm._inputs._targets import (
    check_every_class_has_weight,
    split_off_validation,
    validate_targets,
    weight_by_class,
)
from sklgm._inputs._telling_columns import rows_looked_at, warn_of_telling_columns
from sklgm._inputs._text_files import DecodedText, decode_text, split_separator

__all__ = [
    "ARRAYS",
    "DecodedText",
    "ImageFiles",
    "InputShape",
    "Instances",
    "StreamedInstances",
    "as_array",
    "check_every_class_has_weight",
    "check_expansion",
    "check_file_bytes",
    "check_magnitude",
    "check_on_error",
    "column_offsets",
    "decode_images",
    "decode_text",
    "encode_labels",
    "folders_to_read",
    "is_image",
    "leads_out",
    "read_entry",
    "resolve_device",
    "resolve_dtype",
    "rows_looked_at",
    "some_rows",
    "split_off_validation",
    "split_separator",
    "split_steps",
    "to_float",
    "transform_by_steps",
    "validate_instances",
    "validate_stream",
    "validate_targets",
    "warn_of_skipped",
    "warn_of_telling_columns",
    "warn_of_unscaled_images",
    "weight_by_class",
]
