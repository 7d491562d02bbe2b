"""Pictures and video in step with the cursor: what is shown says its own number."""

from __future__ import annotations

import base64

from playwright.sync_api import Browser, Locator, expect

from .harness import Screen, Site, screen_on
from .recorded import DRIVE, PICTURES, number_of, picture_of, picture_time_ns
from .sequence_view import Plots, address, parameters

FRONT, REAR, DEPTH = "camera/front", "camera/rear", "camera/depth"
SPEED = "car/speed:value"  # whose value is the number of the picture of that time


def camera(screen: Screen, topic: str) -> Locator:
    """Return what shows a topic of pictures."""
    return screen.page.locator(f'.camera[data-topic="{topic}"]')


def wait_for(screen: Screen, topic: str, number: int) -> None:
    """Return when a camera shows the picture of that number, and its pixels say so."""
    picture = camera(screen, topic).locator(".camera-picture")
    expect(picture).to_have_attribute("data-number", str(number))
    screen.wait_idle()
    assert number_of(picture_of(pixels(picture))) == number


def pixels(shown: Locator) -> bytes:
    """Return as a PNG what an element shows, an image or a video."""
    address = shown.evaluate(
        """(node) => {
          const canvas = document.createElement("canvas");
          canvas.width = node.naturalWidth || node.videoWidth;
          canvas.height = node.naturalHeight || node.videoHeight;
          canvas.getContext("2d").drawImage(node, 0, 0);
          return canvas.toDataURL("image/png");
        }"""
    )
    return base64.b64decode(str(address).partition(",")[2])


def test_the_slider_shows_each_picture_and_moves_the_cursor_and_the_other_cameras(screen: Screen) -> None:
    """What each camera shows says its own number; the cursor is at the time of that picture."""
    page = screen.open(address(DRIVE, tab="pictures"))
    wait_for(screen, FRONT, 0)
    slider = camera(screen, FRONT).get_by_role("slider")
    for number in (37, 11, PICTURES - 1):
        slider.fill(str(number))
        wait_for(screen, FRONT, number)
        wait_for(screen, REAR, number)
        screen.until(lambda n=number: parameters(page).get("cursor") == str(picture_time_ns(n)), "no cursor")  # type: ignore[misc]
    slider.press("ArrowLeft")
    wait_for(screen, FRONT, PICTURES - 2)
    expect(slider).to_have_attribute("aria-valuetext", "2023-11-14 22:13:25.800, picture 58")


def test_scrubbing_fast_ends_on_the_last_place(screen: Screen) -> None:
    """Pictures that were passed by do not come late."""
    screen.open(address(DRIVE, tab="pictures"))
    wait_for(screen, FRONT, 0)
    slider = camera(screen, FRONT).get_by_role("slider")
    for number in range(1, 44):
        slider.fill(str(number))
    wait_for(screen, FRONT, 43)
    wait_for(screen, REAR, 43)


def test_the_cursor_in_the_plots_moves_the_pictures_beside_them(screen: Screen) -> None:
    """The mouse over a curve shows the pictures of that time."""
    page = screen.open(address(DRIVE, tab="plots", fields=[SPEED]))
    plots = Plots(screen)
    plots.wait(1)
    page.get_by_role("checkbox", name="Pictures").check()
    wait_for(screen, FRONT, 0)
    plots.wait(1)
    plots.hover(picture_time_ns(23) + 4_000_000)
    wait_for(screen, FRONT, 23)
    wait_for(screen, REAR, 23)
    assert plots.exact() == "23"
    assert parameters(page)["pictures"] == "1"


def test_a_video_plays_and_every_picture_moves_the_cursor_to_its_own_time(screen: Screen) -> None:
    """Playing moves the cursor; where it pauses all cameras show the picture of the cursor."""
    page = screen.open(address(DRIVE, tab="pictures", cursor=picture_time_ns(5)))
    wait_for(screen, FRONT, 5)
    front = camera(screen, FRONT)
    front.get_by_role("button", name="Play").click()
    video = front.locator("video")
    screen.until(lambda: int(video.get_attribute("data-index") or 0) > 12, "the video does not play")
    front.get_by_role("button", name="Pause").click()
    screen.wait_idle()
    number = int(front.locator(".camera-picture").get_attribute("data-number") or -1)
    assert 12 < number < PICTURES
    wait_for(screen, FRONT, number)
    wait_for(screen, REAR, number)
    screen.until(lambda: parameters(page).get("cursor") == str(picture_time_ns(number)), "no cursor")


def test_the_video_shows_the_picture_that_its_slider_says(screen: Screen) -> None:
    """What the player presents at a second is the picture that the page maps that second to."""
    screen.open(address(DRIVE, tab="pictures", cursor=picture_time_ns(PICTURES - 2)))
    wait_for(screen, FRONT, PICTURES - 2)
    front = camera(screen, FRONT)
    front.get_by_role("button", name="Play").click()
    expect(front.get_by_role("button", name="Play")).to_be_visible()  # it ends by itself
    wait_for(screen, FRONT, PICTURES - 1)
    video = front.locator("video")
    assert video.get_attribute("data-index") == str(PICTURES - 1)
    assert number_of(picture_of(pixels(video))) == PICTURES - 1


def test_depth_is_shown_scaled_and_has_no_video(screen: Screen) -> None:
    """Sixteen-bit pictures are seen; what has no video has no button to play it."""
    screen.open(address(DRIVE, tab="pictures"))
    expect(camera(screen, DEPTH).locator(".camera-picture")).to_have_attribute("data-number", "0")
    expect(camera(screen, DEPTH).get_by_role("button", name="Play")).to_be_hidden()
    expect(camera(screen, DEPTH).get_by_role("slider")).to_have_attribute("max", str(PICTURES - 1))


def test_a_camera_may_be_put_away(screen: Screen) -> None:
    """The boxes above the cameras choose which are shown."""
    page = screen.open(address(DRIVE, tab="pictures"))
    page.get_by_label(REAR, exact=True).uncheck()
    expect(camera(screen, REAR)).to_have_count(0)
    page.get_by_label(REAR, exact=True).check()
    wait_for(screen, REAR, 0)


def test_a_picture_its_slider_and_its_words_are_seen_together(browser: Browser, site: Site) -> None:
    """On the screen of a laptop: moving the slider is of no use where one must scroll to see the picture."""
    with screen_on(browser, site, size=(1280, 800)) as screen:
        page = screen.open(address(DRIVE, tab="pictures"))
        for name in (REAR, DEPTH):
            page.get_by_label(name, exact=True).uncheck()
        wait_for(screen, FRONT, 0)
        front = camera(screen, FRONT)
        for part in (
            front.locator(".camera-picture"),
            front.get_by_role("slider"),
            front.locator(".camera-name"),
        ):
            expect(part).to_be_in_viewport(ratio=1)
