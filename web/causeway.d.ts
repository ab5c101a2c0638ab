// Made from causeway.js by tests/web/types.mjs; do not edit.

/**
 * Connects to an edge, and stays connected.
 *
 * @param {string | URL | Endpoint | (string | URL | Endpoint)[]} [edges]  where edges are, such as `https://edge.example`,
 *   tried in turn; by default where the page came from
 * @param {ClientOptions} [options]
 * @returns {Client}
 */
export function connect(edges?: string | URL | Endpoint | (string | URL | Endpoint)[], options?: ClientOptions): Client;
/** Codes of this module's own, in errors and events. */
export const LOCAL: Readonly<{
    /** By the page's own wish. */
    called: 0;
    timeout: 1;
    closed: 2;
    tooLarge: 3;
    noToken: 4;
    silent: 5;
    paused: 6;
    switching: 7;
    full: 8;
}>;
/** A command failed. `temporary`: the same may work later. */
export class CausewayError extends Error {
    /**
     * @param {number} code  of the server, or of `LOCAL`
     * @param {string} message
     * @param {boolean} [temporary]
     */
    constructor(code: number, message: string, temporary?: boolean);
    code: number;
    temporary: boolean;
}
/** Whether it arrived is not known: no answer came, or one that says so. Sending again may deliver it twice. */
export class NotKnownError extends CausewayError {
}
/** It was never written: nobody got it, and sending again is safe. */
export class NotSentError extends CausewayError {
}
/**
 * A page's connection to an edge, over as many transports as it takes.
 *
 * @extends {Emitter<ClientEvents>}
 */
export class Client extends Emitter<ClientEvents> {
    /**
     * @param {string | URL | Endpoint | (string | URL | Endpoint)[]} [edges]
     * @param {ClientOptions} [options]
     */
    constructor(edges?: string | URL | Endpoint | (string | URL | Endpoint)[], options?: ClientOptions);
    /** Which transports may be used, from the next connection on. @type {TransportName[]} */
    transports: TransportName[];
    /** @returns {ClientState} */
    get state(): ClientState;
    /** The transport in use, or null. @returns {TransportName | null} */
    get transport(): TransportName | null;
    /** The id of the current connection, or ''. */
    get id(): string;
    /** The last round trip that was measured, in ms, or null. @returns {number | null} */
    get latency(): number | null;
    /** Begins to connect. Where that is so already, tries at once instead of waiting for the next try. */
    connect(): void;
    /** Disconnects for good. What waits is rejected; subscriptions stay, and are subscribed again after `connect()`. */
    disconnect(): void;
    /**
     * Waits until there is a connection. Rejects when the client disconnects for good.
     *
     * @param {{ signal?: AbortSignal }} [options]
     * @returns {Promise<void>}
     */
    ready({ signal }?: {
        signal?: AbortSignal;
    }): Promise<void>;
    /**
     * Sends `data` to all connections of `user`, and says how many have it; 0: the user is connected nowhere, and will not
     * get it later. Waits for a connection, if need be.
     *
     * @param {string} user
     * @param {any} data
     * @param {CallOptions} [options]
     * @returns {Promise<{ delivered: number }>}
     * @throws {NotKnownError} it may have arrived or not
     * @throws {NotSentError} nobody got it: there was no connection in time
     * @throws {CausewayError} no such user can exist, or the like
     */
    send(user: string, data: any, options?: CallOptions): Promise<{
        delivered: number;
    }>;
    /**
     * Publishes `data` to all who are subscribed to `channel`. The server has accepted it when this resolves.
     *
     * @param {string} channel
     * @param {any} data
     * @param {CallOptions} [options]
     * @returns {Promise<void>}
     */
    publish(channel: string, data: any, options?: CallOptions): Promise<void>;
    /**
     * Calls what the server offers as `method`.
     *
     * @param {string} method
     * @param {any} [data]
     * @param {CallOptions} [options]
     * @returns {Promise<any>}
     */
    rpc(method: string, data?: any, options?: CallOptions): Promise<any>;
    /**
     * Reads what was published in `channel`: at most `limit`, after `since` or from the oldest on, or backwards. A limit of
     * 0 only asks for the position.
     *
     * @param {string} channel
     * @param {CallOptions & { limit?: number, since?: Position, reverse?: boolean }} [options]
     * @returns {Promise<{ publications: Publication[], position: Position }>}
     */
    history(channel: string, { limit, since, reverse, ...options }?: CallOptions & {
        limit?: number;
        since?: Position;
        reverse?: boolean;
    }): Promise<{
        publications: Publication[];
        position: Position;
    }>;
    /**
     * Who is subscribed to `channel`.
     *
     * @param {string} channel
     * @param {CallOptions} [options]
     * @returns {Promise<ClientInfo[]>}
     */
    presence(channel: string, options?: CallOptions): Promise<ClientInfo[]>;
    /**
     * Measures one round trip to the edge, in ms. Servers other than edges of Causeway may not offer it (108).
     *
     * @param {CallOptions} [options]
     * @returns {Promise<number>}
     */
    ping(options?: CallOptions): Promise<number>;
    /**
     * Subscribes to `channel`, now and after each reconnect.
     *
     * @param {string} channel
     * @param {SubscribeOptions} [options]
     * @returns {Subscription}
     * @throws {CausewayError} 105: there is such a subscription already
     */
    subscribe(channel: string, options?: SubscribeOptions): Subscription;
    /**
     * The subscription to `channel`, if there is one.
     *
     * @param {string} channel
     * @returns {Subscription | undefined}
     */
    subscription(channel: string): Subscription | undefined;
    #private;
}
/**
 * A page's interest in a channel. It outlives connections, and ends by `unsubscribe()`, by its signal, or by the server.
 *
 * @extends {Emitter<SubscriptionEvents>}
 */
