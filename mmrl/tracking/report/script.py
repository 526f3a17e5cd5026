"""Script of the report page, inlined; the only one that may run there."""

SCRIPT = """
"use strict";
const short = v => v === null || v === undefined ? "–" : Math.abs(v) >= 1e4 || (v !== 0 && Math.abs(v) < 1e-3)
  ? v.toExponential(2) : String(+v.toPrecision(4));
for (const svg of document.querySelectorAll("svg.chart")) {
  const data = JSON.parse(svg.dataset.chart), [first, last, left, right] = data.frame;
  const cross = svg.querySelector(".cross"), tip = svg.parentNode.querySelector(".tip");
  const steps = [...new Set(data.series.flatMap(s => s.x))].sort((a, b) => a - b);
  let at = steps.length - 1;
  const show = index => {
    at = Math.max(0, Math.min(steps.length - 1, index));
    const step = steps[at], x = left + (step - first) / Math.max(1, last - first) * (right - left);
    cross.setAttribute("x1", x); cross.setAttribute("x2", x); cross.setAttribute("visibility", "visible");
    const rows = data.series.filter(s => s.x.includes(step)).map(s =>
      (data.series.length > 1 ? s.label + "  " : "") + short(s.y[s.x.indexOf(step)]) +
      (s.bars && s.bars[step] ? "  (" + s.bars[step].map(short).join(" – ") + ")" : ""));
    tip.textContent = ["step " + step, ...rows].join("\\n");
    tip.hidden = false;
    const frame = svg.getBoundingClientRect(), outer = svg.parentNode.getBoundingClientRect();
    const spot = frame.left - outer.left + x / svg.viewBox.baseVal.width * frame.width, room = outer.width;
    const fits = spot + 12 + tip.offsetWidth < room - 6;
    tip.style.left = (fits ? spot + 12 : Math.max(6, spot - 12 - tip.offsetWidth)) + "px";
    tip.style.top = frame.top - outer.top + 34 + "px";
  };
  const hide = () => { tip.hidden = true; cross.setAttribute("visibility", "hidden"); };
  const seek = event => {
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    const step = first + (x - left) / (right - left) * (last - first);
    let best = 0;
    steps.forEach((s, i) => { if (Math.abs(s - step) < Math.abs(steps[best] - step)) best = i; });
    show(best);
  };
  svg.addEventListener("pointermove", seek);
  svg.addEventListener("pointerdown", seek);
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", event => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (move) { show(at + move); event.preventDefault(); }
  });
}
for (const answer of document.querySelectorAll(".answer")) {
  const pictures = answer.closest("article").querySelectorAll(".picture");
  const pick = on => pictures.forEach(picture => {
    const mine = picture.querySelectorAll('.guess[data-answer="' + answer.dataset.answer + '"]');
    picture.classList.toggle("picked", on && mine.length > 0);
    picture.querySelectorAll(".guess").forEach(g => g.classList.remove("on"));
    mine.forEach(g => g.classList.toggle("on", on));
  });
  answer.addEventListener("pointerenter", () => pick(true));
  answer.addEventListener("pointerleave", () => pick(false));
}
for (const video of document.querySelectorAll(".film video")) {
  // A small film is half hidden behind its controls, which are there while it is pointed at or focused.
  const show = on => {
    video.controls = on;
    video.parentNode.classList.toggle("still", !on && video.paused);
  };
  video.tabIndex = 0;
  show(false);
  video.addEventListener("pointerenter", () => show(true));
  video.addEventListener("focus", () => show(true));
  video.addEventListener("pointerleave", () => show(document.activeElement === video));
  video.addEventListener("blur", () => show(false));
}
document.documentElement.dataset.ready = "yes";
"""
