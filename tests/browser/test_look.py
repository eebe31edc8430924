"""Theme, passwords, times: what scripts add to the look, and that it can be trusted."""

from collections.abc import Callable

from playwright.sync_api import expect

from support.desk import PASSWORD, Desk

BACKGROUND = "getComputedStyle(document.body).backgroundColor"
LIGHT, DARK = "rgb(246, 248, 247)", "rgb(14, 21, 19)"


def choose(desk: Desk, theme: str) -> None:
    """Choose a theme in the account menu."""
    desk.page.click(".account")
    desk.page.get_by_role("button", name=theme).click()
    desk.page.keyboard.press("Escape")


def test_the_theme_follows_the_choice_and_outlives_the_session(desk: Desk) -> None:
    page = desk.page
    assert page.evaluate(BACKGROUND) == LIGHT
    choose(desk, "Dark")
    assert page.evaluate(BACKGROUND) == DARK
    page.reload()
    assert page.evaluate(BACKGROUND) == DARK
    page.click(".account")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to Holdfast")
    assert page.evaluate(BACKGROUND) == DARK
    desk.sign_in(desk.name)
    choose(desk, "System")
    assert page.evaluate(BACKGROUND) == LIGHT
    page.emulate_media(color_scheme="dark")
    expect(page.locator("body")).to_have_css("background-color", DARK)


def test_the_theme_needs_no_script(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk(register=False, java_script_enabled=False, color_scheme="dark")
    desk.go("/auth/login")
    body = desk.page.locator("body")
    expect(body).to_have_css("background-color", DARK)


def test_the_theme_is_set_before_anything_is_drawn(desk: Desk) -> None:
    choose(desk, "Dark")
    desk.page.add_init_script(
        """new MutationObserver((_, watch) => {
          if (!document.body) return;
          window.themeAtBody = document.documentElement.dataset.bsTheme;
          watch.disconnect();
        }).observe(document, { childList: true, subtree: true });"""
    )
    desk.page.reload()
    assert desk.page.evaluate("window.themeAtBody") == "dark"


def test_show_password_and_its_strength_in_words(
    open_desk: Callable[..., Desk],
) -> None:
    desk = open_desk(register=False)
    desk.go("/auth/register")
    page = desk.page
    strength = page.locator("[data-strength]")
    page.fill("#password", "short")
    expect(strength).to_have_text("Too short yet: 5 of 12 characters.")
    page.fill("#password", PASSWORD)
    expect(strength).to_contain_text("Good length")
    page.get_by_role("button", name="Show password", exact=True).click()
    assert page.get_attribute("#password", "type") == "text"
    hide = page.get_by_role("button", name="Hide password", exact=True)
    expect(hide).to_have_text("Hide")
    hide.click()
    assert page.get_attribute("#password", "type") == "password"
    shown = page.get_by_role("button", name="Show password", exact=True)
    expect(shown).to_have_text("Show")


def test_a_wrong_sign_in_keeps_the_name_and_says_why(
    open_desk: Callable[..., Desk],
) -> None:
    desk = open_desk(register=False)
    desk.go("/auth/login")
    desk.page.fill("#username", "nobody")
    desk.page.fill("#password", "not the password")
    desk.page.click("main button[type=submit]")
    expect(desk.page.get_by_role("alert")).to_be_visible()
    assert desk.page.input_value("#username") == "nobody"


def test_times_are_relative_with_the_exact_time_on_hover(
    open_desk: Callable[..., Desk],
) -> None:
    desk = open_desk(timezone_id="Asia/Tokyo", locale="en-GB")
    desk.put(("now.txt", b"now"))
    time = desk.row("now.txt").locator("td.changed time")
    expect(time).to_have_text("just now")
    exact = desk.page.evaluate(
        """(stamp) => new Intl.DateTimeFormat("en-GB",
          { dateStyle: "full", timeStyle: "medium" }).format(new Date(stamp))""",
        time.get_attribute("datetime"),
    )
    assert time.get_attribute("title") == exact


def test_an_error_page_helps(desk: Desk) -> None:
    desk.go("/files/folder/nothing-of-that-name")
    text = desk.page.inner_text("main")
    assert "give this number" in text
    assert "404" not in desk.page.inner_text("h1")
    desk.page.get_by_role("link", name="Go to your files").click()
    expect(desk.page.get_by_role("heading", level=1)).to_have_text("Files")
