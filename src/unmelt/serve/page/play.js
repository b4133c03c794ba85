// Keys move the dream: what is pressed is sent, frames are drawn as they come.
"use strict";

const canvas = document.getElementById("dream");
const pen = canvas.getContext("2d");
const problem = document.getElementById("problem");
const rate = document.getElementById("rate");
const arrived = [];
let socket;
let keys = [];
let rest = 0;
let sent = -1;

function send(action) {
  if (action === sent || socket?.readyState !== WebSocket.OPEN) return;
  sent = action;
  socket.send(JSON.stringify({ action }));
  document.querySelectorAll("#keys button").forEach((b) => b.classList.toggle("held", +b.value === action));
}

function listen() {
  const down = [];
  const latest = () => (down.length ? keys.indexOf(down[down.length - 1]) : rest);
  addEventListener("keydown", (event) => {
    if (!keys.includes(event.key) || event.key === "") return;
    event.preventDefault();
    if (!down.includes(event.key)) down.push(event.key);
    send(latest());
  });
  addEventListener("keyup", (event) => {
    if (down.includes(event.key)) down.splice(down.indexOf(event.key), 1);
    send(latest());
  });
  addEventListener("blur", () => { down.length = 0; send(rest); });
  keys.forEach((key, action) => {
    if (key === "") return;
    const button = document.createElement("button");
    button.textContent = key.replace("Arrow", "");
    button.value = action;
    button.addEventListener("pointerdown", () => send(action));
    for (const end of ["pointerup", "pointerleave"]) button.addEventListener(end, () => send(latest()));
    document.getElementById("keys").append(button);
  });
}

async function show(message) {
  const frame = await createImageBitmap(new Blob([message.data], { type: "image/png" }));
  if (canvas.width !== frame.width || canvas.height !== frame.height) {
    canvas.width = frame.width;
    canvas.height = frame.height;
  }
  pen.drawImage(frame, 0, 0);
  const now = performance.now();
  arrived.push(now);
  while (arrived[0] < now - 2000) arrived.shift();
  const span = now - arrived[0];
  rate.textContent = span > 0 ? Math.round((1000 * (arrived.length - 1)) / span) : 0;
  canvas.dataset.frames = +(canvas.dataset.frames ?? 0) + 1;
}

async function begin() {
  const about = await (await fetch("/about")).json();
  keys = about.keys;
  rest = Math.max(0, keys.indexOf(""));
  listen();
  socket = new WebSocket(`ws://${location.host}/dream`);
  socket.binaryType = "arraybuffer";
  socket.addEventListener("message", show);
  socket.addEventListener("close", (event) => { problem.textContent = `The dream has ended. ${event.reason}`; });
}

begin();
