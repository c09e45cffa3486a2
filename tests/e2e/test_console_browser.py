"""The web console in a real Chromium: with keyboard and mouse, with script and without, light, dark and narrow."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from runner.server.services.registry import Registry
from tests.support.chromium import DEADLINE_MS, chromium
from tests.support.components import require
from tests.support.wms import RunningWms, running_wms

PASSWORD = "correct horse battery"
HOSTILE = "</pre><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\x1b[31mred\u202e"
expect.set_options(timeout=DEADLINE_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for the module."""
    require("chromium")
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def wms(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWms]:
    """One WMS for the module, with users and some jobs."""
    with running_wms(tmp_path_factory.mktemp("wms")) as running:
        registry = Registry(running.context)
        registry.add("alice", ["local_user"], PASSWORD)
        registry.add("bob", ["local_user"], PASSWORD)
        for number in range(3):
            running.submit(f'Executable = "/bin/true"; JobName = "first {number}";')
        yield running


@pytest.fixture
def person(browser: Browser) -> Iterator[BrowserContext]:
    """Somebody with a browser of his own; whatever his pages complain of fails the test."""
    context = browser.new_context()
    context.set_default_timeout(DEADLINE_MS)
    complaints: list[str] = []
    context.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    yield context
    context.close()
    assert [each for each in complaints if "status of 4" not in each] == []


def logged_in(person: BrowserContext, wms: RunningWms, name: str = "alice") -> Page:
    page = person.new_page()
    page.goto(f"{wms.url}/console")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password, or one-time code").fill(PASSWORD)
    page.get_by_role("button", name="Log in", exact=True).click()
    expect(page).to_have_title("Jobs")
    return page


def running_job(wms: RunningWms) -> tuple[int, str]:
    job_id = wms.submit('Executable = "/bin/true"; JobName = "runs";')
    taken: Any = None
    while not taken or taken["JobID"] != job_id:  # those that were submitted before come first
        taken = wms.match()
    wms.report(job_id, {"Status": "Running", "MinorStatus": "Application"}, token=taken["JobToken"])
    return job_id, taken["JobToken"]


def beat(wms: RunningWms, job_id: int, token: str, output: str) -> None:
    body = {str(job_id): {"CPUConsumed": 1.0, "MemoryUsed": 10.0, "StandardOutput": output}}
    assert wms.call("PATCH", "/api/jobs/heartbeat", body, token=token).status_code == 200


def test_a_wrong_password_shows_why_and_a_right_one_the_jobs(wms: RunningWms, person: BrowserContext) -> None:
    """The form comes back with the reason; then the table; the cookie is out of reach of scripts and other sites."""
    page = person.new_page()
    page.goto(f"{wms.url}/console/jobs")
    page.get_by_label("Name").fill("alice")
    page.get_by_label("Password, or one-time code").fill("wrong horse battery")
    page.get_by_role("button", name="Log in", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("wrong name, password or code")
    page.get_by_label("Password, or one-time code").fill(PASSWORD)
    page.get_by_role("button", name="Log in", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
    cookie = next(each for each in person.cookies() if each["name"] == "jobspan_console")
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/console")
    assert "jobspan_console" not in page.evaluate("document.cookie")
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_title("Log in")
    page.goto(f"{wms.url}/console/jobs")
    expect(page).to_have_title("Log in")


def test_the_table_follows_what_jobs_do(wms: RunningWms, person: BrowserContext) -> None:
    """A job that is submitted while somebody looks appears, without the page being loaded again; the focus stays."""
    page = logged_in(person, wms)
    page.evaluate("window.isTheSame = true")
    link = page.get_by_role("link", name="Owner")
    link.focus()
    job_id = wms.submit('Executable = "/bin/true"; JobName = "came later";')
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name=str(job_id), exact=True))
    expect(row.get_by_role("cell").nth(1)).to_have_text("Waiting")
    assert row.get_by_role("cell").nth(3).inner_text() == "came later"
    assert page.evaluate("document.activeElement.textContent") == "Owner"
    assert page.evaluate("window.isTheSame")


def test_a_first_visit_is_one_request_and_each_renewal_one_of_a_part(wms: RunningWms, person: BrowserContext) -> None:
    """A browser that has kept nothing fetches the page and nothing else; later less than half of it."""
    page = logged_in(person, wms)
    page.goto("about:blank")  # or the renewal that is heard could be the last one of the page before
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    with page.expect_response(lambda answer: "live=part" in answer.url) as renewal:
        answer = page.goto(f"{wms.url}/console/jobs")
    assert [each for each in asked if "live=part" not in each] == [f"{wms.url}/console/jobs"]
    assert answer is not None
    assert answer.ok
    assert renewal.value.ok
    assert len(renewal.value.body()) < len(answer.body()) / 2


def test_output_is_followed_and_harmless(wms: RunningWms, person: BrowserContext) -> None:
    """What a hostile payload prints is text; the page shows what comes later without being loaded again."""
    job_id, token = running_job(wms)
    beat(wms, job_id, token, f"line 1\n{HOSTILE}\n")
    page = logged_in(person, wms)
    page.goto(f"{wms.url}/console/jobs/{job_id}")
    output = page.locator("#peek")
    expect(output).to_contain_text("<script>document.title='owned'</script>")
    expect(output).to_contain_text("red")
    assert "\x1b" not in output.inner_text()
    assert "\u202e" not in output.inner_text()
    beat(wms, job_id, token, f"{HOSTILE}\nline 2 came later\n")
    expect(output).to_contain_text("line 2 came later")
    expect(page).to_have_title(f"Job {job_id}")
    assert page.locator("#peek img, #peek script").count() == 0


