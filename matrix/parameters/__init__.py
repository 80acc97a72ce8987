"""The parameters, one module a section of the page."""
