"""report.html in a real browser: its script runs under its own policy, and plays the videos beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from browser import Visits
from media_factory import make_video
from playwright.sync_api import Locator, Page, expect
from report_factory import MORNING, a_night, failed, make_record, many, source_of, unfinished

from lipsync_batch.jobs import JobRecord, StopReason
from lipsync_batch.report import Posters, Source, write_live_page, write_reports

HOSTILE = "</script><img src=x onerror=alert(1)>"

pytestmark = pytest.mark.slow


def written(source: Source, folder: Path) -> Path:
    return write_reports(source, folder, stop_reason=StopReason.FINISHED, written_at=MORNING).html


def shown_keys(page: Page) -> list[str]:
    """The jobs that the table shows, from the top."""
    return page.locator("#table .open").all_inner_texts()


def plays(page: Page) -> bool:
    """Whether the viewer's video goes on: pictures are there, and its clock moves."""
    return bool(page.locator("#viewer video").evaluate(GOES_ON))


GOES_ON = """video => new Promise((over) => {
  const look = () => { if (video.currentTime > 0.2) over(video.readyState >= 2 && video.videoWidth > 0); };
  video.addEventListener("timeupdate", look);
  video.addEventListener("error", () => over(false));
  look();
})"""


def test_table_and_grid_are_there(tmp_path: Path, visits: Visits) -> None:
    """The script is allowed by the policy's hash, and does its work without a complaint."""
    page = visits.open(written(a_night(5), tmp_path))

    expect(page.locator("#found")).to_have_text("65 jobs")
    expect(page.locator("#glance-grid .cell")).to_have_count(65)
    assert shown_keys(page)[:2] == ["ar/clip-000", "cs/clip-000"]


def test_address_chooses_the_jobs(tmp_path: Path, visits: Visits) -> None:
    """A link to the failed ones can be sent to a colleague."""
    source = source_of(make_record(0), failed(1, labels={"language": "pt BR"}), failed(2, labels={"language": "pt"}))

    page = visits.open(written(source, tmp_path), "#state=failed&q=language%3D%22pt+BR%22")

    expect(page.locator("#found")).to_have_text("1 of 3 jobs")
    assert shown_keys(page) == ["job-000001"]


def test_search_states_and_order_narrow_the_table(tmp_path: Path, visits: Visits) -> None:
    """Who has one language to look after sees that one, the slowest first."""
    page = visits.open(written(a_night(40), tmp_path))

    page.locator("#search").fill("language=de")
    expect(page.locator("#found")).to_have_text("40 of 520 jobs")
    page.locator("#filters .chip", has_text="done").click()
    keys = shown_keys(page)
    assert keys
    assert all(key.startswith("de/") for key in keys)

    page.get_by_role("button", name="Made in").click()
    page.get_by_role("button", name="Made in").click()
    slowest_first = page.locator("#table td.k-took").all_inner_texts()
    assert slowest_first == sorted(slowest_first, key=seconds, reverse=True)
    assert len(set(slowest_first)) > 5
    expect(page.locator("#table th.k-took")).to_have_attribute("aria-sort", "descending")

    page.reload()
    assert page.locator("#table td.k-took").all_inner_texts() == slowest_first


def seconds(text: str) -> float:
    """A duration as the table shows it: `34.2 s`, `1 min 5 s`."""
    minutes, _, rest = text.removesuffix(" s").rpartition(" min ")
    return 60 * float(minutes or 0) + float(rest)


def test_video_of_any_name_plays(tmp_path: Path, visits: Visits) -> None:
    """A `#`, a `?`, a percent sign, a blank or an umlaut in a file's name is no reason not to see it."""
    output = "Füße & more/#1? 50%2F.mp4"
    path = tmp_path / output
    path.parent.mkdir()
    make_video(path)
    page = visits.open(written(source_of(make_record(key="the one", output=output)), tmp_path))

    page.get_by_role("button", name="the one").click()

    assert plays(page)


def test_posters_show_in_the_table_on_the_grid_and_as_pictures(tmp_path: Path, visits: Visits) -> None:
    """A lead sees at a glance whether the right clip is there, and one click plays it."""
    records = [make_record(number, labels={"language": "de"}) for number in range(6)]
    records += [failed(number, labels={"language": "fr"}) for number in range(6, 8)]
    for record in records[:6]:
        make_video(tmp_path / record.output, size=(320, 180))
    Posters(tmp_path).make((record.output, record.sha256 or "") for record in records[:6])
    page = visits.open(written(source_of(*records), tmp_path))

    expect(page.locator("#table td.k-poster img")).to_have_count(6)
    assert drawn(page.locator("#table td.k-poster img").first)
    page.locator("#glance-grid .cell").first.hover()
    expect(page.locator("#peek")).to_contain_text("job-000")
    page.get_by_role("button", name="Pictures").click()
    expect(page.locator("#table .card")).to_have_count(8)
    assert drawn(page.locator("#table .card img").last)
    page.reload()
    page.locator("#table .card .open").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#viewer-key")).to_have_text("job-000001")
    assert plays(page)


def drawn(image: Locator) -> bool:
    """Whether the browser has the picture, and knows its size."""
    return bool(image.evaluate("image => image.decode().then(() => image.naturalWidth === 320)"))


