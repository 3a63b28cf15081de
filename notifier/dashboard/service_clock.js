// The service's time, estimated from the times that it sends. Pure except for the clock that it is given.

const MAX_SKEW = 60_000; // ms that make no difference

export class ServiceClock {
  /** @param {() => number} local returns the browser's time (ms) */
  constructor(local = Date.now) {
    this.local = local;
    this.ahead = 0; // ms that the service's clock is ahead of the browser's
  }

  /** Return the service's time (ms). */
  now() {
    return this.local() + this.ahead;
  }

  /**
   * Set the clock to a time that the service has just sent. Return whether the clock was off by more than a minute.
   * @param {string} time RFC 3339
   */
  set(time) {
    const ahead = Date.parse(time) - this.local();
    const isElsewhere = Math.abs(ahead - this.ahead) > MAX_SKEW;
    this.ahead = ahead;
    return isElsewhere;
  }
}
