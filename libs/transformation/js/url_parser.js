// @rs/urlParser/v1: URLSearchParams and URL as browsers have them, as far as tracking needs them.
const SPACE = /\+/g;

function decode(text) {
  try {
    return decodeURIComponent(text.replace(SPACE, ' '));
  } catch {
    return text;  // a stray % is left as it is
  }
}

function encode(text) {
  return encodeURIComponent(text)
    .replace(/%20/g, '+')
    .replace(/[!'()~]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
}

export class URLSearchParams {
  #pairs = [];

  constructor(init = '') {
    if (typeof init === 'object' && init !== null) {
      const pairs = typeof init[Symbol.iterator] === 'function' ? init : Object.entries(init);
      for (const [name, value] of pairs) this.append(name, value);
      return;
    }
    const text = String(init).replace(/^\?/, '');
    for (const part of text.split('&')) {
      if (part === '') continue;
      const equals = part.indexOf('=');
      const name = equals < 0 ? part : part.slice(0, equals);
      this.append(decode(name), equals < 0 ? '' : decode(part.slice(equals + 1)));
    }
  }
  get size() {
    return this.#pairs.length;
  }
  append(name, value) {
    this.#pairs.push([String(name), String(value)]);
  }
  delete(name) {
    this.#pairs = this.#pairs.filter((pair) => pair[0] !== String(name));
  }
  get(name) {
    return this.#pairs.find((pair) => pair[0] === String(name))?.[1] ?? null;
  }
  getAll(name) {
    return this.#pairs.filter((pair) => pair[0] === String(name)).map((pair) => pair[1]);
  }
  has(name) {
    return this.get(name) !== null;
  }
  set(name, value) {
    const at = this.#pairs.findIndex((pair) => pair[0] === String(name));
    if (at < 0) return this.append(name, value);
    const later = this.#pairs.slice(at + 1).filter((pair) => pair[0] !== String(name));
    this.#pairs = [...this.#pairs.slice(0, at), [String(name), String(value)], ...later];
  }
  sort() {
    this.#pairs.sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0));
  }
  forEach(use, self) {
    for (const [name, value] of this.#pairs) use.call(self, value, name, this);
  }
  *entries() {
    for (const [name, value] of this.#pairs) yield [name, value];
  }
  *keys() {
    for (const [name] of this.#pairs) yield name;
  }
  *values() {
    for (const [, value] of this.#pairs) yield value;
  }
  [Symbol.iterator]() {
    return this.entries();
  }
  toString() {
    return this.#pairs.map(([name, value]) => `${encode(name)}=${encode(value)}`).join('&');
  }
}

const DEFAULT_PORTS = {'http:': '80', 'https:': '443', 'ftp:': '21', 'ws:': '80', 'wss:': '443'};
const PARTS = /^([a-z][a-z0-9+.-]*:)(?:\/\/(?:([^:@/?#]*)(?::([^@/?#]*))?@)?(\[[^\]]*\]|[^:/?#]*)(?::(\d*))?)?([^?#]*)(\?[^#]*)?(#.*)?$/i;

export class URL {
  constructor(url, base) {
    let parts = PARTS.exec(String(url).trim());
    if (parts === null && base !== undefined) parts = PARTS.exec(join(String(url).trim(), new URL(base)));
    if (parts === null) throw new TypeError(`Invalid URL: ${url}`);
    const [, protocol, username = '', password = '', host, port = '', path, search = '', hash = ''] = parts;
    this.protocol = protocol.toLowerCase();
    this.username = username;
    this.password = password;
    this.hostname = (host ?? '').toLowerCase();
    if (this.hostname === '' && this.protocol in DEFAULT_PORTS) throw new TypeError(`Invalid URL: ${url}`);
    this.port = port === DEFAULT_PORTS[this.protocol] ? '' : port;
    this.pathname = host === undefined ? path : withoutDots(path);
    this.hash = hash === '#' ? '' : hash;
    this.searchParams = new URLSearchParams(search);
    this.search = search === '?' ? '' : search;
  }
  get host() {
    return this.port === '' ? this.hostname : `${this.hostname}:${this.port}`;
  }
  get origin() {
    return this.protocol in DEFAULT_PORTS ? `${this.protocol}//${this.host}` : 'null';
  }
  get href() {
    const user = this.username === '' ? '' : `${this.username}${this.password === '' ? '' : `:${this.password}`}@`;
    const authority = this.hostname === '' ? '' : `//${user}${this.host}`;
    return `${this.protocol}${authority}${this.pathname}${this.search}${this.hash}`;
  }
  toString() {
    return this.href;
  }
  toJSON() {
    return this.href;
  }
}

function withoutDots(path) {
  const kept = [];
  const parts = path.split('/').slice(1);
  parts.forEach((part, at) => {
    if (part === '..') kept.pop();
    if (part !== '.' && part !== '..') kept.push(part);
    else if (at === parts.length - 1) kept.push('');
  });
  return `/${kept.join('/')}`;
}

function join(path, base) {
  if (path.startsWith('//')) return base.protocol + path;
  if (path.startsWith('/')) return base.origin + path;
  if (path.startsWith('?')) return base.origin + base.pathname + path;
  if (path.startsWith('#')) return base.origin + base.pathname + base.search + path;
  return base.origin + base.pathname.replace(/[^/]*$/, '') + path;
}

export default {URL, URLSearchParams};
