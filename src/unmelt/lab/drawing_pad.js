// A picture that can be touched: drop a point on it, or draw. Everything is said in the data's own units.
// By keyboard: arrows move the point (with shift, further); in a drawing, space leaves ink where the point is.

const SVG = "http://www.w3.org/2000/svg";

function render({ model, el }) {
  const root = document.createElement("div");
  root.tabIndex = 0;
  root.setAttribute("role", "application");
  root.setAttribute("aria-label", model.get("label"));
  root.style.cssText = "position:relative;touch-action:none;cursor:crosshair;border-radius:6px";
  root.style.maxWidth = model.get("size")[0] + "px";
  const page = document.createElement("div");
  root.append(page);
  el.append(root);
  const draws = model.get("mode") === "draw";
  if (draws) {
    const clear = document.createElement("button");
    clear.textContent = "Clear the drawing";
    clear.style.cssText = "font:inherit;font-size:.85rem;padding:.2rem .7rem;border:1px solid;border-radius:6px;margin-top:.4rem";
    clear.addEventListener("click", () => { trace = []; show(); send(); });
    el.append(clear);
  }

  let trace = model.get("trace"), point = model.get("point"), down = false, sent = 0;

  const place = () => {
    const [left, top, width, height] = model.get("area"), [whole, tall] = model.get("size");
    const [x0, x1, y0, y1] = model.get("limits");
    const inUnits = ([x, y]) => [(x - x0) / (x1 - x0) * width, (y1 - y) / (y1 - y0) * height];
    const inData = (event) => {
      const box = page.querySelector("svg").getBoundingClientRect();
      const u = (event.clientX - box.left) * whole / box.width - left;
      const v = (event.clientY - box.top) * tall / box.height - top;
      const within = (value, low, high) => Math.min(high, Math.max(low, value));
      return [within(x0 + u / width * (x1 - x0), x0, x1), within(y1 - v / height * (y1 - y0), y0, y1)];
    };
    return { inUnits, inData, step: (x1 - x0) / 80, low: [x0, y0], high: [x1, y1] };
  };

  const show = () => {
    const area = page.querySelector("svg svg");
    if (!area) return;
    area.querySelectorAll("[data-pad]").forEach((each) => each.remove());
    const { inUnits } = place();
    const add = (name, attributes) => {
      const made = document.createElementNS(SVG, name);
      made.dataset.pad = name;
      Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
      area.append(made);
    };
    if (trace.length) {
      const d = trace.map((each) => "M" + inUnits(each).map((u) => u.toFixed(1)).join(" ") + "h0").join("");
      add("path", { d, fill: "none", stroke: "#e69f00", "stroke-width": 7, "stroke-linecap": "round", opacity: 0.55 });
    }
    if (point.length) {
      const [cx, cy] = inUnits(point);
      add("circle", { cx, cy, r: 7, fill: "none", stroke: "currentColor", "stroke-width": 2.5 });
    }
  };

  const send = () => {
    sent = Date.now();
    if (draws) model.set("trace", trace); else model.set("point", point);
    model.save_changes();
  };

  const touch = (event) => {
    const here = place().inData(event);
    point = here;
    if (draws) {
      const last = trace.at(-1), { step } = place();
      if (!last || Math.hypot(here[0] - last[0], here[1] - last[1]) > step) trace = [...trace, here];
    }
    show();
  };

  root.addEventListener("pointerdown", (event) => { down = true; root.setPointerCapture(event.pointerId); touch(event); });
  root.addEventListener("pointermove", (event) => {
    if (!down) return;
    touch(event);
    if (Date.now() - sent > 150) send();
  });
  root.addEventListener("pointerup", () => { if (down) { down = false; send(); } });
  root.addEventListener("pointercancel", () => { down = false; });
  root.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    const { step, low, high } = place(), far = (event.shiftKey ? 8 : 2) * step;
    if (moves) {
      if (!point.length) point = [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2];
      point = point.map((value, k) => Math.min(high[k], Math.max(low[k], value + far * moves[k])));
    } else if (event.key === " " && draws && point.length) {
      trace = [...trace, point];
    } else {
      return;
    }
    event.preventDefault();
    show();
    if (!draws || event.key === " ") send();
  });

  const picture = () => { page.innerHTML = model.get("picture"); show(); };
  model.on("change:picture", picture);
  picture();
}

export default { render };
