// The server's page. It asks the server's own API, as any client does.

const GAP = "[...]";
const by = (id) => document.getElementById(id);
const chosen = () => models.find((model) => model.id === by("model").value);
let models = [];
let running = null; // what stops the requests that are on their way
let dropped = null; // the picture that others are made of

function show(id, visible) {
  by(id).hidden = !visible;
}

function say(problem) {
  by("problem").textContent = problem;
  show("problem", problem !== "");
}

// A body is JSON, or a form if it has a file.
function encoded(body) {
  if (!Object.values(body).some((value) => value instanceof File)) return JSON.stringify(body);
  const form = new FormData();
  for (const [name, value] of Object.entries(body)) if (value !== null && value !== undefined) form.append(name, value);
  return form;
}

async function ask(path, body, signal) {
  const headers = {}, content = body && encoded(body);
  if (typeof content === "string") headers["Content-Type"] = "application/json";
  if (by("key").value) headers.Authorization = `Bearer ${by("key").value}`;
  const answer = await fetch(path, body ? { method: "POST", headers, body: content, signal } : { headers });
  if (answer.ok) return answer;
  if (answer.status === 401) show("key-line", true);
  const said = await answer.json().catch(() => null);
  throw new Error(said?.error?.message ?? `the server answered ${answer.status}`);
}

// The events of a stream as objects, until its end.
async function* events(path, body, signal) {
  const reader = (await ask(path, { ...body, stream: true }, signal)).body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").find((line) => line.startsWith("data: "))?.slice(6);
      if (!data || data === "[DONE]") continue;
      const event = JSON.parse(data);
      if (event.error) throw new Error(event.error.message);
      yield event;
    }
  }
}

async function load() {
  try {
    models = (await (await ask("v1/models")).json()).data.filter((model) => ["images", "text"].includes(model.modality));
  } catch (error) {
    return say(error.message);
  }
  say(models.length ? "" : "no model here makes pictures or text");
  by("model").replaceChildren(...models.map((model) => new Option(model.id)));
  choose();
}

function choose() {
  const model = chosen();
  show("picture", model?.modality === "images");
  show("text", model?.modality === "text");
  show("prompt-line", Boolean(model?.takes_prompts));
  show("plan-line", Boolean(model?.takes_prompts && model.plans));
  show("class-line", Boolean(model?.classes.length) && !model.takes_prompts);
  show("guidance-line", Boolean(model?.classes.length || model?.takes_prompts));
  by("class").replaceChildren(...(model?.classes ?? []).map((name) => new Option(name)));
}

function number(id) {
  return by(id).value === "" ? null : Number(by(id).value);
}

// Run some work that can be stopped; one at a time.
async function run(work) {
  running?.abort();
  const mine = (running = new AbortController());
  say("");
  show("stop", true);
  try {
    await work(mine.signal);
  } catch (error) {
    mine.abort(); // the others of its kind
    if (error.name !== "AbortError") say(error.message);
  } finally {
    if (running === mine) {
      running = null;
      show("stop", false);
    }
  }
}

async function draw(signal) {
  const model = chosen(), steps = number("steps"), seed = number("seed") ?? Math.floor(Math.random() * 1e6);
  const words = model.takes_prompts ? by("prompt").value : model.classes.length ? by("class").value : "";
  const asked = { model: model.id, prompt: words, steps, partial: "noisy", partial_images: Math.min(steps ?? 30, 40) };
  if (!by("guidance-line").hidden && words) asked.guidance = number("guidance");
  if (!by("plan-line").hidden && words) asked.plan = by("plan").checked;
  if (dropped) Object.assign(asked, { image: dropped, strength: number("strength") });
  const path = dropped ? "v1/images/edits" : "v1/images/generations";
  const pictures = Array.from({ length: number("number") ?? 1 }, () => new Image());
  pictures.forEach((picture, k) => (picture.alt = `${words || "a picture"}, seed ${seed + k}`));
  by("pictures").replaceChildren(...pictures);
  await Promise.all(pictures.map(async (picture, k) => {
    for await (const event of events(path, { ...asked, seed: seed + k }, signal)) {
      picture.src = `data:image/png;base64,${event.b64_json}`;
      picture.dataset.state = event.type.split(".").pop();
    }
  }));
}

// Make pictures of this one from now on; of none if it is null.
function take(file) {
  dropped = file;
  if (by("dropped").src) URL.revokeObjectURL(by("dropped").src);
  by("dropped").src = file ? URL.createObjectURL(file) : "";
  for (const id of ["dropped", "forget", "strength-line"]) show(id, file !== null);
  if (!file) by("file").value = "";
}

// Fill the gaps from the first to the last; a text without any is continued.
async function write(signal) {
  const seed = number("text-seed") ?? Math.floor(Math.random() * 1e6);
  const pieces = by("draft").value.split(GAP);
  if (pieces.length === 1) pieces.push("");
  const written = by("written");
  written.replaceChildren(pieces[0]);
  for (let k = 1; k < pieces.length; k++) {
    const fill = document.createElement("mark");
    const prompt = written.textContent;
    written.append(fill);
    const asked = { model: chosen().id, prompt, suffix: pieces[k] || null, max_tokens: number("tokens") ?? 12, seed };
    for await (const event of events("v1/completions", asked, signal)) fill.append(event.choices[0].text);
    written.append(pieces[k]);
  }
}

function insertGap() {
  const draft = by("draft");
  draft.setRangeText(GAP, draft.selectionStart, draft.selectionEnd, "end");
  draft.focus();
}

function onSubmit(form, work) {
  by(form).addEventListener("submit", (event) => {
    event.preventDefault();
    by("pictures").replaceChildren();
    by("written").replaceChildren();
    run(work);
  });
}

for (const kind of ["dragover", "dragleave", "drop"]) {
  by("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    by("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
}
by("file").addEventListener("change", () => take(by("file").files[0] ?? null));
by("forget").addEventListener("click", () => take(null));
onSubmit("picture", draw);
onSubmit("text", write);
by("gap").addEventListener("click", insertGap);
by("stop").addEventListener("click", () => running?.abort());
by("model").addEventListener("change", choose);
by("key").addEventListener("change", load);
load();
