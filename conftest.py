"""Loads the plugin for the matrix and for the harness's own tests."""

pytest_plugins = ["harness.plugin"]
