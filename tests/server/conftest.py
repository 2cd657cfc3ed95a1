"""What tests of the server share."""

from __future__ import annotations

import pytest

from .certificates import Files, files


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return files(tmp_path_factory.mktemp("certificates"))
