"""Each thing that can go wrong, as a client sees it: the program is tested against these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from sandbox_client import ended, made, poll, stats, submit

from lipsync_batch.sandbox.faults import Dice, FaultError, Faults, Rate, Timing


def texts(count: int) -> list[str]:
    return [f"Number {n}" for n in range(count)]


# -- dice and switches


def test_the_same_seed_rolls_the_same() -> None:
    """A run that went wrong can be had again."""
    first, again, other = Dice(1), Dice(1), Dice(2)

    assert first.roll("lost", "pair", 1) == again.roll("lost", "pair", 1)
    assert first.roll("lost", "pair", 1) != other.roll("lost", "pair", 1)
    assert first.roll("lost", "pair", 1) != first.roll("lost", "pair", 2)


def test_rolls_are_spread_evenly() -> None:
    """A chance of 0.3 strikes three in ten."""
    dice = Dice(7)

    struck = sum(dice.happens(0.3, "lost", n) for n in range(5_000))

    assert 1_350 < struck < 1_650


def test_generation_times_are_log_normal_around_the_median() -> None:
    """The forecast learns this shape: it must be the one that was promised."""
    timing, dice = Timing(median=34.0, spread=0.3, speed_up=2.0), Dice(3)

    times = sorted(timing.seconds(dice.roll("time", n)) for n in range(4_001))

    assert 16.5 < times[2_000] < 17.5
    assert timing.seconds(0.8413) == pytest.approx(17.0 * 2.718281828**0.3, rel=0.01)


@pytest.mark.parametrize(
    "changes",
    [{"lots": 1}, {"lost": 1.5}, {"lost": "often"}, {"slots": -1}, {"rate": "20"}, {"revoked": 1}, {"lost": None}],
)
def test_a_switch_takes_only_what_it_means(inside: Any, changes: dict[str, Any]) -> None:
    """A test that misspells a fault must not pass for want of it."""
    client = inside()
    with pytest.raises(FaultError):
        Faults().changed(changes)

    answer = client.put("/_sandbox/faults", json=changes)

    assert answer.status_code == 422
    assert client.get("/_sandbox/faults").json() == Faults().as_json()


def test_switches_are_set_while_it_runs(inside: Any) -> None:
    """An outage begins and ends within one test."""
    client = inside()

    client.put("/_sandbox/faults", json={"revoked": True, "link_seconds": 2})

    assert submit(client).status_code == 401
    assert client.get("/_sandbox/faults").json()["link_seconds"] == 2
    client.put("/_sandbox/faults", json={"revoked": False})
    assert submit(client).status_code == 200


# -- limits


def test_the_rate_holds_in_every_window(inside: Any) -> None:
    """Refused requests are counted as arrived, so a test can say whether the client kept the rate."""
    client = inside(Faults(rate="5/m"))

    answers = [client.get("/v2/billing") for _ in range(7)]

    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert answers[-1].json()["statusCode"] == "429"
    assert "Retry-After" not in answers[-1].headers
    counted = stats(client)
    assert counted["worst_window"] == 7
    assert counted["requests"]["refused 429"] == 2


def test_retry_after_says_how_long(inside: Any) -> None:
    """Only where it is switched on: the hosted API was never seen to send it."""
    client = inside(Faults(rate="1/m", retry_after=True))
    client.get("/v2/billing")

    wait = int(client.get("/v2/billing").headers["Retry-After"])

    assert 55 <= wait <= 61


@pytest.mark.slow
def test_the_log_has_a_limit_of_its_own(inside: Any) -> None:
    """200 a minute: the only number that is published."""
    client = inside()

    codes = [client.get("/v2/logs?period=1h").status_code for _ in range(201)]

    assert codes == [200] * 200 + [429]


def test_full_slots_are_429_until_one_ends(inside: Any) -> None:
    """In words that differ from the rate's, as upstream."""
    client = inside(Faults(slots=1, stuck=1.0), instant_media=True)
    first = submit(client, lip_sync_tts_content="One").json()["id"]

    refused = submit(client, lip_sync_tts_content="Two")

    assert refused.status_code == 429
    assert "concurrent" in refused.json()["message"]
    client.put("/_sandbox/faults", json={"stuck": 0})
    ended(client, first)
    assert submit(client, lip_sync_tts_content="Two").status_code == 200


