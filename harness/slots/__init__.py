"""Slots: the parts of a machine that judge cells at the same time, and who of them is given what.

`machine` says which slots there are, `share` what one host may use, `allocation` who gets what next, `orders` how a
worker is told, `scheduling` speaks pytest-xdist's protocol; `harness.plugin.slots` ties them to a run. Of these only
`orders` and `scheduling` know pytest.
"""
