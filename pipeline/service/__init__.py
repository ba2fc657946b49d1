"""Questions over HTTP, and the page on which to ask them."""

from pipeline.service.app import create_app
from pipeline.service.guard import LOOPBACK
from pipeline.service.limits import Limits

__all__ = ["LOOPBACK", "Limits", "create_app"]
