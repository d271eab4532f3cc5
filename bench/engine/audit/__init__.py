"""Audits logs of a deployment: reads them, calibrates detectors of probing, and says who probes."""

from bench.engine.audit.detect import audit
from bench.engine.audit.files import FORMATS
from bench.engine.audit.result import Audit, Flag, Ran

__all__ = ["FORMATS", "Audit", "Flag", "Ran", "audit"]
