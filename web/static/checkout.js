"use strict";
// Keeps a checkout page fresh: live status, countdown, copy buttons. The page reads well without
// it; every word it shows was rendered by the server. No dependency, nothing stored.
(() => {
  const RETRY_SECONDS = 5;
  const COPIED_SECONDS = 2;
  const panel = document.getElementById("panel");
  const announce = document.getElementById("announce");
  document.documentElement.classList.add("js");

  const say = (text) => {
    if (announce.textContent !== text) announce.textContent = text;
  };

  // ---- copy

  const copyByHand = (text) => {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "unseen";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) throw new Error("copy refused");
  };

  const toClipboard = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Not over plain http, and not in every in-app browser.
      copyByHand(text);
    }
  };

  const copy = async (button) => {
    const label = button.firstElementChild;
    try {
      await toClipboard(button.dataset.copy);
      label.textContent = "Copied";
      button.classList.add("copied");
      say("Copied");
    } catch {
      label.textContent = "Select it";
    }
    setTimeout(() => {
      label.textContent = "Copy";
      button.classList.remove("copied");
    }, COPIED_SECONDS * 1000);
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-copy]");
    if (button) copy(button);
  });

  // ---- sign with a wallet

  let wallet = window.ethereum;
  const mark = () => document.documentElement.classList.toggle("ethereum", Boolean(wallet));
  // Wallets that do not want to fight for window.ethereum announce themselves (EIP-6963).
  addEventListener("eip6963:announceProvider", (event) => {
    wallet ??= event.detail?.provider;
    mark();
  });
  dispatchEvent(new Event("eip6963:requestProvider"));
  mark();

  const note = (text) => {
    const place = document.querySelector(".sign-note");
    if (place) place.textContent = text;
  };

  const signature = async (words) => {
    const [address] = await wallet.request({ method: "eth_requestAccounts" });
    const signed = await wallet.request({ method: "personal_sign", params: [words, address] });
    return new URLSearchParams({ address, signature: signed });
  };

  const sign = async (button) => {
    const { words, busy, refused, failed } = button.dataset;
    const label = button.firstElementChild;
    const before = label.textContent;
    button.disabled = true;
    label.textContent = busy;
    note("");
    let body;
    try {
      body = await signature(words);
    } catch {
      note(refused);
    }
    try {
      if (body) {
        const answer = await fetch(button.dataset.sign, { method: "POST", body });
        const { message } = await answer.json();
        if (answer.ok) say(message);
        else note(message);
      }
    } catch {
      note(failed);
    }
    button.disabled = false;
    label.textContent = before;
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-sign]");
    if (button) sign(button);
  });

  // ---- countdown

  const two = (number) => String(number).padStart(2, "0");
  const left = (seconds) => {
    const days = Math.floor(seconds / 86400);
    const hours = Math.floor((seconds % 86400) / 3600);
    const minutes = Math.floor((seconds % 3600) / 60);
    if (days) return `${days} d ${hours} h`;
    return hours
      ? `${hours}:${two(minutes)}:${two(seconds % 60)}`
      : `${minutes}:${two(seconds % 60)}`;
  };
  const tick = () => {
    const clock = document.querySelector("[data-until]");
    if (!clock) return;
    const seconds = Math.max(0, Math.floor((Date.parse(clock.dataset.until) - Date.now()) / 1000));
    clock.querySelector("[data-left]").textContent = left(seconds);
    clock.classList.toggle("soon", seconds < 120);
  };
  tick();
  setInterval(tick, 1000);

  // ---- moments in the reader's own words

  for (const moment of document.querySelectorAll("time[datetime]")) {
    const at = new Date(moment.dateTime);
    moment.title = moment.textContent;
    moment.textContent = at.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  }

  // ---- live status

  const show = (status) => {
    const moved = panel.dataset.stage !== status.stage;
    const busy = panel.contains(document.activeElement) && !moved;
    const focused = busy ? document.activeElement.getAttribute("aria-label") : null;
    panel.innerHTML = status.html;
    panel.dataset.stage = status.stage;
    if (moved) panel.classList.add("moved");
    if (focused) panel.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
    const heading = panel.querySelector("[data-announce]");
    if (heading) say(heading.textContent);
    tick();
  };

  const follow = () => {
    const source = new EventSource(panel.dataset.live);
    let over = false;
    source.addEventListener("status", (event) => show(JSON.parse(event.data)));
    source.addEventListener("end", () => {
      over = true;
      source.close();
    });
    source.addEventListener("error", () => {
      // The browser reconnects a dropped stream; a refused one is ours to try again.
      if (over || source.readyState !== EventSource.CLOSED) return;
      setTimeout(follow, RETRY_SECONDS * 1000);
    });
  };
  follow();
})();
