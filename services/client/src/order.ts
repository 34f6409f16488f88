import type { Epoch, Version } from './schema.js';

/** Up to where a client has a chat: everything at or below `version`, of the history `epoch`. */
export interface Position {
  version: Version;
  /** `null` as long as nobody has said: a page of the history does not. */
  epoch: Epoch | null;
}

/** What becomes of an event that has a version. */
export type Verdict = 'tell' | 'drop' | 'reload';

/**
 * The order of one chat's events, without I/O. A server tells a connection each version once, in rising order, and may
 * leave some out (a later change stands for an earlier one), so a hole is no loss and nothing is kept waiting for. What
 * is at or below the position was heard before, on an earlier connection or over REST.
 */
export class Order {
  #position: Position | null = null;

  get position(): Position | null {
    return this.#position;
  }

  /** Everything up to here is known, however that came. */
  moveTo(position: Position | null): void {
    this.#position = position;
  }

  /** What to do with an event; one that is told moves the position. */
  judge({ version, epoch }: { version: Version; epoch: Epoch }): Verdict {
    const at = this.#position;
    if (at !== null && at.epoch !== null && at.epoch !== epoch) return 'reload';
    if (at !== null && version <= at.version) return 'drop';
    this.#position = { version, epoch };
    return 'tell';
  }
}
