const pathPattern = /\.?'([^']*)'|\.?"([^"]*)"|\[\s*(?:'([^']*)'|"([^"]*)"|(\d+)|(\*))\s*\]|\.(\*)|\.([^.[\s|&()+?]+)/y;
let fixed; // the configuration with its paths parsed

// '$.a.b[0][*]' as ['a', 'b', 0, '*'].
function parsePath(text) {
  const keys = [];
  let at = 1;
  while (at < text.length) {
    pathPattern.lastIndex = at;
    const found = pathPattern.exec(text);
    if (!found) throw new Error(`'${text}' is not a path like $.a.b['c d'][0] or $.list[*].a`);
    at = pathPattern.lastIndex;
    const [, single, double, single2, double2, index, each, each2, name] = found;
    if (each ?? each2) keys.push({each: true});
    else keys.push(index === undefined ? single ?? double ?? single2 ?? double2 ?? name : Number(index));
  }
  return keys;
}

function hasEach(keys) {
  return keys.some((key) => key.each);
}

// The value at `keys`; with [*] a list, one value for each item.
function read(value, keys) {
  for (let i = 0; i < keys.length; ++i) {
    if (value === null || typeof value !== 'object') return hasEach(keys.slice(i)) ? [] : undefined;
    if (keys[i].each) {
      const rest = keys.slice(i + 1);
      const values = Object.values(value).map((item) => read(item, rest));
      return hasEach(rest) ? values.flat() : values;
    }
    value = Object.hasOwn(value, keys[i]) ? value[keys[i]] : undefined;
  }
  return value;
}

function setOwn(object, key, value) {
  Object.defineProperty(object, key, {value, writable: true, enumerable: true, configurable: true});
}

function child(object, key, list) {
  if (!Object.hasOwn(object, key) || object[key] === null || typeof object[key] !== 'object') {
    setOwn(object, key, list ? [] : {});
  }
  return object[key];
}

function write(object, keys, value) {
  for (let i = 0; i < keys.length; ++i) {
    const key = keys[i];
    const rest = keys.slice(i + 1);
    if (key.each) {
      (Array.isArray(value) ? value : [value]).forEach((item, n) => {
        if (item === undefined) return;
        if (rest.length === 0) setOwn(object, n, item);
        else write(child(object, n, rest[0].each), rest, item);
      });
      return;
    }
    if (typeof key === 'number' && key > 10000) throw new Error(`the index ${key} is too large`);
    if (rest.length === 0) {
      if (value !== undefined) setOwn(object, key, value);
      return;
    }
    if (value === undefined) return;
    object = child(object, key, rest[0].each || typeof rest[0] === 'number');
  }
}

// A function of the event for a $.path, 'text', number, true or false.
function expression(text, plainAllowed) {
  const trimmed = String(text).trim(); // pathParams is any JSON
  if (trimmed.startsWith('$')) {
    const keys = parsePath(trimmed);
    return (event) => read(event, keys);
  }
  const quoted = /^'([^']*)'$|^"([^"]*)"$/.exec(trimmed);
  if (quoted) return () => quoted[1] ?? quoted[2];
  if (/^(-?\d+(\.\d+)?|true|false)$/.test(trimmed) || (plainAllowed && /^[\w.~-]+$/.test(trimmed))) return () => trimmed;
  throw new Error(`'${trimmed}' is neither a $.path nor a 'text' nor a number`);
}

function named(list = []) {
  return list.filter(({from, to}) => from && to).map(({from, to}) => {
    const name = to.startsWith('$') ? parsePath(to).join('.') : to.replace(/^'(.*)'$/, '$1');
    return {name, value: expression(from, false), constant: !from.trim().startsWith('$')};
  });
}

function authorisation({auth, username = '', password = '', bearerToken = '', apiKeyName, apiKeyValue = ''}) {
  if (auth === 'basicAuth') {
    const utf8 = unescape(encodeURIComponent(`${username}:${password}`));
    return {Authorization: `Basic ${btoa(utf8)}`};
  }
  if (auth === 'bearerTokenAuth') return {Authorization: `Bearer ${bearerToken}`};
  return auth === 'apiKeyAuth' && apiKeyName ? {[apiKeyName]: apiKeyValue} : {};
}

