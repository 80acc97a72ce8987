"""Test-matrix harness: which parameter values really work on which inference backend."""
