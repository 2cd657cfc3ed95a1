// Drives @stomp/stompjs over WebSocket for test_stompjs.py: `node stompjs_driver.js ws://HOST:PORT/ws` plays every scenario
// below, in text and in binary WebSocket frames, and writes {"text": {NAME: "passed" or why not}, "binary": {...}}.
'use strict';

const assert = require('node:assert');
const crypto = require('node:crypto');
const { Client, Versions } = require('@stomp/stompjs');

Object.assign(global, { WebSocket: require('ws') });

const url = process.argv[2];
const SCENARIO_MS = 15000;
let binary = false;
let opened = [];
const fresh = (kind = 'q') => `stomp.js.${kind}.${crypto.randomUUID()}`;

function make(options = {}) {
  const client = new Client({
    brokerURL: url,
    connectHeaders: { login: 'guest', passcode: 'guest', host: '/' },
    reconnectDelay: 0,
    heartbeatIncoming: 0,
    heartbeatOutgoing: 0,
    forceBinaryWSFrames: binary,
    ...options,
  });
  opened.push(client);
  return client;
}

function connect(options = {}) {
  return new Promise((resolve, reject) => {
    const client = make(options);
    client.onConnect = () => resolve(client);
    client.onStompError = (frame) => reject(new Error(`${frame.headers.message}: ${frame.body}`));
    client.onWebSocketError = () => reject(new Error('the WebSocket failed'));
    client.activate();
  });
}

// The next messages of a subscription, one promise each
function inbox(client, destination, headers = {}) {
  const came = [];
  const waiting = [];
  const subscription = client.subscribe(destination, (message) => {
    const next = waiting.shift();
    if (next) next(message); else came.push(message);
  }, headers);
  const next = () => new Promise((resolve) => (came.length ? resolve(came.shift()) : waiting.push(resolve)));
  return { next, came, subscription };
}

function receipt(client, send) {
  return new Promise((resolve) => {
    const id = fresh('receipt');
    client.watchForReceipt(id, resolve);
    send({ receipt: id });
  });
}

const temporary = () => `/exchange/amq.direct/${fresh()}`;

