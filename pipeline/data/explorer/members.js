// The members one by one: played at a steady pace, or stepped through where motion is not wanted.

const PACE = 500; // milliseconds that a member stays

export class Members {
  constructor({ play, back, next }, onShow) {
    Object.assign(this, { play, onShow, count: 0, at: -1, timer: null });
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    play.addEventListener("click", () => (this.timer ? this.stop() : this.start()));
    back.addEventListener("click", () => this.step(-1));
    next.addEventListener("click", () => this.step(1));
    this.still.addEventListener("change", () => this.settle());
    this.settle();
  }

  settle() {
    if (this.still.matches) this.stop();
    this.play.hidden = this.still.matches;
  }

  of(count) {
    Object.assign(this, { count, at: -1 });
    this.stop();
  }

  start() {
    if (this.at === this.count - 1) this.at = -1;
    this.timer = setInterval(() => this.forward(), PACE);
    this.play.textContent = "Stop";
    this.forward();
  }

  forward() {
    this.at += 1;
    if (this.at >= this.count - 1) this.stop();
    else this.tell(true);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.play.textContent = "Play members";
    this.tell(false);
  }

  tell(isPlaying) {
    this.onShow({ at: this.at, count: this.count, isPlaying });
  }

  step(by) {
    // Before the first and after the last there is the whole plume.
    this.at = ((this.at + 1 + by + this.count + 1) % (this.count + 1)) - 1;
    this.stop();
  }
}