export class Subscription extends Emitter<SubscriptionEvents> {
    /** @type {string} @readonly */
    readonly channel: string;
    /** @returns {SubscriptionState} */
    get state(): SubscriptionState;
    /** Up to where publications were seen, for `since` of a later page; null without history. @returns {Position | null} */
    get position(): Position | null;
    /**
     * Waits until it is subscribed. Rejects when it ends.
     *
     * @param {{ signal?: AbortSignal }} [options]
     * @returns {Promise<void>}
     */
    ready({ signal }?: {
        signal?: AbortSignal;
    }): Promise<void>;
    /**
     * Publishes to this channel, as `Client.publish` does.
     *
     * @param {any} data
     * @param {CallOptions} [options]
     * @returns {Promise<void>}
     */
    publish(data: any, options?: CallOptions): Promise<void>;
    /** Ends it. */
    unsubscribe(): void;
    #private;
}
export type TransportName = "webtransport" | "websocket";
export type ClientState = "connecting" | "connected" | "disconnected";
export type SubscriptionState = "subscribing" | "subscribed" | "unsubscribed";
/**
 * A place in a channel's history: everything up to `offset` has been seen.
 */
export type Position = {
    offset: number;
    epoch: string;
};
/**
 * Who published, joined or left: one connection of a user. The two `…_info` are what tokens say of them.
 */
export type ClientInfo = {
    user: string;
    client: string;
    conn_info?: any;
    chan_info?: any;
};
/**
 * What somebody published. `user` is `info.user`, or null where a server published. `offset` comes with history only.
 */
export type Publication = {
    channel: string;
    data: any;
    user: string | null;
    info?: ClientInfo | undefined;
    offset?: number | undefined;
    tags?: Record<string, string> | undefined;
};
/**
 * How long to wait, and a way to stop waiting. `timeout`, in ms, counts twice: until the command is written, and from
 * then until its answer (5,000 unless the client was told otherwise). An aborted command rejects with `signal.reason`;
 * it is withdrawn if it has not been written.
 */
export type CallOptions = {
    signal?: AbortSignal;
    timeout?: number;
};
/**
 * Why a token is wanted: there is none yet, the one in use is about to expire, or it was found expired.
 */
export type TokenContext = {
    signal: AbortSignal;
    reason: "connect" | "refresh" | "expired";
    channel?: string;
};
/**
 * A token, or a function that gets one. The function is asked again when a token expires; it may throw, and is then asked
 * again later. An empty answer means that this user may not come in, and ends the client or the subscription.
 */
export type TokenSource = string | ((context: TokenContext) => string | null | Promise<string | null>);
/**
 * Addresses of an edge that do not follow from one base.
 */
