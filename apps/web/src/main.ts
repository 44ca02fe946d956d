/** Buttons, keys and dropped files, each tied to what it does. */

import { App } from "./app.ts";
import { elements, showFaders, showWeight, type Saved } from "./view.ts";

const app = new App();

elements.again.onclick = () => void app.start();
elements.microphone.onclick = () => void app.toggleMicrophone();
elements.open.onclick = () => elements.file.click();
elements.file.onchange = () => {
  const [file] = elements.file.files ?? [];
  if (file) void app.openFile(file, file.name);
  elements.file.value = ""; // the same file may be chosen again
};
elements.samples.forEach((button) => (button.onclick = () => void app.openSample(button.dataset["sample"]!)));
elements.play.onclick = () => app.togglePlay();
elements.seek.oninput = () => app.seek(Number(elements.seek.value));
elements.listen.onchange = () => app.listen(elements.listen.checked);
elements.bypass.onclick = () => app.toggleBypass();
elements.faders.forEach((fader, index) => (fader.oninput = () => app.setFader(index, Number(fader.value))));
elements.saves.forEach((button) => (button.onclick = () => app.save(button.dataset["save"] as Saved)));

const KEYS: Record<string, HTMLButtonElement> = {
  m: elements.microphone,
  o: elements.open,
  b: elements.bypass,
  " ": elements.play,
};

document.addEventListener("keydown", (event) => {
  const button = KEYS[event.key.toLowerCase()];
  const typing = event.target instanceof HTMLButtonElement && event.key === " "; // presses that button
  if (!button || typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  event.preventDefault();
  button.click();
});

document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  const file = event.dataTransfer?.files[0];
  if (file) void app.openFile(file, file.name);
});

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => app.repaint());
showWeight(__FIRST_LOAD_BYTES__);
showFaders(app.faders, app.bypass);
void app.start();
if ("serviceWorker" in navigator && isSecureContext) void navigator.serviceWorker.register("service-worker.js");
