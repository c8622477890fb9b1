"use strict";
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const isDark = () => (root.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  // --- light and dark ---------------------------------------------------------------------------------------
  const toggle = document.getElementById("theme");
  const asked = new URLSearchParams(location.search).get("theme");
  if (asked === "light" || asked === "dark") root.dataset.theme = asked;
  const label = () => { toggle.textContent = isDark() ? "Light" : "Dark"; };
  toggle.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; label(); draw(); });
  dark.addEventListener("change", () => { label(); draw(); });
  label();

  // --- the lines to copy ------------------------------------------------------------------------------------
  const copy = document.getElementById("copy");
  if (copy && navigator.clipboard) {
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById("commands").textContent);
      copy.textContent = "Copied";
      setTimeout(() => { copy.textContent = "Copy"; }, 1500);
    });
  } else if (copy) {
    copy.remove();
  }

  // --- the motion -------------------------------------------------------------------------------------------
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const films = [...document.querySelectorAll("canvas[data-film]")].map((canvas) => {
    const film = JSON.parse(document.getElementById(canvas.dataset.film).textContent);
    const raw = bytes(film.frames);
    film.values = film.kind === "points" ? new Uint16Array(raw.buffer) : raw;
    return { canvas, film };
  });
  const slider = document.getElementById("time");
  const shown = document.getElementById("time-shown");
  const play = document.getElementById("play");
  let playing = false, last = 0;

  // Between two frames values are blended, so that a few frames look like a motion.
  function blend(film, t) {
    const at = t * (film.k - 1), i = Math.min(Math.floor(at), film.k - 2), w = at - i;
    const size = film.values.length / film.k;
    return (j) => (1 - w) * film.values[i * size + j] + w * film.values[(i + 1) * size + j];
  }

  function points({ canvas, film }, t) {
    const value = blend(film, t), side = canvas.width, pen = canvas.getContext("2d");
    pen.clearRect(0, 0, side, canvas.height);
    pen.fillStyle = colour(film.colour);
    pen.globalAlpha = 0.65;
    for (let p = 0; p < film.n; p++) {
      const x = (value(2 * p) / 65535) * side, y = (1 - value(2 * p + 1) / 65535) * canvas.height;
      pen.beginPath();
      pen.arc(x, y, side / 260, 0, 2 * Math.PI);
      pen.fill();
    }
    pen.globalAlpha = 1;
  }

  function images({ canvas, film }, t) {
    const value = blend(film, t), { h, w, channels: c, columns } = film, gap = Math.max(1, Math.round(w / 8));
    const pen = canvas.getContext("2d"), night = isDark();
    pen.clearRect(0, 0, canvas.width, canvas.height);
    for (let p = 0; p < film.n; p++) {
      const tile = pen.createImageData(w, h);
      for (let q = 0; q < h * w; q++) {
        const from = (p * h * w + q) * c;
        if (c === 1) {
          const grey = night ? 235 : 20;
          tile.data.set([grey, grey, grey, value(from)], 4 * q);
        } else {
          tile.data.set([value(from), value(from + 1), value(from + 2), 255], 4 * q);
        }
      }
      pen.putImageData(tile, (p % columns) * (w + gap) + gap, Math.floor(p / columns) * (h + gap) + gap);
    }
  }

  function draw() {
    if (!slider) return;
    const t = Number(slider.value);
    shown.textContent = `t = ${t.toFixed(2)}`;
    for (const one of films) (one.film.kind === "points" ? points : images)(one, t);
  }

  function tick(now) {
    if (!playing) return;
    const dt = Math.min(0.05, (now - last) / 1000);
    last = now;
    slider.value = Math.min(1, Number(slider.value) + dt / 4);
    draw();
    if (Number(slider.value) >= 1) return stop();
    requestAnimationFrame(tick);
  }

  function stop() { playing = false; play.textContent = "Play"; }

  if (slider) {
    play.addEventListener("click", () => {
      if (playing) return stop();
      if (Number(slider.value) >= 1) slider.value = 0;
      playing = true;
      play.textContent = "Pause";
      last = performance.now();
      requestAnimationFrame(tick);
    });
    slider.addEventListener("input", () => { stop(); draw(); });
    draw();
    // It plays once when it comes into view, unless the reader prefers stillness.
    if (!still.matches && "IntersectionObserver" in window) {
      const seen = new IntersectionObserver((entries) => {
        if (entries.some((e) => e.isIntersecting)) { seen.disconnect(); play.click(); }
      }, { threshold: 0.4 });
      seen.observe(films[0].canvas);
    }
  }
})();
