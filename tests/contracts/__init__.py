"""Interfaces of libraries that cannot be installed here, as data, and stand-ins made of them."""
