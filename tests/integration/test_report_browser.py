"""index.html in a real browser: what a person sees, with keys, messages and transcripts written by an attacker."""

from __future__ import annotations

import http.server
import os
import shutil
import threading
import time
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from transcription_worker.errors import Reason
from transcription_worker.outcome import Outcome, State
from transcription_worker.report import PAGE, PageLimits, ReportHeader, write_report
from transcription_worker.transcript import ChannelTranscript, Provenance, Segment, Source, Transcript, Word

pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]

SCRIPT_KEY = "a</script><script>alert('key')</script>.wav"
IMAGE_KEY = "b<img src=x onerror=alert('key')>.wav"
HOSTILE_WORD = "<b>bold</b><img/src=x/onerror=alert('word')>"


def wait_until(page: Page, condition: str) -> None:
    """Poll a JavaScript expression.

    Playwright's own waiting evaluates text inside the page, which the page's policy forbids, from the second look on.
    """
    deadline = time.monotonic() + 30
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(50)


@dataclass
class Seen:
    """Everything that a page that only shows text never causes."""

    trouble: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no Chromium on PATH: install the chromium package")
        pytest.skip("no Chromium on PATH: install the chromium package to look at the report")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[[str], tuple[Page, Seen]]]:
    contexts = []

    def opened(url: str) -> tuple[Page, Seen]:
        context = browser.new_context(viewport={"width": 1400, "height": 900})
        contexts.append(context)
        page, seen = context.new_page(), Seen()
        page.on("console", lambda message: seen.trouble.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: seen.trouble.append(str(error)))
        page.on("request", lambda request: seen.requests.append(request.url))

        def dialog_opened(dialog: object) -> None:
            seen.trouble.append(f"dialog {dialog}")
            dialog.dismiss()  # type: ignore[attr-defined]

        page.on("dialog", dialog_opened)
        page.goto(url)
        return page, seen

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a job over a local directory: 3 failures, 1 skipped, 251 done; path of its index.html."""
    root = tmp_path_factory.mktemp("calls #1 %20")
    with wave.open(str(root / "tone.wav"), "wb") as audio:
        audio.setparams((1, 2, 8000, 0, "NONE", ""))
        audio.writeframes(b"\x00\x10" * 8000 * 6)
    folder = root / "out" / "_transcription" / "calls-1a2b3c4d" / "report"
    folder.mkdir(parents=True)
    (root / "out" / "talk.wav.json").write_text('{"the": "transcript"}')
    write_report(
        header(planned=256),
        outcomes(),
        scratch_paths=lambda name: folder / name,
        transcripts=lambda outcome: transcript(outcome.key) if outcome.key in ("talk.wav", IMAGE_KEY) else None,
        local_source=lambda key: root / "tone.wav" if key in ("talk.wav", SCRIPT_KEY) else None,
    )
    return folder / PAGE


def header(*, planned: int) -> ReportHeader:
    return ReportHeader(
        job="calls",
        job_id="calls-1a2b3c4d",
        input="/data/calls",
        output="/data/out",
        model="nvidia/parakeet-tdt-0.6b-v3",
        options={"timestamps": "word", "maxSegmentSeconds": 30},
        started="2026-11-30T09:00:00Z",
        finished="2026-11-30T09:01:40Z",
        wall_seconds=100.0,
        conditional_writes=True,
        ignored=2,
        planned=planned,
        software="transcription-operator 0.1.0",
    )


def outcomes() -> Iterator[Outcome]:
    for n in range(249):
        yield done(f"day/{n:03d}.flac", duration=10.0 + n, words=n)
    yield done("talk.wav", duration=6.0, words=5000)
    yield done(IMAGE_KEY, duration=4000.0, words=3)
    yield Outcome(key="old.flac", etag="e", size=9, state=State.SKIPPED, output="old.flac.json")
    yield failed(SCRIPT_KEY, Reason.CORRUPT, "the file is damaged after 3 s <script>alert('message')</script>")
    yield failed("z.mp3", Reason.EMPTY, "the object has 0 bytes")
    yield failed("c.pdf", Reason.UNSUPPORTED_FORMAT, "this is no audio")


def done(key: str, *, duration: float, words: int) -> Outcome:
    return Outcome(
        key=key,
        etag="e",
        size=96_044,
        state=State.DONE,
        output=f"{key}.json",
        duration=duration,
        words=words,
        worker="0/1234",
        decode_seconds=0.5,
        model_seconds=0.5,
    )


def failed(key: str, reason: Reason, message: str) -> Outcome:
    return Outcome(key=key, etag="e", size=9, state=State.FAILED, reason=reason, message=message, attempts=3)


def transcript(key: str) -> Transcript:
    words = (Word("good", 0.5, 0.9, 0.99), Word("morning", 1.0, 1.5, 0.31), Word(HOSTILE_WORD, 1.5, 1.9, 0.9))
    return Transcript(
        Source(f"/data/calls/{key}", key, "e", 96_044, 6.0, 8000, 2, "pcm_s16le"),
        Provenance("calls", "x", "a", "b", "nemo", "0", "float32"),
        (
            ChannelTranscript(0, (Segment(0.5, 1.9, f"good morning {HOSTILE_WORD}", 0.7, words),)),
            ChannelTranscript(1, (Segment(3.0, 4.0, "how can I help you?"),)),
        ),
    )


def names(page: Page, count: int) -> list[str]:
    return page.locator("tbody td.key").all_inner_texts()[:count]


def sort_by(page: Page, column: str) -> Locator:
    heading = page.get_by_role("columnheader", name=column)
    heading.get_by_role("button").click()
    return heading


def test_person_sees_the_job_its_figures_and_failures_first(
    report: Path, open_page: Callable[[str], tuple[Page, Seen]]
) -> None:
    page, seen = open_page(report.as_uri())
    expect(page.get_by_role("heading", level=1)).to_have_text("calls")
    expect(page.locator("#lede")).to_contain_text(
        "251 of 256 recordings transcribed: 10.4 h of audio in 1 min 40 s, 374× real time."
    )
    expect(page.locator("#missing")).to_have_text("1 planned recording has no outcome: apply the job again to finish.")
    tiles = dict(zip(page.locator("dt").all_inner_texts(), page.locator("dd").all_inner_texts(), strict=False))
    assert (tiles["Failed"], tiles["Done"], tiles["Skipped"], tiles["Audio"]) == ("3", "251", "1", "10.4 h")
    assert page.locator("#reason-list button").all_inner_texts() == [
        "Corrupt\n1",
        "Empty\n1",
        "UnsupportedFormat\n1",
    ]
    assert names(page, 4) == [SCRIPT_KEY, "c.pdf", "z.mp3", IMAGE_KEY]
    expect(page.locator("tbody tr").first).to_contain_text("Corrupt: the file is damaged after 3 s <script>alert(")
    expect(page.get_by_role("columnheader", name="Status")).to_have_attribute("aria-sort", "ascending")
    expect(page.get_by_role("status")).to_have_text("255 recordings")
    assert seen.trouble == []
    assert seen.requests == [report.as_uri()]


def test_histogram_shows_how_many_recordings_have_which_length(
    report: Path, open_page: Callable[[str], tuple[Page, Seen]]
) -> None:
    page, _ = open_page(report.as_uri())
    chart = page.locator("#histogram svg")
    expect(chart).to_be_visible()
    expect(chart).to_have_attribute(
        "aria-label",
        "5 s to 10 s: 1; 10 s to 20 s: 10; 20 s to 30 s: 10; "
        "30 s to 1 min: 30; 1 min to 2 min: 60; 2 min to 5 min: 139; 5 min to 10 min: 0; 10 min to 20 min: 0; "
        "20 min to 30 min: 0; 30 min to 1 h: 0; 1 h to 2 h: 1",
    )
    heights = [box["height"] for bar in chart.locator("rect").all() if (box := bar.bounding_box())]
    assert heights.index(max(heights)) == 5


def test_column_sorts_both_ways_and_empty_values_come_last(
    report: Path, open_page: Callable[[str], tuple[Page, Seen]]
) -> None:
    page, _ = open_page(report.as_uri())
    expect(sort_by(page, "Length")).to_have_attribute("aria-sort", "descending")
    expect(page.get_by_role("columnheader", name="Status")).not_to_have_attribute("aria-sort", "ascending")
    assert names(page, 3) == [IMAGE_KEY, "day/248.flac", "day/247.flac"]
    expect(page.locator("tbody tr").first).to_contain_text("1:06:40")
    expect(sort_by(page, "Length")).to_have_attribute("aria-sort", "ascending")
    assert names(page, 2) == ["talk.wav", "day/000.flac"]
    sort_by(page, "Words")
    assert names(page, 2) == ["talk.wav", "day/248.flac"]
    sort_by(page, "Recording")
    assert names(page, 3) == [SCRIPT_KEY, IMAGE_KEY, "c.pdf"]


def test_filter_state_and_reason_narrow_the_table(report: Path, open_page: Callable[[str], tuple[Page, Seen]]) -> None:
    page, _ = open_page(report.as_uri())
    page.keyboard.press("/")
    page.keyboard.type("DAY/01")
    expect(page.get_by_role("status")).to_have_text("10 of 255 recordings")
    expect(page.locator("tbody tr")).to_have_count(10)
    page.get_by_role("searchbox").fill("nothing like this")
    expect(page.get_by_text("No recording matches.")).to_be_visible()
    page.get_by_role("searchbox").fill("")
    page.get_by_text("Failed 3").click()
    expect(page.get_by_role("status")).to_have_text("3 of 255 recordings")
    page.get_by_text("All 255").click()
    page.locator("#reason-list button", has_text="Empty").click()
    assert names(page, 5) == ["z.mp3"]
    expect(page.get_by_role("searchbox")).to_have_value("Empty")


def test_long_table_comes_in_pages(report: Path, open_page: Callable[[str], tuple[Page, Seen]]) -> None:
    page, _ = open_page(report.as_uri())
    expect(page.locator("tbody tr")).to_have_count(200)
    page.get_by_role("button", name="Show 55 more").click()
    expect(page.locator("tbody tr")).to_have_count(255)
    expect(page.locator("#more")).to_be_hidden()


def test_row_opens_player_and_transcript_and_a_click_on_a_segment_seeks(
    report: Path, open_page: Callable[[str], tuple[Page, Seen]]
) -> None:
    page, seen = open_page(report.as_uri())
    page.get_by_role("searchbox").fill("talk")
    page.locator("tbody tr").click()
    panel = page.get_by_role("complementary")
    expect(panel.get_by_role("heading", level=3)).to_have_text("talk.wav")
    assert panel.get_by_role("heading", level=4).all_inner_texts() == ["Channel 0", "Channel 1"]
    assert [text.split("\n") for text in panel.locator(".segment").all_inner_texts()] == [
        ["0:00.5", f"good morning {HOSTILE_WORD}"],
        ["0:03.0", "how can I help you?"],
    ]
    expect(panel.locator(".unsure")).to_have_text("morning")
    wait_until(page, "document.querySelector('audio').duration === 6")
    panel.locator(".segment").nth(1).click()
    wait_until(page, "document.querySelector('audio').currentTime >= 3")
    expect(panel.locator(".segment").nth(1)).to_have_attribute("aria-current", "true")
    panel.get_by_text("morning", exact=True).click()
    wait_until(page, "(t => t >= 1 && t < 3)(document.querySelector('audio').currentTime)")
    assert seen.trouble == []
    assert all(url.startswith("file:") for url in seen.requests)


def test_link_leads_to_the_transcript(report: Path, open_page: Callable[[str], tuple[Page, Seen]]) -> None:
    page, _ = open_page(report.as_uri())
    page.get_by_role("searchbox").fill("talk")
    page.locator("tbody tr").click()
    page.get_by_role("link", name="talk.wav.json").click()
    expect(page.locator("body")).to_contain_text('{"the": "transcript"}')


def test_failed_recording_shows_why_and_its_text_stays_text(
    report: Path, open_page: Callable[[str], tuple[Page, Seen]]
) -> None:
    page, seen = open_page(report.as_uri())
    panel = page.get_by_role("complementary")
    page.locator("tbody tr").first.click()
    expect(panel.get_by_role("heading", level=3)).to_have_text(SCRIPT_KEY)
    expect(panel.locator(".message")).to_have_text(
        "Corrupt: the file is damaged after 3 s <script>alert('message')</script>"
    )
    expect(panel.locator("dl")).to_contain_text("Attempts")
    page.get_by_role("button", name=IMAGE_KEY).click()
    expect(panel.get_by_role("heading", level=3)).to_have_text(IMAGE_KEY)
    expect(panel).to_contain_text(HOSTILE_WORD)
    expect(panel.locator("audio")).to_have_count(0)
    expect(panel.get_by_role("button", name="good")).to_have_count(0)
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 2
    assert seen.trouble == []


def test_keyboard_alone_walks_opens_closes_and_seeks(
    report: Path, open_page: Callable[[str], tuple[Page, Seen]]
) -> None:
    page, seen = open_page(report.as_uri())
    first = page.locator("tbody button").first
    first.focus()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("button", name="c.pdf")).to_be_focused()
    page.keyboard.press("Enter")
    panel = page.get_by_role("complementary")
    expect(panel).to_be_focused()
    expect(panel).to_contain_text("this is no audio")
    expect(page.get_by_role("button", name="c.pdf")).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(page.get_by_role("button", name="c.pdf")).to_be_focused()
    page.get_by_role("searchbox").fill("talk")
    page.get_by_role("button", name="talk.wav").press("Enter")
    wait_until(page, "document.querySelector('audio').readyState > 0")
    page.locator(".segment").nth(1).press("Enter")
    wait_until(page, "document.querySelector('audio').currentTime >= 3")
    assert seen.trouble == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_both_schemes(
    report: Path, open_page: Callable[[str], tuple[Page, Seen]], scheme: str
) -> None:
    page, _ = open_page(report.as_uri())
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.locator("tbody tr").first.click()
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 20
    # WCAG 2.2, success criterion 1.4.3: 4.5 to 1.
    assert {text: ratio for text, ratio in contrasts if ratio < 4.5} == {}


def test_phone_needs_no_sideways_scrolling_of_the_page(
    report: Path, open_page: Callable[[str], tuple[Page, Seen]]
) -> None:
    page, _ = open_page(report.as_uri())
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("tbody tr").first.click()
    expect(page.get_by_role("button", name="Close")).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_static_web_server_shows_the_same_page_and_says_that_local_audio_is_out_of_reach(
    report: Path, open_page: Callable[[str], tuple[Page, Seen]]
) -> None:
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(report.parents[3]))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            base = f"http://127.0.0.1:{server.server_port}"
            page, seen = open_page(f"{base}/_transcription/calls-1a2b3c4d/report/index.html")
            assert names(page, 1) == [SCRIPT_KEY]
            assert len(seen.requests) == 1
            assert seen.trouble == []
            page.get_by_role("searchbox").fill("talk")
            page.locator("tbody tr").click()
            expect(page.get_by_text("The audio cannot be played from here")).to_be_visible()
            with page.expect_navigation():
                page.get_by_role("link", name="talk.wav.json").click()
            expect(page.locator("body")).to_contain_text("transcript")
        finally:
            server.shutdown()
            serving.join()


def test_large_job_says_what_the_table_leaves_out(
    tmp_path: Path, open_page: Callable[[str], tuple[Page, Seen]]
) -> None:
    write_report(
        header(planned=255),
        outcomes(),
        scratch_paths=lambda name: tmp_path / name,
        limits=PageLimits(failures=2, rows=12),
    )
    page, seen = open_page((tmp_path / PAGE).as_uri())
    expect(page.locator("#note")).to_have_text(
        "The table shows 2 of 3 failed recordings, chosen evenly. "
        "The table shows 10 of 252 other recordings, chosen evenly. All of them are in manifest.jsonl."
    )
    expect(page.locator("tbody tr")).to_have_count(12)
    expect(page.get_by_text("All 255")).to_be_visible()
    assert seen.trouble == []


def test_job_without_recordings_has_a_calm_page(tmp_path: Path, open_page: Callable[[str], tuple[Page, Seen]]) -> None:
    write_report(header(planned=0), [], scratch_paths=lambda name: tmp_path / name)
    page, seen = open_page((tmp_path / PAGE).as_uri())
    expect(page.locator("#lede")).to_have_text("0 of 0 recordings transcribed: 0.0 s of audio in 1 min 40 s.")
    expect(page.locator("#histogram")).to_be_hidden()
    expect(page.locator("#reasons")).to_be_hidden()
    expect(page.get_by_text("No recording matches.")).to_be_visible()
    assert seen.trouble == []


CONTRASTS = """() => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const [r, g, b, a] = numbers(getComputedStyle(at).backgroundColor);
      if (a === undefined || a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const shown = [...document.querySelectorAll("main *")].filter((node) =>
    !node.closest("svg") && node.checkVisibility() &&
    [...node.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.data.trim()));
  return shown.map((node) => {
    const [one, other] = [light(numbers(getComputedStyle(node).color)), light(behind(node))].sort((a, b) => b - a);
    return [`${node.tagName}.${node.className}: ${node.textContent.slice(0, 30)}`, (one + 0.05) / (other + 0.05)];
  });
}"""
