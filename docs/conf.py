"""Settings of the site: `make docs-site` builds it into docs/_build/html, without a network."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
# The package is documented as it lies in this checkout, whatever is installed.
sys.path[:0] = [str(HERE.parent), str(HERE / "_extensions")]

project = "gandist"
copyright = "the authors of gandist"
html_title = "gandist"
html_show_sphinx = False

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "notebooks",
    "plain_docstrings",
    "repository_files",
]
source_suffix = {".md": "markdown", ".ipynb": "notebook"}
exclude_patterns = ["_build"]
highlight_language = "text"
smartquotes = False

# Headings have the anchors that the repository's own view gives them.
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
toc_object_entries_show_parents = "hide"
add_module_names = False
# Types are linked where this site has them; no other site is asked.
nitpick_ignore_regex = [(r"py:.*", r".*")]

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {"color-brand-primary": "#0b5a8a", "color-brand-content": "#0b5a8a"},
    "dark_css_variables": {"color-brand-primary": "#7cc4f2", "color-brand-content": "#7cc4f2"},
}
pygments_style = "friendly"
pygments_dark_style = "monokai"
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True
