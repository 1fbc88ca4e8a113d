// What a user's transformation sees around it, and how it is called. Evaluated by libs/script as
// (host) => (exports) => (event) => value; see libs/script/module.h.
(host) => {
  'use strict';
  // Kept, because the user's code may replace them.
  const {parse, stringify} = JSON;
  const {isArray} = Array;
  const {config} = host;

  const METADATA = [
    'sourceId', 'sourceName', 'workspaceId', 'sourceType', 'sourceCategory', 'destinationId', 'destinationType',
    'destinationName', 'namespace', 'originalSourceId', 'trackingPlanId', 'trackingPlanVersion', 'sourceTpConfig',
    'mergedTpConfig', 'jobId', 'sourceJobId', 'sourceJobRunId', 'sourceTaskRunId', 'recordId', 'messageId',
    'messageIds', 'rudderId', 'receivedAt', 'eventName', 'eventType', 'sourceDefinitionId',
    'destinationDefinitionId', 'transformationId', 'transformationVersionId',
  ];

  const {toString} = Object.prototype;
  const tagOf = (value) => toString.call(value).slice(8, -1);
  // Plain objects, and errors, which some return as they caught them.
  const isEvent = (value) => {
    if (typeof value !== 'object' || value === null) return false;
    const tag = tagOf(value);
    return tag === 'Object' || tag === 'Error';
  };
  const kindOf = (value) => {
    if (value === null || value === undefined) return String(value);
    if (isArray(value)) return 'an array';
    const name = typeof value === 'object' ? tagOf(value) : typeof value;
    return `${/^[AEIOUaeiou]/.test(name) ? 'an' : 'a'} ${name}`;
  };

  // The name tells the host that the script worked but what it returned cannot be.
  function invalid(message) {
    const error = new TypeError(message);
    error.name = 'InvalidResult';
    return error;
  }

  // An error of the host, as one that the user's code made at `stack`; message and stack show when it is returned.
  function visible(error, {stack}) {
    const shown = new Error(error.message);
    const {message} = shown;
    for (const [name, value, enumerable] of [['name', error.name, false], ['message', message, true], ['stack', stack, true]]) {
      Object.defineProperty(shown, name, {value, enumerable, writable: true, configurable: true});
    }
    return shown;
  }

  // metadata(event). In a batch: which of its inputs an event object is.
  const places = new WeakMap();
  function metadata(event) {
    const all = {};
    for (const name of METADATA) all[name] = undefined;
    let own = host.extra;
    if (isArray(own)) {
      const place = isEvent(event) ? places.get(event) ?? own.findIndex((one) => one?.messageId === event.messageId) : -1;
      own = own[place];
    }
    return Object.assign(all, config.metadata, host.shared, own);
  }

  // What JSON.stringify refuses: BigInts, and objects that hold themselves.
  function stringifyAny(value) {
    const path = [];
    return stringify(value, function (_, one) {
      if (typeof one === 'bigint') return `${one}n`;
      if (typeof one !== 'object' || one === null) return one;
      while (path.length > 0 && path.at(-1) !== this) path.pop();
      if (path.includes(one)) return '[circular]';
      path.push(one);
      return one;
    });
  }
  function textOf(value) {
    if (value instanceof Error) return value.stack ? `${value}\n${value.stack}`.trimEnd() : String(value);
    return typeof value === 'object' ? stringify(value) : String(value);
  }
  // Nothing that is logged may cost the event.
  function log(...values) {
    const texts = [];
    for (const value of values) {
      for (const write of [textOf, stringifyAny, () => '[cannot be shown]']) {
        try {
          texts.push(write(value));
          break;
        } catch { /* the next one */ }
      }
    }
    host.log(texts.join(' '));
  }

  const bodyOf = (text) => {
    try {
      return parse(text);
    } catch {
      return text;
    }
  };
  async function fetchV2(...request) {
    const here = new Error();
    let answer;
    try {
      answer = await host.ask('fetch', ...request);
    } catch (error) {
      throw visible(error, here);
    }
    const {url, status, headers, body} = answer;
    return {url, status, headers, body: bodyOf(body)};
  }
  async function fetch(...request) {
    try {
      return parse((await host.ask('fetch', ...request)).body);
    } catch {
      return 'ERROR';
    }
  }

  async function geolocation(ip) {
    const here = new Error();
    try {
      return await host.ask('geolocation', ip);
    } catch (error) {
      throw visible(error, here);
    }
  }

  function getCredential(key) {
    if (key === null || key === undefined) throw new TypeError('Key should be valid and defined');
    if (typeof key === 'object' || typeof key === 'function') return undefined;
    const name = String(key);
    return Object.hasOwn(config.credentials, name) ? config.credentials[name] : undefined;
  }

  function ask(name, ...values) {
    try {
      return host.askNow(name, ...values);
    } catch (error) {
      throw visible(error, new Error());
    }
  }
  function keyOf(key, what) {
    if (typeof key !== 'string' || key === '') throw new TypeError(`store.${what}: the key must be a text that is not empty, not ${kindOf(key)}`);
    return key;
  }
  function secondsOf(seconds, what) {
    if (seconds === undefined || seconds === null) return 0;
    if (typeof seconds !== 'number' || !(seconds >= 1)) throw new TypeError(`store.${what}: ttlSeconds must be a number of at least 1`);
    return Math.min(Math.ceil(seconds), Number.MAX_SAFE_INTEGER);
  }
  const store = Object.freeze({
    get(key) {
      const text = ask('store.get', keyOf(key, 'get'));
      return text === null ? undefined : parse(text);
    },
    set(key, value, ttlSeconds) {
      const text = stringify(value);
      if (text === undefined) throw new TypeError('store.set: there is no value; store.del(key) removes one');
      ask('store.set', keyOf(key, 'set'), text, secondsOf(ttlSeconds, 'set'));
    },
    del(key) {
      ask('store.del', keyOf(key, 'del'));
    },
    incr(key, by = 1, ttlSeconds) {
      if (!Number.isFinite(by)) throw new TypeError('store.incr: what is added must be a finite number');
      return ask('store.incr', keyOf(key, 'incr'), by, secondsOf(ttlSeconds, 'incr'));
    },
  });

  const console = Object.freeze({log, info: log, warn: log, error: log, debug: log});
  const globals = {metadata, log, console, fetch, fetchV2, geolocation, getCredential, store};
  for (const [name, value] of Object.entries(globals)) {
    Object.defineProperty(globalThis, name, {value, writable: true, configurable: true});
  }

  const then = (result, use) => (typeof result?.then === 'function' ? Promise.resolve(result).then(use) : use(result));

  function finishEvent(result) {
    if (result === undefined || result === null || isEvent(result)) return result;
    if (!isArray(result)) {
      throw invalid(`transformEvent returned ${kindOf(result)}: return an object, an array of objects, or nothing to drop the event`);
    }
    for (let at = 0; at < result.length; ++at) {
      if (!isEvent(result[at])) {
        throw invalid(`returned event in events array from transformEvent(event) is not an object but ${kindOf(result[at])}, at index ${at}`);
      }
    }
    result.forEach((event) => host.emit(0, event));
    return undefined;
  }

  // Which input each returned event belongs to: the same object, or the same messageId, or the same place.
  function finishBatch(result, name, inputs) {
    if (!isArray(result)) {
      throw invalid(`${name} returned ${kindOf(result)}: return an array of events; an event that is not in it is dropped`);
    }
    const count = inputs.length;
    const used = new Set();
    const owner = (event, at) => {
      const same = places.get(event);
      if (same !== undefined && inputs[same].event === event) return same;
      const twins = inputs.reduce((list, input, place) => {
        if (input.id !== undefined && input.id === event.messageId) list.push(place);
        return list;
      }, []);
      if (twins.length > 0) return twins.find((place) => !used.has(place)) ?? twins[0];
      return Math.min(at, count - 1);
    };
    const faults = [];
    result.forEach((event, at) => {
      if (!isEvent(event)) return faults.push(at);
      const place = owner(event, at);
      used.add(place);
      host.emit(place, event);
    });
    for (const at of faults) {
      let place = at < count && !used.has(at) ? at : inputs.findIndex((_, one) => !used.has(one));
      if (place < 0) place = Math.min(at, count - 1);
      used.add(place);
      host.fail(place, `returned event in events array from ${name}(events) is not an object but ${kindOf(result[at])}, at index ${at}`, 'InvalidResult', '');
    }
    return undefined;
  }

  return (exports) => {
    const found = ['transformEvent', 'transformBatch'].filter((name) => typeof exports[name] === 'function');
    if (found.length === 0 && typeof exports.transform === 'function') found.push('transform');
    if (found.length !== 1) {
      throw new TypeError(found.length === 0 ?
        'neither transformEvent nor transformBatch is a function: export one' :
        `${found.join(' and ')} are both exported: keep one`);
    }
    const [name] = found;
    const entry = exports[name];
    if (name === 'transformEvent') {
      return (event) => then(entry(event, metadata), finishEvent);
    }
    return (events) => {
      const inputs = events.map((event, place) => {
        places.set(event, place);
        return {event, id: event.messageId};
      });
      return then(entry(events, metadata), (result) => finishBatch(result, name, inputs));
    };
  };
}
