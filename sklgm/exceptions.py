"""Categories of warnings, to filter by."""

__all__ = ["UnscaledImagesWarning"]


class UnscaledImagesWarning(UserWarning):
    """Images in ``fit`` whose values look like 8-bit pixels, not like [0, 1].

    Estimators never rescale values, and networks train badly on 0 to 255. The
    classifier is trained all the same.

    Examples
    --------
    Where the values are meant, silence it:

    >>> import warnings
    >>> from sklgm.exceptions import UnscaledImagesWarning
    >>> warnings.simplefilter("ignore", UnscaledImagesWarning)
    """
