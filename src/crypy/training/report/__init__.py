"""Reports of evaluations that people read: one page with tables and pictures."""

from crypy.training.report.style import require_drawing
from crypy.training.report.writing import write_report

__all__ = ["require_drawing", "write_report"]