const scenarios = {
  'newest version and session': async () => {
    const client = await connect();
    assert.strictEqual(client.connectedVersion, '1.2');
  },
  'older versions': async () => {
    for (const version of ['1.0', '1.1']) {
      const client = await connect({ stompVersions: new Versions([version]) });
      assert.strictEqual(client.connectedVersion, version);
      const at = temporary();
      const box = inbox(client, at);
      client.publish({ destination: at, body: version });
      assert.strictEqual((await box.next()).body, version);
      await client.deactivate();
    }
  },
  'publish and subscribe': async () => {
    const client = await connect();
    const at = temporary();
    const box = inbox(client, at);
    client.publish({ destination: at, body: 'žluťoučký', headers: { odd: 'a:b\\\nc', 'content-type': 'text/plain' } });
    const message = await box.next();
    assert.strictEqual(message.body, 'žluťoučký');
    assert.strictEqual(message.headers.odd, 'a:b\\\nc');
    assert.strictEqual(message.headers['content-type'], 'text/plain');
    assert.strictEqual(message.headers.destination, at);
  },
  'json': async () => {
    const client = await connect();
    const at = temporary();
    const box = inbox(client, at);
    client.publish({ destination: at, body: JSON.stringify({ n: 1 }), skipContentLengthHeader: true });
    assert.deepStrictEqual(JSON.parse((await box.next()).body), { n: 1 });
  },
  'binary body': async () => {
    const client = await connect();
    const at = temporary();
    const box = inbox(client, at);
    const body = new Uint8Array(50000).map((_, i) => i % 256);
    client.publish({ destination: at, binaryBody: body, headers: { 'content-type': 'application/octet-stream' } });
    const message = await box.next();
    assert.deepStrictEqual(Buffer.from(message.binaryBody), Buffer.from(body));
  },
  'empty body': async () => {
    const client = await connect();
    const at = temporary();
    const box = inbox(client, at);
    client.publish({ destination: at });
    assert.strictEqual((await box.next()).body, '');
  },
  'large message in pieces': async () => {
    const client = await connect({ splitLargeFrames: true });
    const at = temporary();
    const box = inbox(client, at);
    client.publish({ destination: at, body: 'ž'.repeat(200000) });
    assert.strictEqual((await box.next()).body, 'ž'.repeat(200000));
  },
  'receipts': async () => {
    const client = await connect();
    const at = temporary();
    await receipt(client, (headers) => client.subscribe(at, () => {}, headers));
    await Promise.all([...Array(50).keys()].map((n) =>
      receipt(client, (headers) => client.publish({ destination: at, body: `${n}`, headers: { persistent: 'true', ...headers } }))));
  },
  'ack and nack': async () => {
    const client = await connect();
    const at = temporary();
    const box = inbox(client, at, { ack: 'client-individual' });
    client.publish({ destination: at, body: 'work' });
    (await box.next()).nack();
    const again = await box.next();
    assert.strictEqual(again.headers.redelivered, 'true');
    again.ack();
    await receipt(client, (headers) => client.publish({ destination: temporary(), headers }));
    assert.strictEqual(box.came.length, 0);
  },
  'cumulative ack': async () => {
    const [client, other] = [await connect(), await connect()];
    const name = fresh();
    const box = inbox(client, `/queue/${name}`, { ack: 'client', 'x-expires': '60000' });
    for (const body of ['0', '1', '2', '3']) client.publish({ destination: `/queue/${name}`, body });
    const came = [await box.next(), await box.next(), await box.next(), await box.next()];
    came[2].ack();
    await receipt(client, (headers) => client.publish({ destination: temporary(), headers }));
    await client.deactivate();
    const rest = inbox(other, `/amq/queue/${name}`);
    const left = await rest.next();
    assert.deepStrictEqual([left.body, left.headers.redelivered], ['3', 'true']);
  },
  'transactions': async () => {
    const client = await connect();
    const at = temporary();
    const box = inbox(client, at);
    const aborted = client.begin();
    client.publish({ destination: at, body: 'aborted', headers: { transaction: aborted.id } });
    aborted.abort();
    const committed = client.begin();
    client.publish({ destination: at, body: 'committed', headers: { transaction: committed.id } });
    committed.commit();
    assert.strictEqual((await box.next()).body, 'committed');
  },
  'topics go to all': async () => {
    const clients = [await connect(), await connect()];
    const topic = `/topic/${fresh('topic')}`;
    const boxes = [];
    for (const client of clients) {
      await receipt(client, (headers) => boxes.push(inbox(client, topic.replace(/\.q\./, '.*.'), headers)));
    }
    clients[0].publish({ destination: topic, body: 'news' });
    for (const box of boxes) assert.strictEqual((await box.next()).body, 'news');
  },
  'nothing after unsubscribe': async () => {
    const client = await connect();
    const at = temporary();
    const box = inbox(client, at);
    client.publish({ destination: at, body: 'first' });
    await box.next();
    await receipt(client, (headers) => box.subscription.unsubscribe(headers));
    client.publish({ destination: at, body: 'second' });
    await receipt(client, (headers) => client.publish({ destination: temporary(), headers }));
    assert.strictEqual(box.came.length, 0);
  },
  'an answer to a temporary queue': async () => {
    const [client, server] = [await connect(), await connect()];
    const at = temporary();
    const answered = new Promise((resolve) => { client.onUnhandledMessage = resolve; });
    const asked = await receipt(server, (headers) => {
      server.subscribe(at, (message) => server.publish({ destination: message.headers['reply-to'], body: '4' }), headers);
    });
    assert.ok(asked);
    client.publish({ destination: at, body: '2+2', headers: { 'reply-to': '/temp-queue/answers' } });
    assert.strictEqual((await answered).body, '4');
  },
  'heart-beats both ways': async () => {
    const seen = { PING: 0, PONG: 0 };
    await new Promise((resolve) => {
      connect({
        heartbeatIncoming: 300,
        heartbeatOutgoing: 300,
        debug: (text) => {
          if (/PING/.test(text)) seen.PING += 1;
          if (/PONG/.test(text)) seen.PONG += 1;
          if (seen.PING > 1 && seen.PONG > 1) resolve();
        },
      });
    });
  },
  'a wrong password': async () => {
    const client = make({ connectHeaders: { login: 'guest', passcode: 'wrong', host: '/' } });
    const error = await new Promise((resolve) => { client.onStompError = resolve; client.activate(); });
    assert.strictEqual(error.headers.message, 'Bad CONNECT');
  },
  'an error for an unknown destination': async () => {
    const client = await connect();
    const error = await new Promise((resolve) => {
      client.onStompError = resolve;
      client.publish({ destination: '/nowhere/at/all', body: 'x' });
    });
    assert.strictEqual(error.headers.message, 'Unknown destination');
  },
  'it comes back by itself': async () => {
    const client = make({ reconnectDelay: 50 });
    const at = temporary();
    let times = 0;
    await new Promise((resolve, reject) => {
      client.onConnect = () => {
        times += 1;
        client.subscribe(at, (message) => (message.body === '2' ? resolve() : client.forceDisconnect()));
        client.publish({ destination: at, body: `${times}` });
      };
      client.onStompError = (frame) => reject(new Error(frame.body));
      client.activate();
    });
    assert.strictEqual(times, 2);
  },
  'many messages in order': async () => {
    const client = await connect();
    const at = temporary();
    const box = inbox(client, at);
    for (let n = 0; n < 2000; n += 1) client.publish({ destination: at, body: `${n}` });
    for (let n = 0; n < 2000; n += 1) assert.strictEqual((await box.next()).body, `${n}`);
  },
};

async function play(scenario) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error('it took too long')), SCENARIO_MS); });
  try {
    await Promise.race([scenario(), late]);
    return 'passed';
  } catch (error) {
    return String(error.stack);
  } finally {
    clearTimeout(timer);
    for (const client of opened) client.deactivate({ force: true });
    opened = [];
  }
}

async function main() {
  const found = {};
  for (const frames of ['text', 'binary']) {
    binary = frames === 'binary';
    found[frames] = {};
    for (const [name, scenario] of Object.entries(scenarios)) found[frames][name] = await play(scenario);
  }
  process.stdout.write(`${JSON.stringify(found)}\n`, () => process.exit(0));
}

main();
