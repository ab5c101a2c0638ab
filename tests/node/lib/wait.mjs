// Waiting: always for an event, never longer than a deadline. Everything else in lib/ waits through here.

/** Milliseconds that anything may take which should take none. Wide: two cores, and a build may run beside us. */
export const SOON = 10_000;

/** `promise`, or an error that says what was waited for. */
export async function within(milliseconds, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${milliseconds} ms in vain for ${what}`)), milliseconds);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Asks `question` again and again until it answers truthily, which it then returns. For what sends no event. */
export async function until(what, question, milliseconds = SOON) {
  const deadline = performance.now() + milliseconds;
  for (;;) {
    const answer = await question();
    if (answer) return answer;
    if (performance.now() > deadline) throw new Error(`waited ${milliseconds} ms in vain for ${what}`);
    await pause(20);
  }
}

/** Only for showing that nothing happens, and between two questions of `until`. */
export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** What came, in order, handed out one by one to whoever waits. */
export class Inbox {
  #waiting = [];
  #items = [];
  #end;
  /** Everything that ever came, for messages about failures. */
  all = [];

  push(item) {
    this.all.push(item);
    const waiter = this.#waiting.shift();
    if (waiter) waiter.resolve(item);
    else this.#items.push(item);
  }

  /** Nothing comes any more, because of `why`. What came before can still be taken. */
  end(why) {
    if (this.#end) return;
    this.#end = why;
    for (const waiter of this.#waiting.splice(0)) waiter.reject(this.#over());
  }

  get isEmpty() {
    return this.#items.length === 0;
  }

  async next(what, milliseconds = SOON) {
    if (this.#items.length > 0) return this.#items.shift();
    if (this.#end) throw this.#over(what);
    let waiter;
    const coming = new Promise((resolve, reject) => {
      waiter = { resolve, reject };
      this.#waiting.push(waiter);
    });
    try {
      return await within(milliseconds, what, coming);
    } catch (error) {
      // A later arrival must not be given to one who no longer waits.
      this.#waiting = this.#waiting.filter((other) => other !== waiter);
      throw error;
    }
  }

  #over(what = 'more') {
    return new Error(`there will be no ${what}: ${this.#end}; so far: ${JSON.stringify(this.all.slice(-5))}`);
  }
}
