// What the pages do beyond plain HTML: stay current, and copy. Without this file a reload does the same.
// Every word comes from the server: on each event the page asks for itself and takes over what changed.
"use strict";

const QUIET_MS = 4000; // no event for so long: the numbers are old

// take makes the old element's content that of the new one, touching only what differs, so that focus, selection and opened
// details stay. Children with an id are found again wherever they moved.
function take(before, after) {
  const fresh = [...after.childNodes];
  const staying = new Set([...after.children].map(child => child.id).filter(Boolean));
  fresh.forEach((node, i) => {
    let here = before.childNodes[i];
    const kept = node.id && [...before.children].find(child => child.id === node.id);
    if (kept) {
      // What stands before it and goes, goes first: an element that is moved loses its focus.
      while (here !== kept && !staying.has(here.id)) {
        const gone = here;
        here = here.nextSibling;
        gone.remove();
      }
      if (here !== kept) before.insertBefore(kept, here);
      here = kept;
    }
    if (!here) {
      before.append(node);
    } else if (here.nodeName !== node.nodeName || (here.id || "") !== (node.id || "")) {
      if (staying.has(here.id)) before.insertBefore(node, here);
      else here.replaceWith(node);
    } else if (here.nodeType !== Node.ELEMENT_NODE) {
      if (here.data !== node.data) here.data = node.data;
    } else if (!here.isEqualNode(node) && !here.matches("[data-copy]")) {
      for (const a of [...here.attributes]) {
        if (!node.hasAttribute(a.name) && !(here.nodeName === "DETAILS" && a.name === "open")) here.removeAttribute(a.name);
      }
      for (const a of node.attributes) {
        if (here.getAttribute(a.name) !== a.value) here.setAttribute(a.name, a.value);
      }
      take(here, node);
    }
  });
  while (before.childNodes.length > fresh.length) before.lastChild.remove();
}

// What a page asks for by itself keeps no login from ending.
const BY_ITSELF = { Accept: "text/html", "Mailweir-By-Itself": "1" };

let running = false;

// refresh asks for this page again and takes over what is live in it.
async function refresh() {
  if (running || document.hidden) return;
  running = true;
  try {
    const answer = await fetch(location.href, { headers: BY_ITSELF, signal: AbortSignal.timeout(QUIET_MS) });
    if (answer.redirected && new URL(answer.url).pathname === "/login") {
      location.replace(answer.url + (answer.url.includes("?") ? "&" : "?") + "ended=1"); // says so, in place of old figures
      return;
    }
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of ["main", "mode", "health"]) {
      const here = document.getElementById(part), there = page.getElementById(part);
      if (!here || !there) continue;
      here.className = there.className;
      take(here, there);
    }
    const asOf = document.querySelector("footer"), fresh = page.querySelector("footer");
    if (asOf && fresh) take(asOf, fresh);
    current();
  } catch {
    // The box cannot be reached; the stale line says so when it has lasted.
  } finally {
    running = false;
  }
}

let last = Date.now();

function current() {
  last = Date.now();
  document.body.classList.remove("old");
  document.getElementById("stale").hidden = true;
}

function watchAge() {
  if (document.hidden || Date.now() - last < QUIET_MS) return;
  const line = document.getElementById("stale");
  if (!line.hidden) return;
  document.body.classList.add("old");
  line.textContent = "The web admin has not answered since " + new Date(last).toLocaleTimeString() +
    "; the numbers below are from then. Mail does not depend on it. This page keeps trying.";
  line.hidden = false;
}

// live listens for the box's events. The browser reconnects by itself, except after an error answer.
function live() {
  const events = new EventSource("/api/v1/events");
  for (const kind of ["counters", "stage", "health"]) events.addEventListener(kind, refresh);
  events.addEventListener("error", () => {
    if (events.readyState !== EventSource.CLOSED) return;
    setTimeout(() => { refresh(); live(); }, 5000);
  });
  addEventListener("pagehide", () => events.close(), { once: true });
}

if (document.body.hasAttribute("data-live")) {
  live();
  setInterval(watchAge, 1000);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) refresh();
  });
}
// Back from the browser's page cache, the numbers would be those of then, with nobody listening.
addEventListener("pageshow", event => { if (event.persisted) location.reload(); });

for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select the text to copy it";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}

// linesOf gives the objects of an answer that has one a line, as they come.
async function* linesOf(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const line of parts) yield JSON.parse(line);
  }
}

const CHECK_MS = 400; // of a pause in typing: the box looks at what is wrong, and what it would change,
const TRY_MS = 800;   // and after so long again it tries that on the last days

