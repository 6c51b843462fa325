"""Hosted lip-sync APIs: the seam to them in `base`, and those there are."""
