from __future__ import annotations

import re
import tomllib
from pathlib import Path

from runner.errors import SetupError
from runner.extras import DISTRIBUTION, EXTRAS, missing_library

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
DISTRIBUTIONS = {"python_calamine": "python-calamine", "huggingface_hub": "huggingface-hub", "re2": "google-re2"}


def test_every_extra_brings_its_library() -> None:
    assert PROJECT["name"] == DISTRIBUTION
    for module, extra in EXTRAS.items():
        names = [re.split(r"[\[>=<;]", each)[0] for each in PROJECT["optional-dependencies"][extra]]
        assert DISTRIBUTIONS.get(module, module) in names


def test_a_missing_library_is_told_with_the_command_that_brings_it() -> None:
    error = missing_library("pyarrow.parquet", "parquet files")
    assert isinstance(error, SetupError)
    assert error.message == "parquet files needs the library pyarrow, not installed here"
    assert error.hint == "pip install 'rowrunner[tables]'"
    assert missing_library("oracledb", "oracle://").hint == "pip install oracledb"
