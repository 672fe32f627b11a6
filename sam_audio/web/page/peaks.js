// What is drawn of a sound: its lowest and its highest sample in each of a number of stretches.

const COLUMNS = 1000;

export class Peaks {
  constructor(frames) {
    this.perColumn = Math.max(1, frames / COLUMNS);
    this.at = 0;
    this.columns = { low: new Float32Array(COLUMNS), high: new Float32Array(COLUMNS) };
  }

  // The next samples of C channels.
  add(channels) {
    const { low, high } = this.columns;
    for (let i = 0; i < channels[0].length; i++, this.at++) {
      const column = Math.min(Math.floor(this.at / this.perColumn), COLUMNS - 1);
      for (const channel of channels) {
        if (channel[i] < low[column]) low[column] = channel[i];
        if (channel[i] > high[column]) high[column] = channel[i];
      }
    }
  }
}
