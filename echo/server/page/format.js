/** Numbers as people read them. */

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
const whole = new Intl.NumberFormat("en");

/** @param {number} number @returns {string} such as "5,000" */
export const count = (number) => whole.format(number);

/**
 * @param {number} number of bytes
 * @returns {string} such as "12.3 kB", with three significant digits
 */
export function bytes(number) {
  let unit = 0;
  while (number >= 999.5 && unit < UNITS.length - 1) {
    number /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || number >= 99.95 ? 0 : number >= 9.995 ? 1 : 2;
  return `${number.toFixed(digits)} ${UNITS[unit]}`;
}

/** @param {?number} number of bytes a second @returns {string} a dash where it is unknown yet */
export const rate = (number) => (number === null ? "–" : `${bytes(number)}/s`);

/**
 * @param {number} seconds
 * @returns {string} the two largest units, such as "2 h 05 m"
 */
export function duration(seconds) {
  if (seconds < 1) return seconds < 0.001 ? "< 1 ms" : `${Math.round(seconds * 1000)} ms`;
  const s = Math.floor(seconds);
  const two = (number) => String(number).padStart(2, "0");
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} m ${two(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))} m`;
  return `${Math.floor(s / 86400)} d ${two(Math.floor((s % 86400) / 3600))} h`;
}

/** @param {string} ip @param {number} port @returns {string} with IPv6 in brackets */
export const address = (ip, port) => (ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`);

/** @param {number} number @param {string} one @returns {string} such as "3 sessions" */
export const plural = (number, one) => `${count(number)} ${one}${number === 1 ? "" : "s"}`;
