// The board's connection: subscribes to a topic, publishes with a receipt, and comes back by itself.
import { Client } from '@stomp/stompjs';

const options = new URLSearchParams(location.search);
const topic = options.get('topic') ?? '/topic/board';
const board = document.querySelector('#board');
const outbox = document.querySelector('#outbox');
const waiting = new Map();  // what the broker has not said that it has, by receipt

const client = new Client({
  brokerURL: options.get('broker') ?? `ws://${location.hostname}:15674/ws`,
  connectHeaders: { login: options.get('login') ?? 'guest', passcode: options.get('passcode') ?? 'guest', host: '/' },
  reconnectDelay: 500,  // ms
  heartbeatIncoming: 10000,
  heartbeatOutgoing: 10000,
});

function show(state, why = '') {
  const at = document.querySelector('#state');
  at.className = state;
  at.textContent = why ? `${state}: ${why}` : state;
}

client.onConnect = () => {
  // All that the connection had is gone with it, the subscription too: it is made anew each time.
  const subscribed = crypto.randomUUID();
  client.watchForReceipt(subscribed, () => {
    show('connected');
    for (const receipt of waiting.keys()) send(receipt);
  });
  client.subscribe(topic, (message) => {
    const { text } = JSON.parse(message.body);
    board.append(Object.assign(document.createElement('li'), { textContent: text }));
  }, { receipt: subscribed });
};
client.onWebSocketClose = () => {
  if (document.querySelector('#state').className !== 'refused') show('waiting');
};
client.onStompError = (frame) => {  // a wrong password, say: trying again does not help
  show('refused', frame.headers.message);
  client.deactivate();
};

function send(receipt) {
  client.watchForReceipt(receipt, () => {
    waiting.get(receipt).item.remove();
    waiting.delete(receipt);
  });
  client.publish({
    destination: topic,
    headers: { receipt, 'content-type': 'application/json', persistent: 'true' },
    body: waiting.get(receipt).body,
  });
}

document.querySelector('form').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = event.target.text.value;
  event.target.reset();
  const item = Object.assign(document.createElement('li'), { textContent: text, className: 'waiting' });
  outbox.append(item);
  const receipt = crypto.randomUUID();
  waiting.set(receipt, { body: JSON.stringify({ text }), item });
  if (document.querySelector('#state').className === 'connected') send(receipt);
});

show('waiting');
client.activate();