// A form with data-check is looked at by the box as one types, and tried. What is tried is outdated by the next thing typed, and then the box ends it at once.
for (const form of document.querySelectorAll("form[data-check]")) {
  const part = id => document.getElementById(id);
  let timer, asked = null;

  // ask sends what is typed, and gives the page that the box makes of it; nothing when somebody typed on meanwhile.
  async function ask(what, told) {
    const mine = asked = new AbortController();
    const typed = new FormData(form);
    typed.delete("seen");
    typed.set("do", what);
    const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(typed), headers: { Accept: "text/html" }, signal: mine.signal });
    if (answer.redirected) throw new Error("logged out");
    let text = "";
    if (answer.headers.get("Content-Type").startsWith("text/html")) {
      text = await answer.text();
    } else {
      for await (const line of linesOf(answer)) {
        if (mine !== asked) return null;
        if (line.page) text = line.page;
        else told(line);
      }
    }
    if (mine !== asked) return null;
    if (!text) throw new Error("broken off");
    return new DOMParser().parseFromString(text, "text/html");
  }

  function show(page, ...ids) {
    for (const id of ids) {
      const here = part(id), there = page?.getElementById(id);
      if (!here || !there) continue;
      here.toggleAttribute("data-try", there.hasAttribute("data-try"));
      take(here, there);
    }
  }

  function waits(on, text) {
    part("far").hidden = !on;
    if (text) part("far-text").textContent = text;
  }

  // before says that what is shown is of what was typed before.
  function before() {
    const shown = part("what-if") || part("no-trial");
    if (!shown) return;
    part("tried").classList.add("before");
    part("far-before").hidden = false;
  }

  function outdated() {
    clearTimeout(timer);
    asked?.abort();
    asked = null;
    waits(false);
    before();
    for (const button of form.querySelectorAll('button[value="save"]')) button.disabled = true;
  }

  async function check() {
    try {
      const page = await ask("check");
      if (!page) return;
      const wrong = page.getElementById("errors"); // what is shown is taken out of the page
      show(page, "verdict", "go");
      if (part("go").hasAttribute("data-try")) {
        timer = setTimeout(attempt, TRY_MS, "type");
      } else if (page.getElementById("tried") && !wrong) { // it is what is in force
        show(page, "tried");
        part("tried").classList.remove("before");
      }
    } catch {
      // The buttons still work, or say that the box cannot be reached.
    }
  }

  // attempt has what is typed tried, and tells how far that is; aloud only what is worth it.
  async function attempt(how) {
    let said = 0;
    const bar = part("far-bar");
    bar.removeAttribute("value");
    before();
    waits(true);
    try {
      const page = await ask(how, line => {
        if (line.percent === undefined) bar.removeAttribute("value");
        else bar.value = line.percent;
        waits(true, line.says);
        if (line.part !== said) part("far-said").textContent = line.says;
        said = line.part;
      });
      if (!page) return;
      waits(false);
      if (!page.getElementById("tried")) throw new Error("another page");
      show(page, "verdict", "tried", "go");
      part("tried").classList.remove("before");
      part("far-said").textContent = part("far-said").dataset.done;
    } catch (e) {
      if (e.name === "AbortError") return;
      waits(false);
      part("far-said").textContent = form.dataset.failed;
      part("far-before").hidden = false;
      part("far-before").textContent = form.dataset.failed;
    }
  }

  form.addEventListener("input", () => {
    outdated();
    timer = setTimeout(check, CHECK_MS);
  });
  form.addEventListener("submit", event => {
    if (event.submitter?.value !== "try") return;
    event.preventDefault();
    outdated();
    attempt("watch");
  });
}

const LOOK_MS = 3000;

// A page with data-back waits for the box: until it has begun anew, which logs everybody out, or until it is in another state than was shown.
const waiting = document.querySelector("[data-back]");
if (waiting) {
  const to = waiting.dataset.back, shown = waiting.dataset.state;
  const look = setInterval(async () => {
    try {
      const answer = await fetch(to, { headers: BY_ITSELF, signal: AbortSignal.timeout(LOOK_MS) });
      if (!answer.ok) return;
      if (!answer.redirected) {
        if (shown === undefined) return; // it has not gone down yet
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        if (page.querySelector("[data-back]")?.dataset.state === shown) return;
      }
      clearInterval(look);
      location.href = to;
    } catch {
      // It is down, or on its way.
    }
  }, LOOK_MS);
}

// upload sends a form with a file and tells how far it is. What the box answers takes the place of the page.
function upload(form) {
  const line = form.querySelector("[data-progress]"), button = form.querySelector("button"), file = new FormData(form);
  const send = new XMLHttpRequest();
  const say = text => { line.hidden = false; line.textContent = text; };
  const fail = () => { button.disabled = false; say("The upload broke off. Reload this page to see what the slots hold, and try again."); };
  const mega = bytes => (bytes / 1e6).toFixed(1);
  send.upload.addEventListener("progress", e => say(mega(e.loaded) + " of " + mega(e.total) + " MB have been sent."));
  send.upload.addEventListener("load", () => say("All of it has been sent. The box reads back what it wrote; that can take a minute."));
  send.addEventListener("error", fail);
  send.addEventListener("load", () => {
    if (send.status < 400) { location.href = send.responseURL; return; }
    const page = new DOMParser().parseFromString(send.responseText, "text/html");
    const here = document.getElementById("main"), there = page.getElementById("main");
    if (!there) { fail(); return; }
    here.replaceChildren(...there.childNodes);
    here.focus();
    scrollTo(0, 0);
  });
  button.disabled = true;
  say("The file is being sent.");
  send.open("POST", form.action);
  send.send(file);
}

document.addEventListener("submit", event => {
  // What asks for a page that asks for itself: who has scripts needs none.
  for (const field of event.target.querySelectorAll("[data-plain]")) field.disabled = true;
  if (!event.target.matches("[data-upload]")) return;
  event.preventDefault();
  upload(event.target);
});
