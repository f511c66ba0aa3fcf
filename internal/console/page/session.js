// Who is connected to what, and what is wrong: the one connection of the page.
import { connect } from '../sdk.js';
import { el, byId, put, show } from './dom.js';
import { clock, gapText, count } from './format.js';

export class Session {
  gw;
  who; // of /auth/whoami
  broker = { connected: true };
  live = false; // the tree has all that it asked for
  seen; // when something came last
  denied = ''; // what may not be read
  reason = '';
  gaps = [];
  gapCount = 0;
  #token;
  #watchers = [];
  #openers = [];

  /** onchange is called when something is to be said. */
  onchange(f) { this.#watchers.push(f); }
  /** onconnect is called with every new connection object, after a login too. */
  onconnect(f) { this.#openers.push(f); }
  changed() { for (const f of this.#watchers) f(); }

  /** subscribe is the connection's; where that has ended for good, nothing comes. */
  subscribe(filters, options) {
    return this.state === 'closed' ? { close() {} } : this.gw.subscribe(filters, options);
  }

  /** curl begins a command; the key itself is not for the clipboard. */
  get curl() { return this.loggedIn ? 'curl -H "Authorization: Bearer $GATEWAY_TOKEN" ' : 'curl '; }

  get loggedIn() { return this.#token !== undefined; }
  get state() { return this.gw?.state ?? 'connecting'; }

  /** start connects, with a token or without; the token stays in this object. */
  start(token) {
    this.gw?.close();
    this.#token = token;
    this.who = undefined;
    this.denied = '';
    this.gaps = [];
    this.gapCount = 0;
    const gw = (this.gw = connect({ token, ticket: token && (() => this.#ticket(gw)), pauseWhenHidden: true }));
    gw.onstate = ({ state, reason }) => {
      if (gw !== this.gw) return;
      this.reason = reason ?? '';
      if (state !== 'open') this.live = false;
      if (state !== 'connecting') this.#ask(gw);
      this.changed();
    };
    gw.onbroker = b => {
      this.broker = b;
      this.changed();
    };
    gw.onerror = e => {
      this.denied = e.detail;
      this.changed();
    };
    for (const f of this.#openers) f(gw);
    this.changed();
  }

  // A ticket keeps the token out of frames that tools record; where the gateway
  // gives none, the token is shown instead.
  async #ticket(gw) {
    try {
      return (await (await gw.fetch('auth/ticket', { method: 'POST' })).json()).ticket;
    } catch {
      return undefined;
    }
  }

  async #ask(gw) {
    try {
      const who = await (await gw.fetch('auth/whoami')).json();
      if (gw !== this.gw) return;
      const mayNothing = who.via === 'anonymous' && !who.subscribe.length && !who.publish.length;
      this.who = mayNothing ? { via: 'nobody' } : who;
    } catch (e) {
      if (gw !== this.gw) return;
      if (e.status === 401) this.who = { via: 'nobody' };
      else if (e.status === 404) this.who = { via: 'none' };
    }
    if (this.who?.via === 'nobody') this.onlogin?.();
    this.changed();
  }

  /** gap notes one that the tree was told of. */
  gap(g) {
    this.gapCount++;
    this.gaps.unshift({ at: Date.now(), text: gapText(g) });
    this.gaps.length = Math.min(this.gaps.length, 50);
    this.changed();
  }
}

const gatewayWords = { open: ['ok', 'connected'], connecting: ['warn', 'connecting'], waiting: ['bad', 'not reachable'], closed: ['bad', 'closed'] };

/** showState keeps the line at the top true. */
export function showState(session, summary) {
  const lamp = name => {
    const word = el('b');
    const e = el('span', { class: 'lamp' }, el('i', { 'aria-hidden': 'true' }), name + ' ', word);
    byId('lamps').append(e);
    return (kind, text) => {
      e.dataset.kind = kind;
      put(word, text);
    };
  };
  const gateway = lamp('gateway'), broker = lamp('broker'), stream = lamp('stream');
  const again = byId('again'), notice = byId('notice'), gaps = byId('gaps');
  again.addEventListener('click', () => session.gw.wake());
  byId('gap-button').addEventListener('click', () => {
    byId('gap-list').replaceChildren(...session.gaps.map(g => el('li', {}, el('time', { text: clock(g.at, false) }), ' ', g.text)));
    byId('gap-dialog').showModal();
  });
  byId('gap-seen').addEventListener('click', () => {
    session.gapCount = 0;
    draw();
  });
  const draw = () => {
    const { state } = session, open = state === 'open', lost = open && !session.broker.connected;
    gateway(...gatewayWords[state]);
    broker(...(!open ? ['off', 'unknown'] : lost ? ['bad', 'lost'] : ['ok', 'connected']));
    stream(...(session.live && !lost ? ['ok', 'live'] : open ? ['warn', lost ? 'silent' : session.denied ? 'refused' : 'catching up'] : ['off', 'stopped']));
    show(again, state === 'waiting');
    document.body.dataset.state = open ? (lost ? 'lost' : 'open') : state;
    const since = session.seen ? ` What is shown is of ${clock(session.seen, false)}.` : '';
    const text =
      state === 'closed' && !session.loggedIn && session.who?.via === 'nobody' ? 'This gateway asks for a key or token. Log in.'
      : state === 'closed' ? `The gateway ended the connection: ${session.reason}. ` + (session.loggedIn ? 'Log in.' : 'Reload the page.')
      : state === 'waiting' ? `The gateway cannot be reached (${session.reason}).${since} The page tries again by itself.`
      : state === 'connecting' ? `Connecting to the gateway.${since}`
      : lost ? `The gateway has no connection to its broker${session.broker.since ? ' since ' + clock(session.broker.since, false) : ''}.${since} Publishing is answered with 503.`
      : session.denied ? session.denied
      : summary();
    put(notice, text);
    const fine = open && !lost && !session.denied;
    notice.dataset.kind = fine ? 'fine' : state === 'connecting' ? 'warn' : 'bad';
    notice.setAttribute('aria-live', fine ? 'off' : 'polite'); // figures that change every second are not read out
    show(gaps, session.gapCount > 0);
    if (session.gapCount) put(byId('gap-button'), `${count(session.gapCount)} ${session.gapCount === 1 ? 'gap' : 'gaps'}. ${clock(session.gaps[0].at, false)}  ${session.gaps[0].text}`);
    drawWho(session);
  };
  session.onchange(draw);
  return draw;
}

function drawWho({ who, loggedIn }) {
  put(byId('whoami'), !who ? '…' : who.via === 'nobody' ? 'not logged in' : who.via === 'none' ? 'no access control' : `${who.principal || 'anonymous'} (${who.via})`);
  show(byId('logout'), loggedIn);
  show(byId('login'), !loggedIn && !!who && who.via !== 'none');
}
