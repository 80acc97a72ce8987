"""The results store: JSON Lines, appended as cells end, read strictly, rewritten atomically.

A file of verdicts is a `Results`; other files of cells are further tables, kept in the same way.
"""

from harness.store.judged import Judged
from harness.store.lines import StoreError, alone, dump, mend, repair, replace, replace_by
from harness.store.table import Results, Table, read
from harness.store.writer import Writer, compact

__all__ = [
    "Judged",
    "Results",
    "StoreError",
    "Table",
    "Writer",
    "alone",
    "compact",
    "dump",
    "mend",
    "read",
    "repair",
    "replace",
    "replace_by",
]
