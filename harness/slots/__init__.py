"""Slots: the parts of a machine that judge cells at the same time, and who of them is given what.

`machine` says which slots there are, `allocation` who gets what next, `orders` how a worker is told, `scheduling`
speaks pytest-xdist's protocol, `plugin` ties them to a run. Only the last three know pytest.
"""
