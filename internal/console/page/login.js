// A key or token for this tab. It is kept in memory only: not in an address,
// not in the browser's storage. A reload forgets it, and so does logging out.
import { byId, put } from './dom.js';
import { connect } from '../sdk.js';

export function startLogin(session) {
  const dialog = byId('login-dialog'), field = byId('login-token'), said = byId('login-said');
  const ask = () => {
    if (dialog.open) return;
    put(said, '');
    dialog.showModal();
    field.focus();
  };
  session.onlogin = ask;
  byId('login').addEventListener('click', ask);
  byId('login-cancel').addEventListener('click', () => dialog.close());
  byId('logout').addEventListener('click', () => session.start());
  byId('login-form').addEventListener('submit', async event => {
    event.preventDefault();
    const token = field.value.trim();
    if (!token) return put(said, 'Paste a key or token.');
    put(said, 'Asking the gateway …');
    const failure = await refusal(token);
    if (failure) return put(said, failure);
    field.value = '';
    dialog.close();
    session.start(token);
  });
}

/** refusal says why a token does not open the gateway, '' if it does. */
async function refusal(token) {
  const gw = connect({ token, WebSocket: Unused });
  try {
    const who = await (await gw.fetch('auth/whoami')).json();
    return who.via === 'none' ? 'This gateway has no access control; there is nothing to log in to.' : '';
  } catch (e) {
    if (e.status === 401) return 'The gateway does not know this key or token.';
    if (e.status === 404) return 'This gateway has no access control; there is nothing to log in to.';
    return e.detail;
  } finally {
    gw.close();
  }
}

class Unused {
  readyState = 0;
  close() {}
}