def test_a_job_is_killed_by_whom_the_policy_allows(wms: RunningWms, person: BrowserContext, browser: Browser) -> None:
    """The owner's button ends it; somebody else is shown no page, and no button."""
    job_id, _ = running_job(wms)
    with browser.new_context() as other:
        page = logged_in(other, wms, "bob")
        answer = page.goto(f"{wms.url}/console/jobs/{job_id}")
        assert answer is not None
        assert answer.status == 403
        assert page.get_by_role("button", name="Kill").count() == 0
    page = logged_in(person, wms)
    page.goto(f"{wms.url}/console/jobs/{job_id}")
    page.get_by_text("Kill or reschedule").click()
    page.get_by_role("button", name=f"Kill job {job_id}").click()
    expect(page.get_by_role("status")).to_have_text("The order to kill the job was given.")
    expect(page.locator("#status")).to_have_text("Killed")
    assert wms.status(job_id)[0] == "Killed"


def test_a_form_on_another_site_reaches_nothing(wms: RunningWms, person: BrowserContext) -> None:
    """Sent by a page of another origin, the order comes without the cookie, and is refused."""
    job_id, _ = running_job(wms)
    page = logged_in(person, wms)
    address = f"{wms.url}/console/jobs/{job_id}/kill"
    page.goto("about:blank")
    page.set_content(f'<form method="post" action="{address}"><input name="form_token" value="x"></form>')
    with page.expect_response(address) as answer:
        page.evaluate("document.forms[0].submit()")
    assert answer.value.status in (401, 403)
    assert wms.status(job_id)[0] == "Running"


def skip_to_content(page: Page) -> None:
    page.wait_for_load_state()  # a page has its title before there is anything in it that Tab could reach
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()


def test_everything_is_reached_by_keyboard(wms: RunningWms, person: BrowserContext) -> None:
    """Login, skip link, filter, a job and its order: with Tab, Enter and Space alone."""
    job_id, _ = running_job(wms)
    page = person.new_page()
    page.goto(f"{wms.url}/console")
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type("alice")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Password, or one-time code")).to_be_focused()
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page).to_have_title("Jobs")
    skip_to_content(page)
    page.keyboard.press("Tab")
    expect(page.get_by_label("Number")).to_be_focused()
    page.keyboard.type(str(job_id))
    page.keyboard.press("Enter")
    expect(page).to_have_title(f"Job {job_id}")
    skip_to_content(page)
    page.keyboard.press("Tab")
    expect(page.locator("summary").first).to_be_focused()
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name=f"Kill job {job_id}")).to_be_focused()
    page.keyboard.press("Space")
    expect(page.locator("#status")).to_have_text("Killed")
    assert wms.status(job_id)[0] == "Killed"


def test_it_works_without_script(wms: RunningWms, browser: Browser) -> None:
    """Login, tables, pages of jobs and orders; the page renews itself by its own head."""
    context = browser.new_context(java_script_enabled=False)
    job_id, token = running_job(wms)
    beat(wms, job_id, token, "said without script\n")
    page = logged_in(context, wms)
    page.get_by_role("link", name=str(job_id), exact=True).click()
    expect(page.locator("#peek")).to_contain_text("said without script")
    assert page.locator("meta[http-equiv=refresh]").get_attribute("content") == f"30;url=/console/jobs/{job_id}?live=1"
    page.get_by_text("Kill or reschedule").click()
    page.get_by_role("button", name=f"Kill job {job_id}").click()
    expect(page.locator("#status")).to_have_text("Killed")
    assert wms.status(job_id)[0] == "Killed"
    context.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 360)])
def test_it_fits_and_can_be_read(wms: RunningWms, browser: Browser, scheme: Any, width: int) -> None:
    """No page is wider than the window, light or dark as the reader wants, and text stands out from its ground."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
    page = logged_in(context, wms)
    for path in ("jobs", "jobs/1", "pilots", "accounting"):
        page.goto(f"{wms.url}/console/{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert 4.5 <= page.evaluate(CONTRAST) <= 21, path  # without any text it would be infinite
        fields = page.locator("input:not([type=hidden]), select")
        assert fields.count() or path not in ("jobs", "accounting")
        assert fields.evaluate_all("all => all.every(e => e.labels.length)"), path
    context.close()


#: The least contrast (WCAG 2) of any text with the ground that it stands on.
CONTRAST = """() => {
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = numbers(getComputedStyle(at).backgroundColor);
      if (found.length < 4 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const texts = [...document.querySelectorAll('body *')].filter((e) => !e.closest('svg')
    && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()));
  return Math.min(...texts.map((e) => {
    const [high, low] = [light(numbers(getComputedStyle(e).color)), light(ground(e))].sort((a, b) => b - a);
    return (high + .05) / (low + .05);
  }));
}"""
