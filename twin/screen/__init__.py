"""The operator's screen: pages in the browser, served by the service itself."""

from twin.screen.serve import Screen

__all__ = ["Screen"]
