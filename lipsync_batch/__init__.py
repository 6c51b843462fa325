"""Hosted lip-sync in bulk."""
