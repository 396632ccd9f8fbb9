"""How Sphinx builds the documentation: ``make docs``."""

from __future__ import annotations

import fastface

project = "fastface"
author = "the fastface developers"
release = version = fastface.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Docstrings carry shapes and dtypes, which say more than annotations do.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_default_options = {
    "members": True,
    "undoc-members": False,
    # scikit-learn adds them, with references of its own.
    "exclude-members": "set_fit_request, set_partial_fit_request, set_score_request",
}
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
default_role = "code"
suppress_warnings = [
    "misc.highlighting_failure",  # the architecture's signatures are for people: `·` is not Python
    "ref.python",  # "shape (size, size, 3)" looks to Sphinx like references to several attributes
]

html_theme = "furo"
html_title = f"fastface {version}"
html_copy_source = False
