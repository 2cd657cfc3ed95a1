// Drives node's amqplib for test_amqplib.py: `node amqplib_driver.js URL` reads the error cases as JSON on
// standard input, plays them and every scenario below, and writes {"errors": {...}, "scenarios": {...}}.
'use strict';

const assert = require('node:assert');
const crypto = require('node:crypto');
const path = require('node:path');
const amqp = require('amqplib');
// the numbers of the methods, which the package does not export
const defs = require(path.join(path.dirname(require.resolve('amqplib')), 'lib', 'defs.js'));

const url = process.argv[2];
const fresh = (kind = 'q') => `compat.js.${kind}.${crypto.randomUUID()}`;
const camel = (name) => name.replace(/[._](\w)/g, (_, letter) => letter.toUpperCase());
const pascal = (name) => camel(`.${name}`);

// -- errors ----------------------------------------------------------------------------------------------

const OTHER_NAMES = { exchangeType: 'type', autoAck: 'noAck', globalQos: 'global' };
const DEFAULTS = {
  ticket: 0, nowait: false, queue: '', exchange: '', type: 'direct', passive: false, durable: false, autoDelete: false,
  exclusive: false, internal: false, arguments: {}, ifUnused: false, ifEmpty: false, routingKey: '', destination: '',
  source: '', consumerTag: '', noLocal: false, noAck: false, deliveryTag: 0, multiple: false, requeue: true,
  prefetchSize: 0, prefetchCount: 0, global: false, active: true, mandatory: false, immediate: false,
};
const WITHOUT_ANSWER = new Set(['basic.publish', 'basic.ack', 'basic.nack', 'basic.reject']);

async function play(channel, { method, args }) {
  const fields = { ...DEFAULTS };
  for (const [name, value] of Object.entries(args)) {
    fields[OTHER_NAMES[camel(name)] ?? camel(name)] = value;
  }
  const id = defs[pascal(method)];
  if (method === 'basic.publish') {
    const { user_id: userId, expiration } = args.properties ?? {};
    const properties = { headers: {}, userId, expiration };
    channel.connection.sendMessage(channel.ch, id, fields, defs.BasicProperties, properties, Buffer.from(args.body));
  } else if (WITHOUT_ANSWER.has(method)) {
    channel.sendImmediately(id, fields);
  } else if (method === 'basic.get') {
    await channel.get(fields.queue, { noAck: fields.noAck });
  } else {
    await channel.rpc(id, fields, defs[`${pascal(method)}Ok`]);
  }
}

async function playCase({ steps }) {
  const conns = [await amqp.connect(url), await amqp.connect(url)];
  const seen = new Promise((resolve) => {
    conns[0].on('error', (error) => resolve(['connection', error]));
    conns.channelError = (error) => resolve(['channel', error]);
  });
  const channels = [];
  for (const conn of conns) {
    const channel = await conn.createChannel();
    channel.on('error', conns.channelError);
    channels.push(channel);
  }
  try {
    for (const step of steps.slice(0, -1)) await play(channels[Number(step.on_other)], step);
    const last = channels[Number(steps.at(-1).on_other)];
    await play(last, steps.at(-1)).then(() => last.prefetch(1)).catch(() => undefined);
    const outcome = await Promise.race([seen, last.prefetch(2).then(() => null, () => seen)]);
    if (outcome === null) return { scope: 'none' };
    const [scope, error] = outcome;
    return { scope, code: error.code, message: error.message };
  } finally {
    for (const conn of conns) await conn.close().catch(() => undefined);
  }
}

// -- scenarios -------------------------------------------------------------------------------------------

async function withChannel(body, kind = 'createChannel') {
  const conn = await amqp.connect(url);
  try {
    const channel = await conn[kind]();
    return await body(channel, conn);
  } finally {
    await conn.close().catch(() => undefined);
  }
}

function deliveries(channel, queue, total, options) {
  return new Promise((resolve, reject) => {
    const found = [];
    channel.consume(queue, (message) => {
      found.push(message);
      if (found.length === total) resolve(found);
    }, options).catch(reject);
  });
}

const eventually = async (ask) => {
  for (const end = Date.now() + 10000; Date.now() < end;) {
    const answer = await ask();
    if (answer) return answer;
    await new Promise((resolve) => setImmediate(resolve));
  }
  throw new Error('the deadline has passed');
};

