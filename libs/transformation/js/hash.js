// @rs/hash/v1: md5, sha1 and sha256 of a text (as UTF-8), in lower-case hex.
function bytesOf(text) {
  const bytes = [];
  for (const c of String(text).toWellFormed()) {
    const code = c.codePointAt(0);
    if (code < 0x80) bytes.push(code);
    else if (code < 0x800) bytes.push(0xc0 | code >> 6, 0x80 | code & 63);
    else if (code < 0x10000) bytes.push(0xe0 | code >> 12, 0x80 | code >> 6 & 63, 0x80 | code & 63);
    else bytes.push(0xf0 | code >> 18, 0x80 | code >> 12 & 63, 0x80 | code >> 6 & 63, 0x80 | code & 63);
  }
  return bytes;
}

// The padded message as 32-bit words, 16 a block.
function words(text, littleEndian) {
  const bytes = bytesOf(text);
  const bits = bytes.length * 8;
  const view = new DataView(new ArrayBuffer((bytes.length + 72) & ~63));
  bytes.forEach((byte, at) => view.setUint8(at, byte));
  view.setUint8(bytes.length, 0x80);
  const [high, low] = littleEndian ? [4, 8] : [8, 4];
  view.setUint32(view.byteLength - high, Math.floor(bits / 0x100000000), littleEndian);
  view.setUint32(view.byteLength - low, bits >>> 0, littleEndian);
  return Array.from({length: view.byteLength / 4}, (_, at) => view.getUint32(at * 4, littleEndian));
}

function hex(state, littleEndian) {
  const view = new DataView(new ArrayBuffer(state.length * 4));
  state.forEach((word, at) => view.setUint32(at * 4, word, littleEndian));
  return Array.from(new Uint8Array(view.buffer), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

const left = (word, by) => word << by | word >>> 32 - by;
const right = (word, by) => word >>> by | word << 32 - by;

const MD5_SHIFTS = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
const MD5_SINES = Array.from({length: 64}, (_, at) => Math.floor(Math.abs(Math.sin(at + 1)) * 0x100000000) | 0);

export function md5(text) {
  const message = words(text, true);
  const state = [0x67452301, 0xefcdab89 | 0, 0x98badcfe | 0, 0x10325476];
  for (let block = 0; block < message.length; block += 16) {
    let [a, b, c, d] = state;
    for (let at = 0; at < 64; ++at) {
      const round = at >> 4;
      const mixed = [() => b & c | ~b & d, () => d & b | ~d & c, () => b ^ c ^ d, () => c ^ (b | ~d)][round]();
      const word = message[block + [at, 5 * at + 1, 3 * at + 5, 7 * at][round] % 16];
      const sum = a + mixed + MD5_SINES[at] + word | 0;
      [a, d, c, b] = [d, c, b, b + left(sum, MD5_SHIFTS[round][at % 4]) | 0];
    }
    [a, b, c, d].forEach((word, at) => { state[at] = state[at] + word | 0; });
  }
  return hex(state, true);
}

export function sha1(text) {
  const message = words(text, false);
  const state = [0x67452301, 0xefcdab89 | 0, 0x98badcfe | 0, 0x10325476, 0xc3d2e1f0 | 0];
  for (let block = 0; block < message.length; block += 16) {
    const w = message.slice(block, block + 16);
    for (let at = 16; at < 80; ++at) w.push(left(w[at - 3] ^ w[at - 8] ^ w[at - 14] ^ w[at - 16], 1));
    let [a, b, c, d, e] = state;
    for (let at = 0; at < 80; ++at) {
      const mixed = at < 20 ? (b & c | ~b & d) + 0x5a827999 :
        at < 40 ? (b ^ c ^ d) + 0x6ed9eba1 :
        at < 60 ? (b & c | b & d | c & d) + 0x8f1bbcdc : (b ^ c ^ d) + 0xca62c1d6;
      [a, b, c, d, e] = [left(a, 5) + mixed + e + w[at] | 0, a, left(b, 30), c, d];
    }
    [a, b, c, d, e].forEach((word, at) => { state[at] = state[at] + word | 0; });
  }
  return hex(state, false);
}

// The first 32 bits of the fractional parts of roots of the first primes.
const PRIMES = [];
for (let number = 2; PRIMES.length < 64; ++number) {
  if (PRIMES.every((prime) => number % prime !== 0)) PRIMES.push(number);
}
const fraction = (value) => (value - Math.floor(value)) * 0x100000000 | 0;
const SHA256_START = PRIMES.slice(0, 8).map((prime) => fraction(Math.sqrt(prime)));
const SHA256_ROUNDS = PRIMES.map((prime) => fraction(Math.cbrt(prime)));

export function sha256(text) {
  const message = words(text, false);
  const state = [...SHA256_START];
  for (let block = 0; block < message.length; block += 16) {
    const w = message.slice(block, block + 16);
    for (let at = 16; at < 64; ++at) {
      const [x, y] = [w[at - 15], w[at - 2]];
      const low = right(x, 7) ^ right(x, 18) ^ x >>> 3;
      const high = right(y, 17) ^ right(y, 19) ^ y >>> 10;
      w.push(w[at - 16] + low + w[at - 7] + high | 0);
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let at = 0; at < 64; ++at) {
      const one = h + (right(e, 6) ^ right(e, 11) ^ right(e, 25)) + (e & f ^ ~e & g) + SHA256_ROUNDS[at] + w[at] | 0;
      const two = (right(a, 2) ^ right(a, 13) ^ right(a, 22)) + (a & b ^ a & c ^ b & c) | 0;
      [a, b, c, d, e, f, g, h] = [one + two | 0, a, b, c, d + one | 0, e, f, g];
    }
    [a, b, c, d, e, f, g, h].forEach((word, at) => { state[at] = state[at] + word | 0; });
  }
  return hex(state, false);
}

export default {md5, sha1, sha256};