def test_rates_are_read_as_they_are_written() -> None:
    """As `--rate` on the command line."""
    assert Rate.parse("20/s") == Rate(count=20, seconds=1.0)
    assert Rate.parse("60/m") == Rate(count=60, seconds=60.0)


# -- answers that say nothing


def test_server_errors_come_as_json_and_as_html_and_accept_nothing(inside: Any) -> None:
    """A gateway's page must not be taken for the API's word."""
    client = inside(Faults(server_errors=1.0))

    answers = [submit(client, lip_sync_tts_content=text) for text in texts(40)]
    answers += [client.get("/v2/billing") for _ in range(5)]

    assert {answer.status_code for answer in answers} == {500, 502, 503, 504}
    assert {answer.headers["content-type"].partition(";")[0] for answer in answers} == {"application/json", "text/html"}
    assert stats(client)["accepted"] == 0


def test_what_strikes_does_not_hang_on_the_order_of_arrival(inside: Any) -> None:
    """Lanes race; a seed repeats all the same."""
    struck = []
    for order in (texts(20), texts(20)[::-1]):
        client = inside(Faults(server_errors=0.5))
        struck.append({text: submit(client, lip_sync_tts_content=text).status_code for text in order})

    assert struck[0] == struck[1]
    assert len(set(struck[0].values())) > 1


@pytest.mark.slow
def test_a_lost_answer_is_an_accepted_generation(process: Callable[..., httpx2.Client]) -> None:
    """The trap that costs money: not a byte comes back, and the generation runs and is charged."""
    client = process("--lost", "1", "--instant-media")

    with pytest.raises(httpx2.RemoteProtocolError):
        submit(client, "lb1.batch.0123.1")

    ids = [row["client_request_id"] for row in settled_log(client)]
    assert ids == ["lb1.batch.0123.1"]
    assert stats(client)["charges"] == 1


def settled_log(client: httpx2.Client) -> list[dict[str, Any]]:
    """The log, once it shows something."""
    for _ in range(500):
        if rows := client.get("/v2/logs?period=1h").json().get("data"):
            return list(rows)
    return []


def test_a_hidden_answer_is_an_accepted_generation_behind_502(inside: Any) -> None:
    """A gateway's error after the fact: no reason to send it again."""
    client = inside(Faults(hidden=1.0))

    answer = submit(client)

    assert answer.status_code == 502
    assert "x-inference-id" not in answer.headers
    assert stats(client)["accepted"] == 1


def test_slow_answers_come_all_the_same(inside: Any) -> None:
    """With the time-out above or below `--slow-seconds`, both sides can be had."""
    client = inside(Faults(slow=1.0, slow_seconds=0.1))

    answer = submit(client)

    assert answer.status_code == 200
    assert answer.elapsed.total_seconds() >= 0.1


# -- generations that go wrong


@pytest.mark.slow
def test_errors_come_in_every_shape_that_was_seen(inside: Any) -> None:
    """A client that reads only {name, message} reports a failed job as `undefined`."""
    client = inside(Faults(errors=1.0), instant_media=True)

    errors = [made(client, lip_sync_tts_content=text)["error"] for text in texts(20)]

    named = [error for error in errors if isinstance(error, dict) and "name" in error]
    detailed = [error for error in errors if isinstance(error, dict) and "detail" in error]
    plain = [error for error in errors if isinstance(error, str)]
    assert named
    assert detailed
    assert plain
    assert len(named) + len(detailed) + len(plain) == 20
    assert stats(client)["charges"] == 0


def test_some_errors_may_be_tried_again(inside: Any) -> None:
    """The API has no field for it: only the words tell."""
    client = inside(Faults(errors=1.0, retryable=1.0), instant_media=True)

    assert "try again" in made(client)["error"]["message"]


def test_stuck_generations_go_on_when_the_fault_is_lifted(inside: Any) -> None:
    """Overdue is not lost."""
    client = inside(Faults(stuck=1.0), instant_media=True)
    generation_id = submit(client).json()["id"]
    words = {poll(client, generation_id)["status"] for _ in range(20)}
    assert words <= {"queued", "generating"}

    client.put("/_sandbox/faults", json={"stuck": 0})

    assert ended(client, generation_id)["status"] in ("completed", "succeeded")


