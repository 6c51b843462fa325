"""From a link to a whole, checked file beside its final name; in this process, or in one of its own (`worker`).

Nothing here needs the runner: `fetch` is pure, idempotent and blocking, and does as well on another machine.
"""
