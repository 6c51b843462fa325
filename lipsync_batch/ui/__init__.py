"""What a run shows while it goes on: lines, a live view, or events, all of them made from the same events."""
