"""Which folders are bases."""

import shutil

import pytest
from conftest import TINY

from threetoe.errors import UserError
from threetoe.run.base import check_model


def test_a_merged_export_is_a_base_and_a_run_is_none(tmp_path):
    """Both have a run.json."""
    folder = shutil.copytree(TINY, tmp_path / "merged")
    (folder / "run.json").write_text("{}", encoding="utf-8")
    check_model(str(folder))
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="is the folder of a run, not a base"):
        check_model(str(folder))
