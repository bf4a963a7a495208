"""Sphinx configuration."""

import re
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "sklgm"
author = "The sklgm developers"
copyright = author
release = version = installed_version("sklgm")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # MathJax from PyPI: pages load nothing from elsewhere
    "sphinx_design",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "pictures",
    "results_page",
    "robustness_page",
    "speed_page",
]
templates_path = ["_templates"]
exclude_patterns = [
    "_build",
    "auto_examples/**.ipynb",
    "auto_examples/**.py",
    "results/README.md",
]
default_role = "obj"

# Every reference must resolve, but for what is no reference of this package:
# parameters, which docstrings put into single backticks, other packages, whose
# inventories would have to be downloaded, and the methods of tuple.
nitpicky = True
nitpick_ignore_regex = [
    ("py:obj", r"[\w ]+"),
    ("py:.*", r"(numpy|sklearn)\..+"),
    ("py:class", r"integer -- .+"),
]

html_static_path = ["_static"]
html_css_files = ["sklgm.css"]
html_js_files = ["sklgm.js"]
html_title = "sklgm"
html_theme = "pydata_sphinx_theme"
html_show_sourcelink = False
html_sidebars = {
    "index": [],
    "api": [],
    "changes": [],
    "results/robustness": [],
    "speed": [],
}
html_theme_options = {
    "logo": {"text": "sklgm"},
    "navbar_align": "left",
    "navbar_end": ["version-switcher", "theme-switcher"],
    "navbar_persistent": ["search-button"],
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    # A released version adds itself to this file, where the pages are served.
    "switcher": {
        "json_url": "_static/switcher.json",
        "version_match": "dev" if "dev" in release else release,
    },
    "check_switcher": True,
    "show_version_warning_banner": False,
}

autosummary_generate = True
toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"  # numpydoc's Parameters sections say the types
numpydoc_show_class_members = False

# Pages of the examples, which are run each time; one that fails ends the build.
# -D plot_gallery=0 leaves the running out.
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "within_subsection_order": "FileNameSortKey",
    "run_stale_examples": True,
    "abort_on_example_error": True,
    "download_all_examples": False,
    "write_computation_times": False,  # its page would load scripts from elsewhere
}

# matplotlib draws to memory; one thread, so that all machines add in one order.
doctest_global_setup = """
import matplotlib
import torch

matplotlib.use("agg")
torch.set_num_threads(1)
"""

# Docstrings are written to be read as text: `(n_samples, *input_shape)` is a shape and
# `|a - b|` a norm, which reST takes for emphasis and a substitution.
_SHAPE_OR_NORM = re.compile(r"\*(?=input_shape)|(?<=n_features_in)_(?=,)|\|")


def escape_shapes_and_norms(app, what, name, obj, options, lines):
    """Escape them outside literals and doctests."""
    for i, line in enumerate(lines):
        if line.lstrip().startswith((">>>", "... ")):
            continue
        parts = line.split("``")
        parts[::2] = [_SHAPE_OR_NORM.sub(r"\\\g<0>", text) for text in parts[::2]]
        lines[i] = "``".join(parts)


def setup(app):
    # Before numpydoc, whose priority is 500.
    app.connect("autodoc-process-docstring", escape_shapes_and_norms, priority=400)