const scenarios = {
  'publish, consume and ack': () => withChannel(async (ch) => {
    const { queue } = await ch.assertQueue('', { exclusive: true });
    assert.match(queue, /^amq\.gen-/);
    for (const word of ['one', 'two', 'three']) ch.sendToQueue(queue, Buffer.from(word));
    const found = await deliveries(ch, queue, 3);
    assert.deepStrictEqual(found.map((each) => each.content.toString()), ['one', 'two', 'three']);
    assert.deepStrictEqual(found.map((each) => each.fields.deliveryTag), [1, 2, 3]);
    assert.ok(found.every((each) => !each.fields.redelivered && each.fields.routingKey === queue));
    found.forEach((each) => ch.ack(each));
    assert.deepStrictEqual(await ch.checkQueue(queue), { queue, messageCount: 0, consumerCount: 1 });
  }),

  'get, and get of an empty queue': () => withChannel(async (ch) => {
    const { queue } = await ch.assertQueue('', { exclusive: true });
    assert.strictEqual(await ch.get(queue), false);
    ch.sendToQueue(queue, Buffer.from('a'));
    ch.sendToQueue(queue, Buffer.from('b'));
    const first = await eventually(() => ch.get(queue));
    assert.strictEqual(first.content.toString(), 'a');
    ch.ack(first);
  }),

  'every property and kind of header comes back': () => withChannel(async (ch) => {
    const { queue } = await ch.assertQueue('', { exclusive: true });
    const headers = {
      text: 'ä', yes: true, no: false, nothing: null, small: 1, big: 2 ** 40, negative: -5, half: 0.5,
      bytes: Buffer.from([0, 255]), list: [1, 'two', [true]], nested: { deeper: { still: 'x' } },
      when: { '!': 'timestamp', value: 1700000000 }, money: { '!': 'decimal', value: { digits: 314, places: 2 } },
    };
    const properties = {
      contentType: 'text/plain', contentEncoding: 'utf-8', headers, deliveryMode: 2, priority: 5, correlationId: 'c',
      replyTo: 'r', messageId: 'm', timestamp: 1700000000, type: 't', userId: 'guest', appId: 'app',
    };
    ch.publish('', queue, Buffer.alloc(0), properties);
    const [found] = await deliveries(ch, queue, 1);
    for (const [name, value] of Object.entries(properties)) {
      if (name !== 'headers') assert.deepStrictEqual(found.properties[name], value, name);
    }
    for (const [name, value] of Object.entries(headers)) {
      assert.deepStrictEqual(found.properties.headers[name], value, name);
    }
  }),

  'confirms come for all of 2000 messages': () => withChannel(async (ch) => {
    const { queue } = await ch.assertQueue('', { exclusive: true });
    let confirmed = 0;
    for (let i = 0; i < 2000; i += 1) {
      ch.sendToQueue(queue, Buffer.from(String(i)), { persistent: true }, (error) => {
        assert.ifError(error);
        confirmed += 1;
      });
    }
    await ch.waitForConfirms();
    assert.strictEqual(confirmed, 2000);
    assert.strictEqual((await ch.checkQueue(queue)).messageCount, 2000);
  }, 'createConfirmChannel'),

  'a mandatory message without a route is returned before its confirm': () => withChannel(async (ch) => {
    const events = [];
    ch.on('return', (message) => events.push(['return', message.fields, message.content.toString()]));
    const key = fresh();
    ch.publish('amq.direct', key, Buffer.from('x'), { mandatory: true }, () => events.push(['confirm']));
    await ch.waitForConfirms();
    assert.deepStrictEqual(events, [
      ['return', { replyCode: 312, replyText: 'NO_ROUTE', exchange: 'amq.direct', routingKey: key }, 'x'],
      ['confirm'],
    ]);
  }, 'createConfirmChannel'),

  'nack puts back and marks as redelivered, reject drops': () => withChannel(async (ch) => {
    const { queue } = await ch.assertQueue('', { exclusive: true });
    ch.sendToQueue(queue, Buffer.from('x'));
    const first = await eventually(() => ch.get(queue));
    assert.strictEqual(first.fields.redelivered, false);
    ch.nack(first);
    const second = await eventually(() => ch.get(queue));
    assert.strictEqual(second.fields.redelivered, true);
    ch.reject(second, false);
    assert.strictEqual(await ch.get(queue), false);
  }),

  'nackAll and recover put everything back in order': () => withChannel(async (ch) => {
    const { queue } = await ch.assertQueue('', { exclusive: true });
    for (const word of ['a', 'b', 'c']) ch.sendToQueue(queue, Buffer.from(word));
    await eventually(async () => (await ch.checkQueue(queue)).messageCount === 3);
    const take = async () => [(await ch.get(queue)), (await ch.get(queue)), (await ch.get(queue))];
    for (const putBack of [() => ch.nackAll(), () => ch.recover()]) {
      assert.deepStrictEqual((await take()).map((each) => each.content.toString()), ['a', 'b', 'c']);
      await putBack();
      await eventually(async () => (await ch.checkQueue(queue)).messageCount === 3);
    }
    await take();
    ch.ackAll();
    assert.strictEqual((await ch.checkQueue(queue)).messageCount, 0);
  }),

  'the consumer is told when its queue goes': () => withChannel(async (ch, conn) => {
    const queue = fresh();
    await ch.assertQueue(queue, { autoDelete: true, durable: false });
    const cancelled = new Promise((resolve) => {
      ch.consume(queue, (message) => message === null && resolve());
    });
    await ch.prefetch(1);
    await (await conn.createChannel()).deleteQueue(queue);
    await cancelled;
  }),

  'an exchange of each type, bound and unbound': () => withChannel(async (ch) => {
    const { queue } = await ch.assertQueue('', { exclusive: true });
    for (const [type, key, args] of [['direct', 'k', {}], ['fanout', '', {}], ['topic', 'a.*', {}], ['headers', '', { h: 1 }]]) {
      const exchange = fresh('x');
      await ch.assertExchange(exchange, type, { autoDelete: true, durable: false });
      await ch.checkExchange(exchange);
      await ch.bindQueue(queue, exchange, key, args);
      ch.publish(exchange, key.replace('*', 'b'), Buffer.from(type), { headers: { h: 1 } });
      const found = await eventually(() => ch.get(queue, { noAck: true }));
      assert.strictEqual(found.content.toString(), type);
      await ch.unbindQueue(queue, exchange, key, args);
    }
  }),

  'exchanges bound to each other': () => withChannel(async (ch) => {
    const [source, destination] = [fresh('x'), fresh('x')];
    const { queue } = await ch.assertQueue('', { exclusive: true });
    await ch.assertExchange(source, 'topic', { autoDelete: true, durable: false });
    await ch.assertExchange(destination, 'fanout', { autoDelete: true, durable: false });
    await ch.bindExchange(destination, source, '#');
    await ch.bindQueue(queue, destination, '');
    ch.publish(source, 'any', Buffer.from('x'));
    assert.strictEqual((await eventually(() => ch.get(queue, { noAck: true }))).content.toString(), 'x');
    await ch.unbindExchange(destination, source, '#');
  }),

  'cancel, purge and delete': () => withChannel(async (ch) => {
    const queue = fresh();
    await ch.assertQueue(queue, { durable: true });
    const { consumerTag } = await ch.consume(queue, () => assert.fail('nothing was sent'));
    await ch.cancel(consumerTag);
    ch.sendToQueue(queue, Buffer.from('x'));
    await eventually(async () => (await ch.checkQueue(queue)).messageCount === 1);
    assert.deepStrictEqual(await ch.purgeQueue(queue), { messageCount: 1 });
    assert.deepStrictEqual(await ch.deleteQueue(queue, { ifEmpty: true, ifUnused: true }), { messageCount: 0 });
  }),

  '10 MB there and back': () => withChannel(async (ch) => {
    const { queue } = await ch.assertQueue('', { exclusive: true });
    const body = crypto.randomBytes(10 * 1024 * 1024);
    ch.sendToQueue(queue, body);
    const [found] = await deliveries(ch, queue, 1);
    assert.ok(found.content.equals(body));
  }),

  'a wrong password is refused': () => assert.rejects(
    amqp.connect(url.replace(/:[^:@]+@/, ':wrong@')),
    /403 \(ACCESS-REFUSED\).*ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN/,
  ),

  'a missing vhost is refused': () => assert.rejects(
    amqp.connect(url.replace(/\/[^/]*$/, '/nowhere')),
    /Expected ConnectionOpenOk; got <ConnectionClose channel:0>/,
  ),

  'the secret may be updated': () => withChannel(async (_ch, conn) => {
    await conn.updateSecret(Buffer.from('guest'), 'rotation');
  }),

  'a heartbeat keeps an idle connection': async () => {
    const conn = await amqp.connect(`${url}?heartbeat=1`);
    let failed = null;
    conn.on('error', (error) => { failed = error; });
    await new Promise((resolve) => setTimeout(resolve, 3200));
    const channel = await conn.createChannel();
    await channel.assertQueue('', { exclusive: true });
    assert.strictEqual(failed, null);
    await conn.close();
  },
};

// -- main ------------------------------------------------------------------------------------------------

async function collect(entries, run) {
  const results = {};
  for (const [name, entry] of entries) {
    results[name] = await run(entry);
  }
  return results;
}

async function main() {
  let input = '';
  for await (const chunk of process.stdin) input += chunk;
  const cases = JSON.parse(input);
  const verdict = (scenario) => scenario().then(() => 'passed', (error) => String(error.stack ?? error));
  const [errors, outcomes] = await Promise.all([
    collect(cases.map((each) => [each.id, each]), playCase),
    collect(Object.entries(scenarios), verdict),
  ]);
  process.stdout.write(JSON.stringify({ errors, scenarios: outcomes }));
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
