"""Moments of films as files of their own: clips to keep, previews and thumbnails for a browser, and their names."""

from gmmformer.media.cutting.browsers import browser_plays
from gmmformer.media.cutting.cuts import MOST_SECONDS, Cut, browser_preview, cut_moment, moment_filename
from gmmformer.media.cutting.thumbnails import thumbnail

__all__ = ["MOST_SECONDS", "Cut", "browser_plays", "browser_preview", "cut_moment", "moment_filename", "thumbnail"]