def test_done_without_a_link_for_some_polls(inside: Any) -> None:
    """Done, paid for, and nowhere to be found: poll again, bounded."""
    client = inside(Faults(no_link=1.0, no_link_polls=2), instant_media=True)
    generation_id = submit(client).json()["id"]

    first = ended(client, generation_id)

    assert first["video"] is None
    assert poll(client, generation_id)["video"] is None
    assert poll(client, generation_id)["video"]["url"].startswith("http://")


def test_odd_generations_speak_like_neighbouring_models(inside: Any) -> None:
    """Ids with `:` and `/`, 201, and statuses that no enum lists: all of them seen."""
    client = inside(Faults(odd=1.0, stuck=1.0))

    answers = [submit(client, lip_sync_tts_content=text) for text in texts(12)]

    assert {answer.status_code for answer in answers} == {201}
    ids = [answer.json()["id"] for answer in answers]
    assert all(found.endswith(":pixverse/lip-sync") for found in ids)
    words = {poll(client, found)["status"] for found in ids}
    assert "NOT_START" in words
    assert not words & {"queued", "generating", "completed", "succeeded", "error"}


# -- results that go wrong


@pytest.mark.slow
def test_a_cut_download_breaks_off_and_goes_on_by_range(process: Callable[..., httpx2.Client]) -> None:
    """The length is promised, half of it comes: a file that must not be taken for whole."""
    client = process("--cut", "1", "--instant-media")
    link = made(client)["video"]["url"]

    with httpx2.stream("GET", link) as answer:
        length = int(answer.headers["content-length"])
        received = until_it_breaks_off(answer)

    assert len(received) == length // 2
    client.put("/_sandbox/faults", json={"cut": 0})
    rest = httpx2.get(link, headers={"Range": f"bytes={len(received)}-"})
    assert rest.status_code == 206
    assert len(received) + len(rest.content) == length


def until_it_breaks_off(answer: httpx2.Response) -> bytes:
    received = bytearray()
    try:
        for chunk in answer.iter_raw():
            received += chunk
    except httpx2.RemoteProtocolError:
        return bytes(received)
    raise AssertionError("it came whole")


def test_html_instead_of_the_file(inside: Any) -> None:
    """With status 200: only a look at the content tells."""
    client = inside(Faults(html=1.0), instant_media=True)

    answer = fetched(client, made(client)["video"]["url"])

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")


def test_links_expire_and_a_poll_gives_a_fresh_one(inside: Any) -> None:
    """403, never a reason to generate again."""
    client = inside(Faults(link_seconds=0.0), instant_media=True)
    generation_id = submit(client).json()["id"]
    link = ended(client, generation_id)["video"]["url"]
    assert fetched(client, link).status_code == 403

    client.put("/_sandbox/faults", json={"link_seconds": 60})

    fresh = poll(client, generation_id)["video"]["url"]
    assert "Signature=" in fresh
    assert fetched(client, fresh).status_code == 200
    assert fetched(client, fresh.replace("Expires=", "Expires=9")).status_code == 403
    assert fetched(client, link).status_code == 403


def test_a_link_before_its_file(inside: Any) -> None:
    """404 for some tries, then the file."""
    client = inside(Faults(late_file=1.0, late_file_tries=2), instant_media=True)
    link = made(client)["video"]["url"]

    codes = [fetched(client, link).status_code for _ in range(3)]

    assert codes == [404, 404, 200]


def fetched(client: httpx2.Client, link: str) -> httpx2.Response:
    """A result, without the key."""
    with_key = client.headers.pop("Authorization")
    try:
        return client.get(link)
    finally:
        client.headers["Authorization"] = with_key


def test_every_switch_has_a_test_or_is_a_part_of_another() -> None:
    """A fault that no test knows is a fault that no one can rely on."""
    tested = {
        *("rate", "retry_after", "slots", "credits", "revoked", "server_errors", "lost", "hidden", "slow"),
        *("errors", "retryable", "stuck", "odd", "no_link", "late_file", "link_seconds", "cut", "html"),
    }
    parts = {"slow_seconds", "no_link_polls", "late_file_tries"}

    assert set(Faults().as_json()) == tested | parts
