"""Loads the plugin for the matrix and, with pytester, for the harness's own tests."""

pytest_plugins = ["harness.plugin", "pytester"]
