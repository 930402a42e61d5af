"""How the shapes and types that are written down are checked while tests run."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""A whole number will do for a float, as everywhere in Python (PEP 484)."""
