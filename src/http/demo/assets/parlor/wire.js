// Made by `npm run types` from config/asyncapi.json. Don't edit it here.
/** What it means when the server closes a socket. */
export const CLOSE_CODES = {
    1000: "the client closed, and is answered",
    1001: "nothing was heard of the client, also when asked by a ping",
    1002: "what came was not WebSocket",
    1007: "a text frame was not UTF-8",
    1009: "a frame over limits.frame_bytes, or a message of more fragments than limits.message_fragments",
    1011: "an internal error",
    1012: "the server is going away: reconnect after a random pause",
    1013: "room or membership, or the token's key, can't be known now, the other user of the room is being erased, or the server is busy: try again later",
    4001: "no token, or one that fails a check; its user is being erased; later: it has expired, its key was removed, or the application has disconnected its user",
    4003: "not the token's user, or not a member of the room",
    4004: "there is no such room",
    4008: "the socket reads too slowly",
    4029: "it went on after being told that it sends too much, or the user has too many sockets, connects too often, or makes too many rooms",
    4400: "an id is missing or malformed, or both users are the same",
};
