"""What commands share: what they say while a bar is shown."""

import re
import warnings

import pytest

from sklgm.cli._output import in_options, progress_bar, warnings_in_one_line


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_warning_beside_a_bar_has_a_line_of_its_own(is_terminal, monkeypatch, capsys):
    if is_terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    message = "3 of 121 images cannot be read"
    with warnings_in_one_line({}) as said, progress_bar() as show:
        show("read images", 0, 121)
        warnings.warn(message, UserWarning, stacklevel=1)
        show("read images", 121, 121)
    assert said == [message]
    err = capsys.readouterr().err
    assert ("\x1b[" in err) is is_terminal
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", err))
    assert f"Warning: {message}" in lines


@pytest.mark.parametrize("options", [{}, {"cv": "--cv"}, {"n_jobs": "--n-jobs"}])
def test_messages_without_a_parameter_stay_as_they_are(options):
    assert in_options("rows are missing", options) == "rows are missing"
