"""The version's one home."""

VERSION = "0.1.0"
