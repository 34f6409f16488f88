// Parley's REST side, for one user.

const DEADLINE_MS = 10_000;

/** A refused or failed request, with the code and the sentence that the envelope carried. */
export class ApiError extends Error {
  constructor(message, { status = 0, code, details = null, requestId = null }) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
    this.code = code;
    this.details = details;
    this.requestId = requestId;
  }

  /** For people: the sentence first, the code for whoever looks it up. */
  get sentence() {
    return `${this.message.replace(/\.$/u, '')} (${this.code})`;
  }
}

export class Api {
  #token;
  #onPod;

  /** `onPod` hears the name of the api pod behind every answer. */
  constructor(token, onPod) {
    this.#token = token;
    this.#onPod = onPod;
  }

  async chats() {
    return (await this.#ask('GET', '/api/chat?limit=50')).data.chats;
  }

  /** The newest messages, or those older than the seq `before`; newest first, with the chat's version. */
  async messages(chatId, { before = null } = {}) {
    const query = new URLSearchParams({ limit: '30' });
    if (before !== null) query.set('before', String(before));
    return (await this.#ask('GET', `/api/chat/${encodeURIComponent(chatId)}/messages?${query}`)).data;
  }

  /** Sends once, however often it is called with the same `clientMessageId`. */
  async send(chatId, { content, clientMessageId }) {
    const { data, pod } = await this.#ask('POST', `/api/chat/${encodeURIComponent(chatId)}/messages`, { content, clientMessageId });
    return { message: data.message, pod };
  }

  async createChat({ participantIds, type, title }) {
    const body = type === 'group' && title ? { participantIds, type, title } : { participantIds, type };
    return (await this.#ask('POST', '/api/chat', body)).data.chat;
  }

  async #ask(method, path, body) {
    let response;
    let envelope;
    try {
      response = await fetch(path, {
        method,
        headers: {
          authorization: `Bearer ${this.#token}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: AbortSignal.timeout(DEADLINE_MS),
      });
      const text = await response.text();
      envelope = parse(text);
    } catch (cause) {
      const late = cause?.name === 'TimeoutError';
      throw new ApiError(late ? 'The server did not answer in time' : 'The server could not be reached', { code: late ? 'timeout' : 'network' });
    }
    const pod = response.headers.get('x-parley-pod');
    if (pod) this.#onPod(pod);
    if (response.ok && envelope?.success) return { data: envelope.data, pod };
    const { code = `http_${response.status}`, message = `The server answered ${response.status}`, details = null } = envelope?.error ?? {};
    throw new ApiError(message, { status: response.status, code, details, requestId: envelope?.requestId ?? null });
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