// Where the event chooses the host, what the configuration alone knows goes to allowedOrigins only.
function credentials(config, parts, headers, query) {
  const eventChoosesHost = parts.length > 1 && !/^[a-z]+:\/\/[^/?#]*[/?#]/i.test(parts[0]);
  if (!eventChoosesHost) return null;
  const take = (list) => {
    const values = {};
    for (const {name, value} of list.filter(({constant}) => constant)) setOwn(values, name, value());
    return values;
  };
  const secret = {
    origins: config.allowedOrigins ?? [],
    headers: {...authorisation(config), ...take(headers)},
    query: take(query),
    in_url: /^[a-z]+:\/\/[^/?#]*@/i.test(parts[0]),
  };
  const any = secret.in_url || Object.keys(secret.headers).length + Object.keys(secret.query).length > 0;
  if (any && secret.origins.length === 0) {
    throw new Error('apiUrl takes its host from the event: list the origins that may get the credentials in allowedOrigins');
  }
  return any ? secret : null;
}

function prepare(config) {
  const mapped = config.propertiesMapping ?? [];
  const whole = config.isDefaultMapping || mapped.length === 0;
  const parts = config.apiUrl.trim().split(/\{\{\s*(.*?)\s*\}\}/);
  const headers = named(config.headers);
  const query = named(config.queryParams);
  const secret = credentials(config, parts, headers, query);
  const open = ({constant}) => secret === null || !constant;
  return {
    method: config.method,
    format: config.format,
    root: config.xmlRootKey,
    url: parts.map((part, i) => (i % 2 ? expression(part) : part)),
    credentials: secret,
    authorisation: secret === null ? authorisation(config) : {},
    headers: headers.filter(open),
    query: query.filter(open),
    segments: (config.pathParams ?? []).filter(({path}) => path).map(({path}) => ({path, value: expression(path, true)})),
    body: whole ? null : mapped.filter(({from, to}) => from && to).map(({from, to}) => (
      {value: expression(from, false), to: parsePath(to.startsWith('$') ? to : `$.${to}`)})),
  };
}

// Texts of the event fill places in the URL, each within its own place: one that is empty or made of dots
// would name another resource.
function url(event) {
  if (fixed.url.length === 1 && fixed.segments.length === 0) return fixed.url[0];
  const segment = (value, path) => {
    if (value === undefined || value === null || value === '' || typeof value === 'object') {
      throw new Error(`the event has no text at ${path}, which the URL needs`);
    }
    return encodeURIComponent(value);
  };
  let text = fixed.url.map((part, i) => (i % 2 ? segment(part(event), 'a place in apiUrl') : part)).join('');
  for (const {path, value} of fixed.segments) text = `${text.replace(/\/$/, '')}/${segment(value(event), path)}`;
  const path = text.replace(/^[a-z]+:\/\/[^/?#]*/i, '').split(/[?#]/)[0];
  if (/\/\.{1,2}(\/|$)/.test(path)) throw new Error('the event would lead the URL out of its path');
  return text;
}

function headers(event) {
  const all = {...fixed.authorisation};
  for (const {name, value} of fixed.headers) {
    const found = value(event);
    if (found === undefined || found === null) continue;
    if (typeof found === 'object') throw new Error(`header '${name}' has a value of type object; only texts and numbers can be sent`);
    if (name.toLowerCase() !== 'content-type') all[name] = String(found);
  }
  all['Content-Type'] = {XML: 'application/xml', FORM: 'application/x-www-form-urlencoded'}[fixed.format] ?? 'application/json';
  return all;
}

function asText(value) {
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

function texts(object) {
  const result = {};
  for (const key of Object.keys(object)) {
    if (object[key] !== undefined && object[key] !== null) setOwn(result, key, asText(object[key]));
  }
  return result;
}

function query(event) {
  const result = {};
  for (const {name, value} of fixed.query) setOwn(result, name, value(event));
  return texts(result);
}

const escapes = {'&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&apos;'};

function element(name, value) {
  if (Array.isArray(value)) return value.map((item) => element(name, item)).join('');
  if (!/^[A-Za-z_][\w.-]*$/.test(name)) throw new Error(`'${name}' cannot be the name of an XML element`);
  if (value === undefined) return '';
  if (value === null) return `<${name}/>`;
  const inner = typeof value === 'object'
    ? Object.keys(value).map((key) => element(key, value[key])).join('')
    : String(value).replace(/[&<>"']/g, (character) => escapes[character]);
  return `<${name}>${inner}</${name}>`;
}

function body(event) {
  if (fixed.body === null) return event;
  const result = {};
  for (const {value, to} of fixed.body) write(result, to, value(event));
  return result;
}

export function map(event, config) {
  fixed ??= prepare(config);
  const {method, format} = fixed;
  const request = {method, url: url(event), headers: headers(event), query: query(event)};
  if (fixed.credentials) request.credentials = fixed.credentials;
  if (method === 'GET' || method === 'DELETE') return request;
  const content = body(event);
  if (format === 'XML') return {...request, body: `<?xml version="1.0" encoding="UTF-8"?>${element(fixed.root, content)}`};
  return format === 'FORM' ? {...request, form: texts(content)} : {...request, json: content};
}