def test_page_of_a_run_loads_itself_but_never_under_the_hands_of_a_reader(tmp_path: Path, visits: Visits) -> None:
    """It may stand on a second screen all night; whoever types a search must not lose it."""

    def write(*records: JobRecord) -> Path:
        write_live_page(source_of(*records), tmp_path, written_at=MORNING, again_after=30.0, posters=Posters(tmp_path))
        return tmp_path / "report.html"

    page = visits.open(write(unfinished(0), unfinished(1)), now=MORNING)
    headline = page.locator(".verdict h2")
    write(make_record(0), unfinished(1))

    page.locator("#search").focus()
    page.clock.run_for(120_000)
    expect(headline).to_have_text("0 of 2 videos are done, 2 are left.")
    expect(page.locator("#since")).to_have_text("2 min 0 s ago")
    page.locator("#search").blur()
    page.clock.run_for(10_000)

    expect(headline).to_have_text("1 of 2 videos are done, 1 is left.")
    expect(page.locator("#stale")).to_be_visible()


def test_everything_goes_by_keyboard(tmp_path: Path, visits: Visits) -> None:
    """Forty jobs are looked through faster without a mouse."""
    for number in range(3):
        make_video(tmp_path / f"job-{number:06}.mp4")
    page = visits.open(written(source_of(*(make_record(number) for number in range(3))), tmp_path))

    page.keyboard.press("/")
    page.keyboard.type("job-")
    page.keyboard.press("Escape")
    page.locator("#table .open").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#viewer-key")).to_have_text("job-000001")
    assert plays(page)
    page.keyboard.press("j")
    expect(page.locator("#viewer-key")).to_have_text("job-000002")
    page.keyboard.press("k")
    page.keyboard.press("k")
    expect(page.locator("#viewer-key")).to_have_text("job-000000")
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.locator("#table .open").first).to_be_focused()


def test_cells_of_the_grid_go_by_arrow_keys(tmp_path: Path, visits: Visits) -> None:
    """One stop for the tab key, then as in a spreadsheet."""
    page = visits.open(written(a_night(3), tmp_path))
    cells = page.locator("#glance-grid .cell")

    cells.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    expect(cells.nth(14)).to_be_focused()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowUp")
    expect(cells.first).to_be_focused()


def test_hostile_texts_do_nothing(tmp_path: Path, visits: Visits) -> None:
    """What the rows say is never taken for markup, in the table or in the viewer."""
    source = source_of(
        failed(0, code=HOSTILE, message=HOSTILE, key=HOSTILE, labels={HOSTILE: HOSTILE}, speech=HOSTILE, video=HOSTILE),
        make_record(1, key=HOSTILE + "2", output=HOSTILE, labels={HOSTILE: "b"}, suspect=HOSTILE, video=HOSTILE),
    )

    page = visits.open(written(source, tmp_path), f"#job={quote(HOSTILE)}")

    expect(page.locator("#viewer-key")).to_have_text(HOSTILE)
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(scheme: Any, tmp_path: Path, visits: Visits) -> None:
    """In the light or in the dark, as the reader's system has it: at least 4.5 to 1, as WCAG asks of text."""
    page = visits.open(written(a_night(5), tmp_path), color_scheme=scheme)

    for selector in ("h1", ".verdict h2", ".muted", ".tiles dd", "#table td.k-key", ".chip"):
        assert page.locator(selector).first.evaluate(CONTRAST) >= 4.5, selector
    assert (page.evaluate(f"({GROUND})(document.body)")[0] < 128) is (scheme == "dark")


GROUND = """node => {
  for (let one = node; one; one = one.parentElement) {
    const [red, green, blue, alpha = 1] = getComputedStyle(one).backgroundColor.match(/[\\d.]+/g).map(Number);
    if (alpha === 1) return [red, green, blue];
  }
}"""
CONTRAST = f"""node => {{
  const light = (colour) => {{
    const [red, green, blue] = colour.map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  }};
  const ink = getComputedStyle(node).color.match(/[\\d.]+/g).map(Number);
  const [low, high] = [light(ink), light(({GROUND})(node))].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}}"""


def test_paper_gets_the_jobs_and_no_buttons(tmp_path: Path, visits: Visits) -> None:
    """A printed report is read in a meeting: what cannot be clicked there is not there."""
    page = visits.open(written(a_night(10), tmp_path))

    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")

    expect(page.locator("#tools")).to_be_hidden()
    expect(page.locator("#table tr.row")).to_have_count(130)
    assert page.pdf().startswith(b"%PDF")


def test_phone_needs_no_scrolling_to_the_side(tmp_path: Path, visits: Visits) -> None:
    """The first look is taken before breakfast."""
    page = visits.open(written(a_night(5), tmp_path), viewport={"width": 390, "height": 844})

    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_fifty_thousand_jobs_are_searched_and_sorted_in_place(tmp_path: Path, visits: Visits) -> None:
    """Only the rows in sight exist, so that a page of a whole year's work answers at once."""
    page = visits.open(written(many(50_000), tmp_path))
    rows = page.locator("#table tr.row")

    assert rows.count() < 100
    page.locator("#search").fill("job-0499")
    expect(page.locator("#found")).to_have_text("100 of 50,000 jobs")
    page.locator("#search").fill("")
    page.locator("#table th button", has_text="Job").click()
    page.locator("#table th button", has_text="Job").click()
    assert shown_keys(page)[0] == "job-049999"
    page.locator("#table .open").first.focus()
    page.keyboard.press("End")
    assert shown_keys(page)[-1] == "job-000000"
    assert rows.count() < 100
