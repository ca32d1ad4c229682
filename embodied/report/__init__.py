"""The report: what a run did, on one self-contained HTML page."""

from embodied.report.content import ReportContent
from embodied.report.page import build_report

__all__ = ["ReportContent", "build_report"]