export type Endpoint = {
    websocket?: string | URL;
    webtransport?: string | URL;
};
export type ClientOptions = {
    token?: TokenSource | undefined;
    /**
     * sent with each connect
     */
    data?: any;
    /**
     * which may be used; both
     */
    transports?: TransportName[] | undefined;
    /**
     * SHA-256 of an edge's certificates in DER, as bytes or in
     * base64, for certificates that no browser knows. On loopback addresses they are asked for at `/certificate-hash`
     */
    certificateHashes?: (string | BufferSource)[] | undefined;
    /**
     * default for CallOptions, in ms
     */
    timeout?: number | undefined;
    /**
     * disconnects for good
     */
    signal?: AbortSignal | undefined;
    timings?: Partial<{
        /** WebSocket starts so much later than WebTransport: two round trips of most users, and together with opening a
         * WebSocket within 300 ms where UDP is dropped. */
        headStart: number;
        /** A transport opens, and connect is answered, each within this. */
        open: number;
        /** A token is there within this, or is asked for again. */
        token: number;
        /** Nothing heard for so long, and an edge is asked whether it lives. */
        probeAfter: number;
        /** It answers within this, or four round trips; else the connection is dead. With the above, under 5 s in all. */
        probePatience: number;
        /** A server that is not asked may be late with its own ping by this. */
        pingGrace: number;
        /** The first try after a lost connection comes within this, the next ones within twice as much each, from `retryMin`
         * to `retryMax`; each at random from 0 on, so that the clients of a dead edge do not come all at once. */
        retryFirst: number;
        retryMin: number;
        retryMax: number;
        /** A connection that has lived so long counts as a success; what ends sooner is retried as a failure. */
        settled: number;
        /** After a failure WebTransport rests so long, doubling each time, while WebSocket works. */
        restMin: number;
        restMax: number;
        /** A WebTransport session that dies silently younger than this counts as a failure of WebTransport. */
        mature: number;
        /** How long an opened WebTransport session waits for a quiet moment to take over. Edges wait 10 s for connect. */
        spare: number;
    }> | undefined;
};
export type SubscribeOptions = {
    /**
     * catch up from here
     */
    since?: Position | null | undefined;
    /**
     * for channels that want one of their own
     */
    token?: TokenSource | undefined;
    /**
     * sent with each subscribe
     */
    data?: any;
    /**
     * ask for `join` and `leave`
     */
    joinLeave?: boolean | undefined;
    /**
     * unsubscribes
     */
    signal?: AbortSignal | undefined;
};
/**
 * Why a state was left. Codes below 100 are this module's (`LOCAL`), the others are the server's.
 */
export type End = {
    code: number;
    reason: string;
};
/**
 * What came of subscribing. `wasRecovering` and not `recovered`: something was missed, load the state anew.
 */
export type Subscribed = {
    channel: string;
    wasRecovering: boolean;
    recovered: boolean;
    /**
     * null where the channel has no history
     */
    position: Position | null;
    data: any;
};
export type Connected = {
    /**
     * the id of this connection, new each time
     */
    client: string;
    transport: TransportName;
    /**
     * what the server calls itself
     */
    version: string;
    data: any;
    /**
     * those that the server made, by the token
     */
    subscriptions: Subscribed[];
};
export type ClientEvents = {
    /**
     * there is no connection, and one is being made
     */
    connecting: CustomEvent<End>;
    connected: CustomEvent<Connected>;
    /**
     * for good, until `connect()`
     */
    disconnected: CustomEvent<End>;
    /**
     * for this user: another's `send`, or a message of the server's
     */
    message: CustomEvent<Publication>;
    /**
     * in a channel that the server subscribed this client to
     */
    publication: CustomEvent<Publication>;
    join: CustomEvent<ClientInfo & {
        channel: string;
    }>;
    leave: CustomEvent<ClientInfo & {
        channel: string;
    }>;
    /**
     * what went wrong and will be tried again; to be logged
     */
    error: CustomEvent<unknown>;
};
export type SubscriptionEvents = {
    subscribing: CustomEvent<End>;
    subscribed: CustomEvent<Subscribed>;
    /**
     * for good
     */
    unsubscribed: CustomEvent<End>;
    publication: CustomEvent<Publication>;
    join: CustomEvent<ClientInfo & {
        channel: string;
    }>;
    leave: CustomEvent<ClientInfo & {
        channel: string;
    }>;
    /**
     * what went wrong and will be tried again
     */
    error: CustomEvent<unknown>;
};
/**
 * An EventTarget that knows the types of its events.
 *
 * @template {{ [type: string]: any }} Events
 */
declare class Emitter<Events extends {
    [type: string]: any;
}> extends EventTarget {
    constructor();
    /**
     * @template {keyof Events & string} Type
     * @override
     * @param {Type} type
     * @param {((event: Events[Type]) => void) | EventListenerObject | null} listener
     * @param {boolean | AddEventListenerOptions} [options]
     */
    override addEventListener<Type extends keyof Events & string>(type: Type, listener: ((event: Events[Type]) => void) | EventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
    /**
     * @template {keyof Events & string} Type
     * @override
     * @param {Type} type
     * @param {((event: Events[Type]) => void) | EventListenerObject | null} listener
     * @param {boolean | EventListenerOptions} [options]
     */
    override removeEventListener<Type extends keyof Events & string>(type: Type, listener: ((event: Events[Type]) => void) | EventListenerObject | null, options?: boolean | EventListenerOptions): void;
}
declare namespace TIMINGS {
    let headStart: number;
    let open: number;
    let token: number;
    let probeAfter: number;
    let probePatience: number;
    let pingGrace: number;
    let retryFirst: number;
    let retryMin: number;
    let retryMax: number;
    let settled: number;
    let restMin: number;
    let restMax: number;
    let mature: number;
    let spare: number;
}
export {};
