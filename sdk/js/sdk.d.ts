/** Bytes are published as they are, a string as its text, anything else as its JSON text. */
export type Payload = string | Uint8Array | ArrayBuffer | number | boolean | null | object;

export type QoS = 0 | 1 | 2;

export interface Message {
  type: 'message';
  topic: string;
  /** A JSON value, a string, or bytes: see encoding. */
  payload: unknown;
  encoding: 'json' | 'text' | 'base64';
  /** What the payload means, where the gateway has a decoder for the topic. */
  value?: unknown;
  decode_error?: string;
  qos: QoS;
  /** A copy that the broker keeps. */
  retain: boolean;
  /** When the gateway received it. */
  time: string;
  /** Messages of this topic that minInterval left out before it. */
  skipped?: number;
  /** The place in the stream; copies from before the subscription have none. */
  cursor?: string;
  content_type?: string;
  expiry?: string;
  response_topic?: string;
  correlation?: string;
  user_properties?: Record<string, string | string[]>;
  /** The object as the gateway wrote it, with numbers to the last digit. */
  readonly json: string;
}

/** Messages are or may be missing here. */
export interface Gap {
  type: 'gap';
  after: string;
  before: string;
  reason: 'history_expired' | 'gateway_restarted' | 'broker_connection_lost' | 'slow_consumer' | 'broker_overflow' | 'too_large' | 'other_gateway' | (string & {});
  certain: boolean;
  /** With too_large: of the one message that it stands for. */
  topic?: string;
  bytes?: number;
  skipped?: number;
}

export class GatewayError extends Error {
  constructor(problem: { code: string; detail?: string; status?: number; retryable?: boolean });
  /** The HTTP status; 0 where there is none. */
  status: number;
  /** Stable: see /docs/errors. Of this module's own: not_connected, outcome_unknown, slow_consumer, invalid_payload, http_error. */
  code: string;
  /** The same may work later, and nothing was published. */
  retryable: boolean;
  detail: string;
  errors?: { pointer: string; detail: string }[];
  request_id?: string;
  /** The filter that was refused. */
  topic?: string;
}

export type Secret = string | (() => string | Promise<string>);

export interface Options {
  /** http(s):// or ws(s):// address of the gateway, with its path prefix if there is one. Not set: where this module came from. */
  url?: string;
  /** A key or token; a function is asked again for every connection, and before a token expires. */
  token?: Secret;
  /** A ticket for the socket, used once: give a function. */
  ticket?: Secret;
  /** Do not reconnect while the page is hidden; at once when it is seen again. */
  pauseWhenHidden?: boolean;
  /** Milliseconds of silence after which the connection is tested, and given up when no answer comes in as many more. 15000. */
  heartbeat?: number;
  /** For runtimes without one of their own. */
  WebSocket?: unknown;
}

export interface SubscribeOptions {
  /** The newest message of every topic first, not only of the retained ones. */
  snapshot?: boolean;
  /** A cursor, a duration (10m) or a time (RFC 3339): begin there. */
  since?: string;
  overflow?: 'catchup' | 'close' | 'drop' | 'latest';
  /** At most one message per topic in that time, such as 200ms: the newest. */
  minInterval?: string;
  onMessage?(message: Message): void;
  onGap?(gap: Gap): void;
  /** A filter was refused. The others stay. */
  onError?(error: GatewayError): void;
  /** What was there before has been given; live messages follow. Again after every resume. */
  onReady?(): void;
}

export interface PublishOptions {
  /** 1 if it is not set. */
  qos?: QoS;
  retain?: boolean;
  encoding?: 'json' | 'text' | 'base64';
  /** Idempotency-Key: the same key within five minutes publishes once. */
  key?: string;
  /** While there is no connection keep it, for 30 seconds and as one of at most 100. */
  queue?: boolean;
  contentType?: string;
  expiry?: string;
  responseTopic?: string;
  /** Base64. */
  correlation?: string;
  userProperties?: Record<string, string | string[]>;
}

export interface RequestOptions extends Omit<PublishOptions, 'key' | 'queue' | 'retain'> {
  /** The topic or filter on which the answer comes. */
  reply: string;
  /** Wait for exactly this payload. */
  expect?: unknown;
  /** 5s, or milliseconds as a number. */
  timeout?: string | number;
}

export interface Outcome {
  /** 200: the broker has it. 202: it was written to the broker (QoS 0). */
  status: 200 | 202;
  delivery: 'acknowledged' | 'sent';
  topic: string;
  qos: QoS;
  took_ms: number;
  subscribers?: 'none';
}

export interface Subscription {
  close(): void;
}

export type State = 'connecting' | 'open' | 'waiting' | 'closed';

export interface Gateway {
  readonly state: State;
  /** What the gateway said at the start of the connection. */
  readonly limits: { max_payload_bytes?: number; max_frame_bytes?: number; max_filters?: number; max_publishes_in_flight?: number; queue_bytes?: number };
  readonly epoch?: string;
  onstate?: (change: { state: State; reason?: string }) => void;
  onbroker?: (broker: { connected: boolean; since?: string }) => void;
  /** What belongs to no subscription and no publish. */
  onerror?: (error: GatewayError) => void;
  subscribe(filters: string | string[], options?: SubscribeOptions): Subscription;
  messages(filters: string | string[], options?: Omit<SubscribeOptions, 'onMessage' | 'onError'> & { limit?: number }): AsyncGenerator<Message, void, void>;
  /** Throws GatewayError. */
  publish(topic: string, payload: Payload, options?: PublishOptions): Promise<Outcome>;
  request(topic: string, payload: Payload, options: RequestOptions): Promise<Message>;
  /** The newest message, or null. */
  get(topic: string): Promise<Message | null>;
  /** fetch with the token; path is relative to the gateway. Throws GatewayError where the answer is no success. */
  fetch(path: string, init?: RequestInit): Promise<Response>;
  /** Dial at once instead of after the pause. */
  wake(): void;
  close(): void;
}

export function connect(options?: Options): Gateway;
/** Whether an MQTT filter matches a topic. */
export function matches(filter: string, topic: string): boolean;
