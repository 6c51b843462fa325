"""Settings from flags, environment and manifest; the key and its address from the environment alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipsync_batch.errors import ActionNeededError, UsageError
from lipsync_batch.settings import (
    DEFAULT_BASE_URL,
    Rate,
    Settings,
    api_key,
    base_url,
    parse_duration,
    parse_size,
    parse_usd,
    secrets_of,
    without_accounts,
)


def test_defaults_are_those_that_are_documented() -> None:
    """Nothing given is a way to run, too."""
    settings = Settings.layered({}, {}, {})

    assert settings == Settings()
    assert (settings.max_in_flight, settings.downloads, settings.check) == (20, 4, "media")
    assert (settings.resolve_for, settings.patience) == (120.0, 3600.0)
    assert settings.rate is settings.budget is settings.out is settings.finish_by is None
    assert settings.skip_invalid is False


def test_flag_wins_over_environment_over_manifest() -> None:
    """The nearer to the keyboard, the stronger; None and empty are not given."""
    settings = Settings.layered(
        {"rate": "20/s", "budget": None, "skip_invalid": None},
        {"LIPSYNC_BATCH_RATE": "1/s", "LIPSYNC_BATCH_BUDGET": "3", "LIPSYNC_BATCH_DOWNLOADS": " "},
        {"rate": "5/m", "budget": "40", "downloads": "8", "skip_invalid": "true", "patience": None},
    )

    assert settings.rate == Rate(20, 1.0)
    assert settings.budget == 3_000_000
    assert settings.downloads == 8
    assert settings.skip_invalid is True
    assert settings.patience == 3600.0


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("rate", "60/m", Rate(60, 60.0)),
        ("rate", Rate(60, 60.0), Rate(60, 60.0)),
        ("budget", "$12.50", 12_500_000),
        ("budget", "0.1 USD", 100_000),
        ("budget", 0.1, 100_000),
        ("budget", 0, 0),
        ("price_per_second", "0.000001", 1),
        ("max_in_flight", "7", 7),
        ("typical_seconds", "34s", 34.0),
        ("resolve_for", "0", 0.0),
        ("patience", "1.5h", 5400.0),
        ("patience", 90, 90.0),
        ("finish_by", "06:00", "06:00"),
        ("finish_by", "8h", "8h"),
        ("check", "size", "size"),
        ("inline_limit", "8MiB", 8 * 2**20),
        ("inline_limit", "1.5MB", 1_500_000),
        ("media_base_url", "HTTPS://Media.Example.com:443/spring/", "https://media.example.com/spring"),
        ("media_base_url", "http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("out", "~/videos", Path("/home/ada/videos")),
        ("out", Path("videos"), Path("videos")),
        ("skip_invalid", "yes", True),
        ("skip_invalid", False, False),
    ],
)
def test_values_are_taken_as_people_write_them(
    monkeypatch: pytest.MonkeyPatch, name: str, text: object, value: object
) -> None:
    """Units where there are units; money exactly, in micro-USD."""
    monkeypatch.setenv("HOME", "/home/ada")

    assert getattr(Settings.layered({name: text}, {}, {}), name) == value


@pytest.mark.parametrize(
    ("name", "text", "cause", "remedy"),
    [
        ("rate", "60", '"60" is not a rate', "write it like 60/m"),
        ("rate", "0/s", "at least one request", "60/m"),
        ("rate", "1.5/s", "not a rate", "60/m"),
        ("rate", "60/d", "not a rate", "60/m"),
        ("budget", "lots", '"lots" is not an amount in USD', "write it like 40"),
        ("budget", "-1", "not an amount", "40"),
        ("budget", "1,000", "not an amount", "40"),
        ("budget", "1e3", "not an amount", "40"),
        ("budget", float("nan"), "not an amount", "40"),
        ("budget", "0.0000001", "finer than a millionth", "40"),
        ("budget", "99999999999", "more than a billion", "40"),
        ("budget", True, "not an amount", "40"),
        ("max_in_flight", "0", "at least 1", "20"),
        ("max_in_flight", "many", "not a whole number", "20"),
        ("downloads", "65", "at most 64", "4"),
        ("typical_seconds", "0", "more than 0", "34s"),
        ("patience", "soon", '"soon" is not a duration', "1h"),
        ("patience", "-5", "not a duration", "1h"),
        ("patience", "9" * 400, "longer than any clock", "1h"),
        ("patience", "inf", "not a duration", "1h"),
        ("finish_by", "24:00", "neither a time of day nor a duration", "06:00"),
        ("finish_by", "6 am", "neither", "06:00"),
        ("finish_by", "0h", "neither", "06:00"),
        ("check", "maybe", "\"maybe\" is not 'media' or 'size'", "media"),
        ("media_base_url", "http://media.example.com", "is not https", "https://"),
        ("media_base_url", "https://ada:pw@media.example.com", "user name or a password", "https://"),
        ("media_base_url", "https://media.example.com/?sig=1", "a query", "https://"),
        ("media_base_url", "media.example.com", "not a URL with a host", "https://"),
        ("inline_limit", "8 buckets", "not a size", "8MiB"),
        ("inline_limit", "0", "more than 0", "8MiB"),
        ("price_per_job", "free", "not an amount", "0.10"),
        ("skip_invalid", "maybe", "neither true nor false", "true"),
        ("out", " ", "is empty", "../deliveries"),
    ],
)
def test_wrong_flag_is_named_with_its_cause_and_remedy(name: str, text: object, cause: str, remedy: str) -> None:
    """One look at the error is enough to write it right."""
    with pytest.raises(UsageError) as caught:
        Settings.layered({name: text}, {}, {})

    message = str(caught.value)
    assert message.startswith(f"--{name.replace('_', '-')}: ")
    assert cause in message
    assert remedy in message
    assert caught.value.exit_code == 2


def test_all_wrong_settings_are_named_with_where_they_came_from() -> None:
    """The same name may be given in three places: only the one that counts is wrong."""
    with pytest.raises(UsageError) as caught:
        Settings.layered(
            {"max_in_flight": "x"}, {"LIPSYNC_BATCH_RATE": "y", "LIPSYNC_BATCH_MAX_IN_FLIGHT": "z"}, {"budget": "w"}
        )

    lines = sorted(line.split(":")[0] for line in str(caught.value).splitlines())
    assert lines == ["--max-in-flight", "environment variable LIPSYNC_BATCH_RATE", "the manifest's settings.budget"]


def test_misspelt_variable_is_an_error_and_a_stranger_is_not() -> None:
    """A budget that is misspelt would not hold; other variables of the family are none of ours."""
    Settings.layered({}, {"LIPSYNC_BATCH_SOMETHING_ELSE": "1"}, {})

    with pytest.raises(UsageError, match="did you mean LIPSYNC_BATCH_BUDGET"):
        Settings.layered({}, {"LIPSYNC_BATCH_BUGET": "40"}, {})


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("api_key", "AIMLAPI_API_KEY in the environment"),
        ("base_url", "AIMLAPI_BASE_URL in the environment"),
        ("api-key-file", "AIMLAPI_API_KEY_FILE in the environment"),
        ("notify", "--notify URL"),
        ("webhook", "--notify URL"),
        ("dask", "LIPSYNC_BATCH_DASK"),
    ],
)
def test_secrets_and_addresses_are_never_taken_from_a_manifest(name: str, remedy: str) -> None:
    """A manifest that is passed around must not be able to send a key elsewhere; and what it holds is not shown."""
    with pytest.raises(UsageError) as caught:
        Settings.layered({}, {}, {name: "s3cret"})

    assert f"the manifest's settings.{name}: is never taken from a manifest" in str(caught.value)
    assert remedy in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_unknown_setting_suggests_the_nearest() -> None:
    """Or lists all of them."""
    with pytest.raises(UsageError, match="did you mean max_in_flight"):
        Settings.layered({}, {}, {"max_inflight": "3"})
    with pytest.raises(UsageError, match="there are out, rate, budget"):
        Settings.layered({}, {}, {"colour": "red"})


@given(st.integers(1, 10**6), st.floats(0.001, 10**6))
def test_rate_reads_back_what_it_shows(count: int, seconds: float) -> None:
    """As text, it travels through flags, manifests and logs."""
    rate = Rate(count, seconds)

    assert Rate.parse(str(rate)) == rate


@pytest.mark.parametrize("text", ["60/m", "20/s", "1000/h", "5/10s"])
def test_rate_shows_what_it_was_read_from(text: str) -> None:
    """In the words of the user."""
    assert str(Rate.parse(text)) == text


@given(st.integers(0, 10**15))
def test_money_is_exact(micro: int) -> None:
    """A budget of 0.1 USD is 100,000 micro-USD, whatever a float makes of it."""
    assert parse_usd(f"{micro // 10**6}.{micro % 10**6:06}") == micro


@pytest.mark.parametrize("parse", [parse_duration, parse_size, parse_usd])
@given(text=st.text(max_size=8))
def test_any_text_is_parsed_or_refused(parse: Callable[[object], float], text: str) -> None:
    """A ValueError is a message; anything else would be a traceback."""
    try:
        value = parse(text)
    except ValueError:
        return
    assert value >= 0


KEY = "sk-0123456789abcdef"


def test_key_and_hosted_api_are_all_that_is_needed() -> None:
    """The white space that came with the key is left away."""
    environ = {"AIMLAPI_API_KEY": f" {KEY}\n"}

    assert api_key(environ) == KEY
    assert base_url(environ) == DEFAULT_BASE_URL


def test_key_may_stand_in_a_file(tmp_path: Path) -> None:
    """As container platforms mount them, with a line break at the end."""
    (tmp_path / "key").write_text(f"{KEY}\n", encoding="utf-8")

    assert api_key({"AIMLAPI_API_KEY_FILE": str(tmp_path / "key")}) == KEY


@pytest.mark.parametrize(
    "key", ["sk-one two", "sk-one\ntwo", "sk-\N{EM DASH}one", "sk-\u200bone", "sk-é", "sk-\x00one"]
)
def test_key_that_no_header_takes_is_refused_without_showing_it(tmp_path: Path, key: str) -> None:
    """It was copied with something beside it; what is shown lands in logs."""
    (tmp_path / "key").write_text(key, encoding="utf-8")

    for environ in ({"AIMLAPI_API_KEY": key}, {"AIMLAPI_API_KEY_FILE": str(tmp_path / "key")}):
        with pytest.raises(ActionNeededError) as caught:
            api_key(environ)

        assert "sk-" not in str(caught.value)
        assert "Copy the key again" in caught.value.hint
        assert caught.value.exit_code == 5


def test_missing_key_says_how_to_give_one() -> None:
    """And how to go without."""
    with pytest.raises(ActionNeededError, match="no API key") as caught:
        api_key({"AIMLAPI_API_KEY": " "})

    assert "AIMLAPI_API_KEY_FILE" in caught.value.hint
    assert "--sandbox" in caught.value.hint


def test_key_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, a folder, or not text at all."""
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xff")
    for path in (tmp_path / "missing", tmp_path, tmp_path / "bytes"):
        with pytest.raises(ActionNeededError) as caught:
            api_key({"AIMLAPI_API_KEY_FILE": str(path)})

        assert str(path) in str(caught.value)
        assert caught.value.hint


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://API.example.com/", "https://api.example.com"),
        ("https://api.example.com:443", "https://api.example.com"),
        ("https://api.example.com:8443", "https://api.example.com:8443"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://localhost:80/", "http://localhost"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("", DEFAULT_BASE_URL),
    ],
)
def test_base_url_is_normalised_to_its_origin(url: str, origin: str) -> None:
    """A batch is bound to it: the same API must read the same."""
    assert base_url({"AIMLAPI_BASE_URL": url}) == origin


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("http://api.example.com", "is not https"),
        ("http://127.0.0.1.example.com", "is not https"),
        ("http://0.0.0.0:8000", "is not https"),
        ("ftp://api.example.com", "is not https"),
        ("https://ada:s3cret@api.example.com", "user name or a password"),
        ("https://api.example.com?s3cret=1", "a query"),
        ("https://api.example.com#s3cret", "a query"),
        ("https://api.example.com/v2", "a path"),
        ("https://api.example.com:99999", "is not a URL"),
        ("https://", "is not a URL with a host"),
        ("api.example.com", "is not a URL with a host"),
        ("https://api example.com", "a space"),
        ("https://[::1", "is not a URL"),
    ],
)
def test_base_url_that_a_key_must_not_go_to_is_refused(url: str, cause: str) -> None:
    """Plain http shows the key to everyone on the way; and a secret in the URL is not repeated."""
    with pytest.raises(UsageError) as caught:
        base_url({"AIMLAPI_BASE_URL": url})

    assert cause in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert DEFAULT_BASE_URL in caught.value.hint


def test_keys_of_other_providers_are_kept_secret_as_well() -> None:
    """A provider of one's own reads its key from a variable that the program knows nothing of."""
    environ = {
        "AIMLAPI_API_KEY": KEY,
        "STUDIO_TOKEN": "studio-0123",
        "AIMLAPI_BASE_URL": "http://127.0.0.1",
        "A_KEY": "a",
    }

    assert secrets_of(environ) == {KEY, "studio-0123"}
    assert without_accounts({**environ, "HOME": "/home/ada"}) == {"HOME": "/home/ada"}
