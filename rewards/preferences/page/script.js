"use strict";
// Shows pair after pair. Nothing is kept here: the server says what comes next, and it says so only
// when the answer before is on the disk.

const element = (id) => document.getElementById(id);
const sides = ["left", "right"].map(element);
const videos = sides.map((side) => side.querySelector("video"));
const keys = { 1: "left", 2: "right", 0: "tie", s: "skip" };
const PAUSE_MS = 400; // on the last frames, before both clips begin again

let now = null; // what the server said last
let since = 0; // when the clips were first seen together

function enter(state, message = "") {
  document.body.dataset.state = state;
  element("message").textContent = message;
  for (const button of document.querySelectorAll("[data-press]")) {
    button.disabled = state !== "ask";
  }
  element("undo").disabled = !(now?.position > 0 && ["ask", "done"].includes(state));
  element("finish").disabled = state !== "done";
}

async function request(path, body) {
  const options = { method: "POST", headers: { "Content-Type": "application/json" } };
  let reply;
  try {
    reply = await fetch(path, body && { ...options, body: JSON.stringify(body) });
  } catch {
    throw new Error(
      "The command has ended. Every answer is kept: run it again and open the address it prints.",
    );
  }
  const value = await reply.json();
  if (!reply.ok && reply.status !== 409) throw new Error(value.error); // 409: another page was faster
  return value;
}

function seen(video) {
  return new Promise((resolve, reject) => {
    video.oncanplaythrough = resolve;
    video.onerror = () =>
      reject(new Error("A clip cannot be shown: use a browser that plays H.264, or reload."));
    video.load();
  });
}

function play() {
  for (const video of videos) video.currentTime = 0;
  // Refused where the page is hidden or the next pair is being loaded; both begin again later.
  return Promise.allSettled(videos.map((video) => video.play()));
}

for (const video of videos) {
  video.addEventListener("ended", () => {
    const { position } = now;
    if (!videos.every((item) => item.ended)) return;
    setTimeout(() => now.position === position && now.state === "ask" && play(), PAUSE_MS);
  });
}

async function show(state) {
  now = state;
  element("instruction").textContent = state.instruction;
  element("progress").max = state.total;
  element("progress").value = state.position;
  const number = Math.min(state.position + 1, state.total);
  element("count").textContent = `${number} of ${state.total}`;
  const slow = state.speed < 0.99 || state.speed > 1.01;
  element("speed").textContent = slow ? `${Number(state.speed.toPrecision(2))} × real speed` : "";
  const done = state.state === "done";
  element("end").hidden = !done;
  for (const id of ["clips", "choices"]) element(id).hidden = done;
  document.querySelector("footer [data-press]").hidden = done;
  if (done) return end(state);
  if (state.state === "wait") {
    enter("wait", `Getting the clips ready: ${state.ready} of ${state.total}`);
    return show(await request("state"));
  }
  enter("loading");
  sides.forEach((side, at) => {
    videos[at].src = `clip/${state.position}/${side.id}.mp4`;
  });
  await Promise.all(videos.map(seen));
  for (const side of sides) side.classList.remove("chosen");
  enter("ask");
  since = performance.now();
  await play();
}

function end({ summary, total }) {
  element("count").textContent = "";
  element("thanks").textContent = `All ${total} pairs are answered. Thank you.`;
  element("decided").textContent = summary.first + summary.second;
  element("ties").textContent = summary.tie;
  element("skipped").textContent = summary.skip;
  element("agree").parentElement.hidden = summary.checks === 0;
  element("agree").textContent = `${summary.agree} of ${summary.checks}`;
  enter("done");
}

async function send(path, body) {
  const before = document.body.dataset.state;
  enter("saving");
  try {
    return await request(path, body);
  } catch (error) {
    for (const side of sides) side.classList.remove("chosen");
    enter(before, error.message); // to be pressed again
    return null;
  }
}

async function answer(pressed) {
  if (document.body.dataset.state !== "ask") return;
  if (sides.some((side) => side.id === pressed)) element(pressed).classList.add("chosen");
  const seconds = (performance.now() - since) / 1000;
  await proceed(await send("answer", { position: now.position, pressed, seconds }));
}

async function undo() {
  if (element("undo").disabled) return;
  await proceed(await send("undo", { position: now.position }));
}

async function finish() {
  if (element("finish").disabled) return;
  if ((await send("finish", {})) === null) return;
  enter("finished", "");
  element("finish").hidden = true;
  element("thanks").textContent = "Everything is kept. You can close this page.";
}

async function proceed(state) {
  if (state === null) return;
  try {
    await show(state);
  } catch (error) {
    enter("error", error.message);
  }
}

for (const button of document.querySelectorAll("[data-press]")) {
  button.addEventListener("click", () => answer(button.dataset.press));
}
element("undo").addEventListener("click", undo);
element("finish").addEventListener("click", finish);
document.addEventListener("keydown", (event) => {
  // A key that is held answers once.
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  if (key in keys) answer(keys[key]);
  else if (key === "u") undo();
  else if (key === "enter" && document.activeElement.tagName !== "BUTTON") finish();
});

request("state").then(proceed, (error) => enter("error", error.message));
