"""Fixtures of the tests of the report."""

import pytest

from mmrl.tracking.report.page import write_report
from tests.support.browser import build_run


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return write_report(build_run(tmp_path_factory.mktemp("runs") / "demo"))
