"""Foreign recorded data of a line, made a recording."""

from connectors.importing.mapping import ImportMapping, load_mapping
from connectors.importing.problems import DataError, DataProblem
from connectors.importing.stream import Imported, import_files
from connectors.importing.summary import Summary

__all__ = [
    "DataError",
    "DataProblem",
    "ImportMapping",
    "Imported",
    "Summary",
    "import_files",
    "load_mapping",
]
