// A sound that is played from its start to its end. Whatever stops it before, it can be played again.
const PATIENCE = 8000;  // milliseconds in which nothing is heard or loaded

// `changed()` is called when it begins or is over, `failed(loaded)` before that when it did not come to its end.
export function sound(address, changed, failed) {
  const audio = new Audio(address), it = {plays: 0, playing: false, start, stop};
  const loaded = () => audio.error === null && audio.buffered.length > 0 && audio.buffered.end(0) > audio.duration - 0.1;
  let timer = null, broken = false;

  // While it is heard for the first time, it is not begun anew.
  function start() {
    if (it.playing && it.plays === 0) return;
    if (broken && !loaded()) audio.load();
    broken = false;
    audio.currentTime = 0;
    it.playing = true;
    wait();
    changed();
    audio.play().catch(fail);
  }

  function stop() {
    clearTimeout(timer);
    it.playing = false;
    audio.pause();
  }

  function wait() {
    clearTimeout(timer);
    timer = setTimeout(fail, PATIENCE);
  }

  function fail() {
    broken = true;
    if (!it.playing) return;
    stop();
    failed(loaded());
    changed();
  }

  for (const sign of ["timeupdate", "progress", "loadeddata"]) audio.addEventListener(sign, () => { if (it.playing) wait(); });
  audio.addEventListener("error", fail);
  audio.addEventListener("pause", () => { if (!audio.ended) fail(); });
  audio.addEventListener("ended", () => {
    if (!it.playing) return;
    stop();
    it.plays += 1;
    changed();
  });
  return it;
}
