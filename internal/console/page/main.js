// The page: what shows what, and the address that leads there.
import { byId, put, show } from './dom.js';
import { addressOf, count, encoded, failure, rate } from './format.js';
import { Topics } from './topics.js';
import { Session, showState } from './session.js';
import { startLogin } from './login.js';
import { Tree } from './tree.js';
import { TopicPanel } from './topic.js';
import { Stream } from './stream.js';
import { Publish } from './publish.js';
import { Devices } from './devices.js';

const topics = new Topics(), session = new Session();
const choose = topic => (location.hash = addressOf(topic));

const treeView = new Tree(topics, () => session.live, choose), topicPanel = new TopicPanel(session), streamView = new Stream(session, choose), publishView = new Publish(session), devicesView = new Devices(session);
const drawState = showState(session, () => (topics.size ? `${count(topics.size)} topics, ${rate(topics.root.rate) || '0/s'}.` : 'Connected; no message yet.'));
startLogin(session);

// The tree hears everything, each topic four times a second at most. Where not
// everything may be read, it hears what may.
session.onconnect(gw => {
  topics.forget();
  treeView.draw();
  let fresh = true;
  const ready = () => {
    session.live = true;
    if (fresh) topics.unfold(40);
    fresh = false;
    treeView.refresh();
    session.changed();
  };
  const listen = (filters, onError) => gw.subscribe(filters, {
    snapshot: true, minInterval: '250ms', overflow: 'latest', onReady: ready, onError,
    onGap: g => session.gap(g),
    onMessage: m => {
      topics.take(m);
      session.seen = Date.now();
      treeView.draw();
    },
  });
  const refused = e => {
    session.denied = `You may not read this: ${failure(e)}`;
    session.changed();
  };
  listen('#', async e => {
    if (e.code !== 'filter_forbidden') return refused(e);
    try {
      const who = await (await gw.fetch('auth/whoami')).json();
      session.who = who;
      if (!who.subscribe?.length) return refused({ code: e.code, detail: 'your key has no right to read any topic.' });
      listen(who.subscribe, refused);
      put(byId('tree-rights'), `You may read ${who.subscribe.join(', ')}` + (who.deny?.length ? `, without ${who.deny.join(', ')}` : '') + '; other topics are not shown.');
      show(byId('tree-rights'), true);
    } catch (e2) {
      refused(e2);
    }
  });
  show(byId('tree-rights'), false);
  if (byId('tree-system').checked) listenToBroker();
});

let system;
function listenToBroker() {
  system = session.subscribe('$SYS/#', {
    snapshot: true, minInterval: '1s', overflow: 'latest',
    onMessage: m => {
      topics.take(m);
      treeView.draw();
    },
    onError: e => put(byId('tree-said'), `$SYS cannot be read: ${failure(e)}`),
  });
}
byId('tree-system').addEventListener('change', e => {
  system?.close();
  put(byId('tree-said'), '');
  if (e.target.checked) listenToBroker();
});

setInterval(() => {
  if (document.hidden) return;
  topics.measure();
  treeView.tick();
  topicPanel.draw();
  devicesView.tick();
  drawState();
}, 1000);

// Addresses: #/topic/pi/3/led, #/stream/pi/#, #/publish, #/devices; anything else is the tree.

const tabs = { topics: 'topics', topic: 'topic', stream: 'stream-view', publish: 'publish', devices: 'devices-view' };
function turnTo(name) {
  document.body.dataset.view = name;
  for (const [tab, section] of Object.entries(tabs)) {
    byId('tab-' + tab).setAttribute('aria-current', tab === name ? 'page' : 'false');
    if (tab !== 'topics') show(byId(section), tab === name || (tab === 'topic' && name === 'topics'));
  }
  devicesView.watch(name === 'devices');
  if (name === 'stream' && !streamView.filter) streamView.open('#');
  treeView.draw();
  const what = name === 'topic' && topicPanel.topic !== undefined ? topicPanel.topic : name === 'stream' ? `Stream of ${streamView.filter}` : byId('tab-' + name).textContent;
  document.title = (name === 'topics' ? '' : what + ' · ') + 'Vulture Gateway';
}

function decoded(text) {
  try {
    return text.split('/').map(decodeURIComponent).join('/');
  } catch {
    return text;
  }
}

function follow() {
  const [, name, rest] = location.hash.match(/^#\/(\w+)(?:\/(.*))?$/s) ?? [];
  if (name === 'topic' && rest !== undefined) {
    const topic = decoded(rest);
    if (topicPanel.topic !== topic) topicPanel.open(topic);
    treeView.select(topic);
    turnTo('topic');
  } else if (name === 'stream') {
    if (rest && decoded(rest) !== streamView.filter) streamView.open(decoded(rest));
    turnTo('stream');
    history.replaceState(null, '', '#/stream/' + encoded(streamView.filter));
  } else turnTo(['publish', 'topic', 'devices'].includes(name) ? name : 'topics');
}
addEventListener('hashchange', follow);
byId('tab-topic').addEventListener('click', e => {
  if (topicPanel.topic === undefined) return;
  e.preventDefault();
  choose(topicPanel.topic);
});
byId('publish-here').addEventListener('click', () => {
  publishView.to(topicPanel.topic);
  location.hash = '#/publish';
  follow(); // at once: what is not shown cannot have the focus
  byId('publish-payload').focus();
});
byId('stream-here').addEventListener('click', () => {
  location.hash = '#/stream/' + encoded(topicPanel.topic);
});
byId('stream-form').addEventListener('submit', () => {
  location.hash = '#/stream/' + encoded(streamView.filter);
});
document.addEventListener('keydown', e => {
  if (e.key !== '/' || e.ctrlKey || e.metaKey || e.altKey || e.target.matches('input, textarea, select')) return;
  e.preventDefault();
  if (innerWidth < 760) location.hash = '#/';
  byId('tree-filter').focus();
});
document.querySelectorAll('dialog .close').forEach(b => b.addEventListener('click', () => b.closest('dialog').close()));

session.start();
follow();
