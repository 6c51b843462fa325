"""The provider's slots, known only by what it refuses."""

from __future__ import annotations

from collections import deque

import pytest

from lipsync_batch.runner.slots import Slots


def test_own_limit_is_never_exceeded() -> None:
    """--max-in-flight is a promise."""
    slots = Slots(3)

    assert slots.room(2, now=0.0)
    assert not slots.room(3, now=1e9)


def test_refused_submit_waits_for_an_end_or_for_a_pause() -> None:
    """Whichever is first: an end frees a slot, and so may someone else who uses the account."""
    slots = Slots(20)
    pause = slots.refused(5, 0.0, typical_seconds=34.0)

    assert not slots.room(5, now=pause - 0.1)
    assert slots.room(4, now=0.1)
    assert slots.room(5, now=pause)
    assert slots.wait(5, now=0.0) == pause


def test_pauses_grow_up_to_a_minute_while_there_is_no_room() -> None:
    """Each try is a refusal that the provider counts."""
    slots, now, pauses = Slots(20), 0.0, []
    for _ in range(10):
        pauses.append(slots.refused(5, now, typical_seconds=34.0))
        now += pauses[-1]

    assert pauses[:3] == pytest.approx([3.4, 6.8, 13.6])
    assert pauses[-1] == 60.0


def test_more_room_is_found_soon() -> None:
    """When another user of the account is done, his slots are ours within a few tries."""
    slots, now, alive = Slots(100), 0.0, 5
    for _ in range(4):
        now += slots.refused(alive, now, typical_seconds=34.0)
    began = now

    while alive < 50:
        now += slots.wait(alive, now) or 0.0
        slots.accepted(alive, now)
        alive += 1

    assert now - began < 60.0


def test_cap_is_kept_full_with_few_refusals() -> None:
    """Against a provider with 10 slots and generations of 34 s: hardly a slot is free, hardly a submit is refused."""
    slots, ends, now, refused, taken = Slots(60), deque[float](), 0.0, 0, 0
    busy = 0.0
    while now < 3_400.0:
        while ends and ends[0] <= now:
            ends.popleft()
        if slots.room(len(ends), now):
            if len(ends) < 10:
                slots.accepted(len(ends), now)
                ends.append(now + 34.0)
                taken += 1
            else:
                refused += 1
                slots.refused(len(ends), now, typical_seconds=34.0)
        busy += len(ends) * 0.1
        now += 0.1

    assert busy / (10 * 3_400.0) > 0.98
    assert refused / (refused + taken) < 0.1
