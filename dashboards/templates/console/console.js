// Keeps what a page shows up to date: every few seconds its own part is fetched, and what is live in it taken over.
"use strict";
(() => {
  const live = document.getElementById("live");
  if (!live) return;
  const seconds = Number(live.dataset.every);
  const address = new URL(location.href);
  address.searchParams.set("live", "part");
  address.searchParams.delete("said");
  let paused = false;
  let failures = 0;
  let shown = live.innerHTML;

  const state = document.createElement("p");
  state.className = "quiet";
  const pause = document.createElement("button");
  pause.type = "button";
  pause.className = "plain";
  pause.textContent = "Pause updates";
  pause.setAttribute("aria-pressed", "false");
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    say(paused ? "updates are paused" : `updated every ${seconds} s`);
  });
  const words = document.createElement("span");
  state.append(pause, " ", words);
  live.after(state);
  say(`updated every ${seconds} s`);

  function say(text) { words.textContent = text; }

  // Where somebody was: the focus, what was opened, and how far boxes were scrolled.
  function remember() {
    const focus = document.activeElement;
    const boxes = new Map();
    live.querySelectorAll("[data-follow]").forEach((box) => {
      const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 8;
      boxes.set(box.id, atEnd ? null : box.scrollTop);
    });
    const opened = new Set([...live.querySelectorAll("details[open]")].map((each) => each.id));
    const href = focus && focus.getAttribute("href");
    return { boxes, opened, inside: live.contains(focus), id: focus && focus.id, href };
  }

  function restore(before) {
    live.querySelectorAll("details").forEach((each) => {
      if (each.id && before.opened.has(each.id)) each.open = true;
    });
    live.querySelectorAll("[data-follow]").forEach((box) => {
      const top = before.boxes.get(box.id);
      box.scrollTop = top === null || top === undefined ? box.scrollHeight : top;
    });
    if (!before.inside) return;
    const same = before.id
      ? document.getElementById(before.id)
      : [...live.querySelectorAll("a[href]")].find((each) => each.getAttribute("href") === before.href);
    if (same) same.focus({ preventScroll: true });
  }

  function isBusy() {
    const selection = document.getSelection();
    const selects = selection && !selection.isCollapsed && live.contains(selection.anchorNode);
    const field = document.activeElement;
    return selects || (live.contains(field) && field.matches("input, select, textarea"));
  }

  async function look() {
    if (paused || document.hidden || isBusy()) return;
    const answer = await fetch(address, { credentials: "same-origin", cache: "no-store", redirect: "manual" });
    if (answer.type === "opaqueredirect" || answer.status === 401) {
      paused = true;
      say("the session is over; load the page again to log in");
      return;
    }
    if (!answer.ok) throw new Error(String(answer.status));
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
    if (!fresh) return;
    if (fresh.innerHTML !== shown && !isBusy()) {
      const before = remember();
      shown = fresh.innerHTML;
      live.replaceChildren(...fresh.childNodes);
      restore(before);
    }
    failures = 0;
    say(`updated at ${new Date().toLocaleTimeString()}`);
  }

  async function forever() {
    try {
      await look();
    } catch (error) {
      failures += 1;
      say(`no answer from the server (${error.message}); it is asked again`);
    }
    setTimeout(forever, seconds * 1000 * Math.min(2 ** failures, 32));
  }

  document.querySelectorAll("[data-follow]").forEach((box) => { box.scrollTop = box.scrollHeight; });
  setTimeout(forever, seconds * 1000);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look().catch(() => {}); });
})();
